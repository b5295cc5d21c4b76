"""What the shards of replay count together, though some may be away or have lost steps.

Fed by ``replay_follower``. Plain sums; knows no service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from replay.info import ReplayCounts


class Loss(NamedTuple):
    """A shard that came back with less than it had."""

    shard: int
    num_steps: int


class ReplayTally:
    """Sums over the shards that are there: the rest can be neither drawn from nor relied upon.

    No count of collected env_steps hangs on them: the governor counts what actors report.
    """

    def __init__(self, num_shards: int) -> None:
        """Begin with nothing counted."""
        self._inserted = [0] * num_shards  # as each shard told last
        self.counts = ReplayCounts()
        """The sums of the newest answers."""

    def update(self, answers: Sequence[ReplayCounts | None]) -> list[Loss]:
        """Take each shard's answer, None where there was none; return what was lost since."""
        there = [counts for counts in answers if counts is not None]
        names = [field.name for field in dataclasses.fields(ReplayCounts)]
        sums = {name: sum(getattr(counts, name) for counts in there) for name in names}
        self.counts, losses = ReplayCounts(**sums), []
        for shard, counts in enumerate(answers):
            if counts is not None:
                lost = self._inserted[shard] - counts.steps_inserted
                losses += [Loss(shard, lost)] if lost > 0 else []
                self._inserted[shard] = counts.steps_inserted
        return losses
