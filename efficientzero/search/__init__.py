"""Planners, which choose actions at a root; mainly batched Monte-Carlo tree search in C++."""

from efficientzero.search.batched_search import BatchedSearch
from efficientzero.search.behaviour import behaviour_probabilities
from efficientzero.search.illegal import best_legal, over_legal
from efficientzero.search.improved_policy import completed_q, softmax_q
from efficientzero.search.network_planner import NetworkPlanner
from efficientzero.search.plain_planners import PriorPlanner, UniformPlanner
from efficientzero.search.planner import Planner, make_planner

__all__ = [
    "BatchedSearch",
    "NetworkPlanner",
    "Planner",
    "PriorPlanner",
    "UniformPlanner",
    "behaviour_probabilities",
    "best_legal",
    "completed_q",
    "make_planner",
    "over_legal",
    "softmax_q",
]
