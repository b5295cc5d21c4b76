"""Draws slices from several replay services as if they were one.

A reanalyzer holds one where ``replay.num_shards`` is above 1, in place of a ``SliceSampler``. For
each slice a shard is drawn by what it weighs, then that shard's own sampler gives the item.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from efficientzero.config import Config
from efficientzero.runtime import StopSignal
from efficientzero.schema import EnvSpec
from efficientzero.slices import SliceBatch
from replay.priorities import num_refreshed
from replay.shard_board import ShardBoard, ShardLink, shares_of
from replay.shard_watch import exponents_of, watch_shards
from replay.slice_sampler import MAX_IN_FLIGHT, Sample, SampleStream, SliceDecoder, SliceSampler
from replay.tables import STORED_STEPS, TRAJECTORIES

_TURN_S = 0.2


class ShardedSampler:
    """Prioritised sampling over the union of the shards that are there.

    A slice's probability is that in its shard times the shard's share, its table size the sum of
    all, so that importance weights are those of one table. Shares are as of the last half second,
    the samples of a shard as of about one batch at an even share; a shard with a smaller one is
    drawn from more seldom, and what was read ahead from it waits longer.
    """

    def __init__(
        self,
        board: ShardBoard,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        generator: np.random.Generator,
        table: str,
        num_slices_ahead: int,
    ) -> None:
        """Start nothing yet.

        Args:
            board: tells which shards are there and what ``table`` weighs in each.
            env_spec: of the run's environment.
            config: the run's.
            stop: ends the waits.
            generator: draws the shards; Reverb draws the items and cannot be seeded.
            table: where to draw from.
            num_slices_ahead: slices to hold ready, of all shards together.
        """
        self._board, self._stop, self._generator, self._table = board, stop, generator, table
        self._ahead = -(-num_slices_ahead // len(board.addresses))  # of each
        self._decoder = SliceDecoder(env_spec, config)
        self._streams: dict[int, tuple[ShardLink, SampleStream]] = {}
        self._due: list[int] = []  # shards of the next slices, last first
        self._taken: list[Sample] = []
        self._past_dropped = 0

    @property
    def dropped_items(self) -> int:
        """Items ever drawn that could not be used, of all shards."""
        streams = self._streams.values()
        return self._past_dropped + sum(stream.quarantine.dropped for _, stream in streams)

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices; as ``SliceSampler.sample``."""
        deadline = time.monotonic() + timeout_s
        while True:
            while len(self._taken) < num:
                self._open_streams()
                for _, stream in self._streams.values():
                    stream.quarantine.check()
                if not self._take(num - len(self._taken), deadline) and (
                    self._stop.is_set() or time.monotonic() >= deadline
                ):
                    return None
            samples = self._taken[:num]
            batch, bad = self._decoder.decode(samples)
            for i, sample in enumerate(samples):
                quarantine = self._streams[sample.shard][1].quarantine
                if i in bad:
                    quarantine.drop(bad[i], key=sample.key)
                else:
                    quarantine.passed()
            if not bad:
                del self._taken[:num]
                return batch
            self._taken = [sample for i, sample in enumerate(self._taken) if i not in bad]

    def _take(self, num: int, deadline: float) -> bool:
        """Take up to ``num`` samples; return False if one that is due has not come yet."""
        masses = self._board.masses(self._table)
        shares = shares_of(masses)
        if shares is None:
            self._stop.wait(max(0.0, min(_TURN_S, deadline - time.monotonic())))
            return False
        if any(not shares[number] for number in self._due):
            self._due = []  # drawn for a shard that is gone
        if not self._due:
            self._due = self._generator.choice(len(shares), num, p=shares).tolist()
        size = sum(mass.size for mass in masses)
        # The rest waits for the next call where more is due than is asked for.
        for _ in range(min(num, len(self._due))):
            number = self._due[-1]
            left_s = min(_TURN_S, deadline - time.monotonic())
            opened = self._streams.get(number)
            sample = opened[1].get(timeout_s=left_s) if opened else None
            if sample is None:
                return False
            self._due.pop()
            self._taken.append(
                sample._replace(
                    shard=number,
                    probability=sample.probability * float(shares[number]),
                    table_size=size,
                )
            )
        return True

    def _open_streams(self) -> None:
        """Read from every shard that is there; a new link is a new service."""
        for number, address in enumerate(self._board.addresses):
            link = self._board.link(number)
            if link is None or (number in self._streams and self._streams[number][0] is link):
                continue
            if number in self._streams:
                self._past_dropped += self._streams[number][1].quarantine.dropped
            in_flight = min(MAX_IN_FLIGHT, self._ahead)
            stream = SampleStream(
                address,
                link,
                table=self._table,
                max_in_flight=in_flight,
                num_ahead=max(1, self._ahead - in_flight),
            )
            self._streams[number] = (link, stream)


def open_samplers(
    addresses: Sequence[str],
    env_spec: EnvSpec,
    config: Config,
    stop: StopSignal,
    generator: np.random.Generator,
) -> tuple[SliceSampler | ShardedSampler, SliceSampler | ShardedSampler | None]:
    """Return who draws by priority, and who draws uniformly where priorities are refreshed.

    Args:
        addresses: of the shards, by their number.
        env_spec: of the run's environment.
        config: the run's.
        stop: ends the waits.
        generator: draws the shards of several.
    """
    is_sharded, num = len(addresses) > 1, num_refreshed(config)
    exponents = exponents_of(config.replay)
    board = watch_shards(addresses, stop, exponents=exponents) if is_sharded else None

    def sampler(table: str, num_ahead: int) -> SliceSampler | ShardedSampler:
        if board is None:
            return SliceSampler(
                addresses[0], env_spec, config, stop, table=table, num_slices_ahead=num_ahead
            )
        return ShardedSampler(
            board,
            env_spec,
            config,
            stop,
            generator=generator,
            table=table,
            num_slices_ahead=num_ahead,
        )

    by_priority = sampler(TRAJECTORIES, config.learner.batch_size)
    return by_priority, sampler(STORED_STEPS, num) if num else None
