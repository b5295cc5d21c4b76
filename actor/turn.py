"""Groups of environments that search together, and their env_step in progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from efficientzero.config import Config
from efficientzero.schema import I64, EnvSteps, Grant, SearchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """What was found for the moves of one turn, before one is chosen in each game."""

    result: SearchResult
    """Of G roots."""
    movers: I64 | None = None
    """[G] whose weights move: 0 the newest, k an opponent's; None: the newest all."""
    opponent_train_step: int | None = None
    """Of the opponent's weights; None: it has none, and its positions are the newest's to value."""
    given: I64 | None = None
    """[G] moves of opponents without a search; -1 elsewhere."""

    def kept(self, rows: Sequence[int]) -> Thought:
        """Return what was found in these rows."""
        return dataclasses.replace(
            self,
            result=SearchResult._make(field[rows] for field in self.result),
            movers=None if self.movers is None else self.movers[rows],
            given=None if self.given is None else self.given[rows],
        )

    @property
    def own(self) -> SearchResult:
        """What the newest weights found for their moves."""
        if self.movers is None:
            return self.result
        return self.kept(np.flatnonzero(self.movers == 0).tolist()).result

    def played(self, slots: I64) -> I64:
        """Return the slots that were chosen, but for given moves."""
        return slots if self.given is None else np.where(self.given < 0, slots, self.given)


class PendingStep(NamedTuple):
    """An env_step that was sent to some environments and whose results are pending."""

    envs: list[int]
    grant: Grant  # of these env_steps
    thought: Thought  # row g is environment envs[g]
    actions: NDArray[Any]  # i64 [G], or f32 [G, X] where actions are continuous
    train_step: int  # of the newest weights that searched
    steps: Future[EnvSteps]

    def without(self, rows: Sequence[int], steps: EnvSteps) -> tuple[PendingStep, EnvSteps]:
        """Return the step and its results without those of ``rows``."""
        kept = [row for row in range(len(self.envs)) if row not in rows]
        pending = self._replace(
            envs=[self.envs[row] for row in kept],
            thought=self.thought.kept(kept),
            actions=self.actions[kept],
        )
        return pending, steps.rows(kept)


@dataclass(slots=True)
class Group:
    """Environments that search together."""

    envs: list[int]
    pending: PendingStep | None = None  # begun and not finished


def halves_take_turns(config: Config, *, on_gpu: bool) -> bool:
    """Return whether one half of the environments searches while the other half steps."""
    return config.actor.pipeline == "on" or (config.actor.pipeline == "auto" and on_gpu)


def make_groups(num_envs: int, *, halves: bool) -> list[Group]:
    """Return all environments as one group, or as two halves that search and step alternately."""
    all_envs = list(range(num_envs))
    if not halves or num_envs == 1:
        return [Group(all_envs)]
    middle = (num_envs + 1) // 2
    return [Group(all_envs[:middle]), Group(all_envs[middle:])]
