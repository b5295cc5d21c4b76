"""Looks after the shards of replay: a thread for each asks it twice a second how it is.

For processes of a run with several replay services; one alone needs no watch. A thread that a
dead host holds up in a call is noticed by the board, which goes by the time of the last answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from efficientzero.config import ReplayConfig
from efficientzero.guarded_thread import guarded_thread
from efficientzero.runtime import StopSignal
from replay import reverb_lite
from replay.info import ReplayCounts, ReplayInfo, is_listening, wait_until_ready
from replay.shard_board import NOTHING, ShardBoard, ShardMass
from replay.tables import STORED_STEPS, TRAJECTORIES

_LOOK_S = 0.5
_PROBABILITY, _TABLE_SIZE, _PRIORITY = 1, 2, 3  # places in Reverb's sample

log = logging.getLogger(__name__)


def watch_shards(
    addresses: Sequence[str], stop: StopSignal, *, exponents: Mapping[str, float] | None = None
) -> ShardBoard:
    """Return a board that follows the services at ``addresses`` from now on.

    Args:
        addresses: of the shards, by their number.
        stop: ends the threads.
        exponents: the tables that are drawn from, with the exponent of their sampler: their mass
            is measured by one drawn item at every look. None: nothing is drawn.
    """
    board = ShardBoard(addresses, stop)
    for number in range(len(addresses)):
        args = (board, number, stop, exponents or {})
        guarded_thread(_follow, stop, name=f"shard-{number}", args=args)
    return board


def exponents_of(config: ReplayConfig) -> dict[str, float]:
    """Return the exponents of the tables that a reanalyzer draws from."""
    exponents = {TRAJECTORIES: config.priority_exponent}
    if config.priority_refresh_share > 0:
        exponents[STORED_STEPS] = 0.0
    return exponents


def wait_for_shards(addresses: Sequence[str], stop: StopSignal, *, timeout_s: float) -> bool:
    """Wait until every shard answers; one that is not there in time is left behind, not the first.

    Returns:
        False when a stop was asked for before.

    Raises:
        TimeoutError: The first did not answer in time: the training queue is there.
    """
    deadline = time.monotonic() + timeout_s
    if not wait_until_ready(addresses[0], stop, timeout_s=timeout_s):
        return False
    for number, address in enumerate(addresses[1:], start=1):
        left_s = max(0.0, deadline - time.monotonic())
        try:
            if not wait_until_ready(address, stop, timeout_s=left_s):
                return False
        except TimeoutError as error:
            log.warning("shard %d: %s; the run goes on without what it holds", number, error)
    return True


def steps_in_replay(addresses: Sequence[str], *, timeout_s: int) -> int:
    """Return the env_steps ever inserted into the shards that are there, as restored.

    Raises:
        TimeoutError: One is there and does not tell in ``timeout_s`` whole seconds.
    """
    total = 0
    for number, address in enumerate(addresses):
        if number and not is_listening(address):  # left behind, and said
            continue
        counts = ReplayInfo(address).read(timeout_s=timeout_s)
        if counts is None:
            raise TimeoutError(f"replay at {address} answered and then did not for {timeout_s} s")
        total += counts.steps_inserted
    return total


def _follow(
    board: ShardBoard, number: int, stop: StopSignal, exponents: Mapping[str, float]
) -> None:
    address, client = board.addresses[number], None
    while not stop.is_set():
        # A channel that has failed tries ever more seldom: there is none while nobody listens.
        if client is None and is_listening(address):
            client = _ShardClient(address, exponents)
        if client is None or not client.tell(board, number):
            listens = is_listening(address)
            client = client if listens else None
            board.missed(number, is_listening=listens)
        stop.wait(_LOOK_S)


class _ShardClient:
    """Asks one service, over one channel."""

    def __init__(self, address: str, exponents: Mapping[str, float]) -> None:
        self._info, self._exponents = ReplayInfo(address), exponents
        self._client = reverb_lite.load().Client(address)

    def tell(self, board: ShardBoard, number: int) -> bool:
        """Tell the board what the service answers; return False if it does not."""
        counts = self._info.read()
        if counts is None:
            return False
        try:
            masses = {
                table: self._mass(table, exponent, counts)
                for table, exponent in self._exponents.items()
            }
        except (RuntimeError, ValueError) as error:
            log.debug("shard %d, no mass: %s", number, error)
            return False
        board.answered(number, counts, masses)
        return True

    def _mass(self, table: str, exponent: float, counts: ReplayCounts) -> ShardMass:
        """Return what the table weighs: p^alpha / P is the same for each of its items.

        The item is drawn by a new sampler, because one that reads ahead would tell the past.
        """
        if not counts.num_steps:  # a draw would wait
            return NOTHING
        sampler = reverb_lite.new_sampler(self._client, table, max_in_flight=1, num_samples=1)
        sample = sampler.GetNextTrajectory()
        priority, probability = sample[_PRIORITY].item(), sample[_PROBABILITY].item()
        return ShardMass(priority**exponent / probability, sample[_TABLE_SIZE].item())
