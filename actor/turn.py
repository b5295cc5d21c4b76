"""Groups of environments that search together, and their env_step in progress."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from efficientzero.config import Config
from efficientzero.schema import EnvSteps, Grant, SearchResult


class PendingStep(NamedTuple):
    """An env_step that was sent to some environments and whose results are pending."""

    envs: list[int]
    grant: Grant  # of these env_steps
    result: SearchResult  # row g is environment envs[g]
    actions: NDArray[Any]  # i64 [G], or f32 [G, X] where actions are continuous
    train_step: int  # of the weights that searched
    steps: Future[EnvSteps]

    def without(self, rows: Sequence[int], steps: EnvSteps) -> tuple[PendingStep, EnvSteps]:
        """Return the step and its results without those of ``rows``."""
        kept = [row for row in range(len(self.envs)) if row not in rows]
        pending = self._replace(
            envs=[self.envs[row] for row in kept],
            result=SearchResult._make(field[kept] for field in self.result),
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
