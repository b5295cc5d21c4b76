"""What a value target is: the values that it needs of a batch's observations, and what it returns.

One file a strategy (``td``, ``search``, ``mixed``); the target maker chooses one, finds the values.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from efficientzero.schema import F32, I32, I64, Bool, SliceBatch
from reanalyzer.targets.slice_targets import SliceEnds


class Sample(NamedTuple):
    """Sampled slices, and how old they are."""

    slices: SliceBatch
    ends: SliceEnds
    env_step_ages: I64  # [B] env_steps that were played after each slice's step t
    target_train_step: int  # of the target weights


class Needs(NamedTuple):
    """Which estimates the targets of a batch are made of; each is computed once."""

    values: (
        Bool  # [B, K + n + 1] a value of o[t + offset]: ``reanalyzer.value_bootstrap`` says whose
    )
    roots: Bool  # [B, K + 1] the root value of a search of o[t + k]


class Estimates(NamedTuple):
    """What network and searches answered."""

    values: F32  # [B, K + n + 1], 0 where none was needed
    root_values: F32  # [B, K + 1], NaN where nothing was searched; policies need searches as well


class ValueTargets(NamedTuple):
    """The targets of a batch, and what the diagnostics say of them."""

    values: F32  # [B, K + 1]; past the end of an episode as the strategy's own docstring says
    td_steps: I32  # [B] rewards in a target before it bootstraps; 0: a search's value alone
    bootstraps: Bool  # [B, K + 1] where a value of the model is in the target


class ValueTarget(Protocol):
    """One way to make value targets; built from the run's config, without state."""

    def needs(self, sample: Sample) -> Needs:
        """Return what ``targets`` will read."""

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the targets of ``sample``."""
