"""A run's origin in another run: a snapshot of its replay, and perhaps its weights.

Decided by the launcher, kept in ``config.json``; read by the launcher, the learner and the tracker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PARENT_CHECKPOINT = "parent.pt"
"""In the run folder: the checkpoint whose weights the run began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The origin of a run that did not begin empty."""

    parent: str
    """Name of the other run's folder."""
    parent_uid: str
    parent_group: str
    snapshot: str
    """Name of the snapshot in the other run's folder."""
    replay_digest: str
    """12 hex digits of the snapshot's SHA-256."""
    env_steps: int
    """Env_steps ever inserted into that replay; they count as played."""
    is_frozen: bool
    """Nothing is added: the run has no actors."""
    train_step: int | None = None
    """Train_step of the weights taken; None: the network is newly initialised."""
    weights_digest: str = ""
    """12 hex digits of the checkpoint's SHA-256; empty: none was taken."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The values that distinguish the experiment: contents, not names or places.

        Letters before a digest keep it from being read as a number in a group's name.
        """
        found = {"lineage.frozen" if self.is_frozen else "lineage.fork": f"r{self.replay_digest}"}
        if self.weights_digest:
            found["lineage.weights"] = f"w{self.weights_digest}"
        return found

    @property
    def description(self) -> str:
        """A short text for people."""
        text = "frozen replay" if self.is_frozen else "replay"
        text += f" of {self.parent}: {self.env_steps:,} env_steps, {self.replay_digest}"
        if self.train_step is not None:
            text += f"; weights of its train_step {self.train_step:,}"
        return text
