"""The network as a search calls it: many nodes at once, on the device that there is."""

from efficientzero.inference.node_pools import ACTIONS, KEEPS_LSTM, NODES, NUM_INDEX_ROWS, PARENTS
from efficientzero.inference.sampled_steps import SlotShape
from efficientzero.inference.search_network import LatentPool, SearchNetwork
from efficientzero.inference.timing import step_clock, step_seconds

__all__ = [
    "ACTIONS",
    "KEEPS_LSTM",
    "NODES",
    "NUM_INDEX_ROWS",
    "PARENTS",
    "LatentPool",
    "SearchNetwork",
    "SlotShape",
    "step_clock",
    "step_seconds",
]
