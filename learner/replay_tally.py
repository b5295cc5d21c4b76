"""What all shards of replay count together, though some may be away or have lost steps.

Fed by ``replay_follower``. Plain sums; knows no service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from replay.info import ReplayCounts

_HELD_NOW = ("num_steps", "num_episodes", "num_queued_batches")
"""What is there only while its shard is; everything else was counted and stays counted."""


class Loss(NamedTuple):
    """A shard that came back with less than it had."""

    shard: int
    num_steps: int


class ReplayTally:
    """Sums over shards; one that is away counts with what it told last."""

    def __init__(self, num_shards: int) -> None:
        """Begin with nothing counted."""
        self._last = [ReplayCounts() for _ in range(num_shards)]
        self._is_there = [False] * num_shards

    def update(self, answers: Sequence[ReplayCounts | None]) -> list[Loss]:
        """Take each shard's answer, None where there was none; return what was lost since."""
        losses = []
        for shard, counts in enumerate(answers):
            self._is_there[shard] = counts is not None
            if counts is None:
                continue
            lost = self._last[shard].steps_inserted - counts.steps_inserted
            if lost > 0:
                losses.append(Loss(shard, lost))
            self._last[shard] = counts
        return losses

    @property
    def counts(self) -> ReplayCounts:
        """The sums; what is held now, of the shards that are there."""
        sums = {field.name: 0 for field in dataclasses.fields(ReplayCounts)}
        for counts, is_there in zip(self._last, self._is_there, strict=True):
            for name in sums:
                if is_there or name not in _HELD_NOW:
                    sums[name] += getattr(counts, name)
        return ReplayCounts(**sums)

    @property
    def steps_away(self) -> int:
        """Steps ever inserted into shards that are away, out of reach until they are back."""
        pairs = zip(self._last, self._is_there, strict=True)
        return sum(counts.steps_inserted for counts, is_there in pairs if not is_there)
