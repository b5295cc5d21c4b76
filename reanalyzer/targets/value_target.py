"""The interface of value targets: the values they need of a batch, and the targets they return.

One file per strategy (``td``, ``td_lambda``, ``v_trace``, ``retrace``, ``search``, ``mixed``); the
target maker chooses one and computes the values.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from efficientzero.schema import F32, I32, I64, Bool, SliceBatch
from reanalyzer.targets.slice_targets import SliceEnds


class Sample(NamedTuple):
    """Sampled slices and their ages."""

    slices: SliceBatch
    ends: SliceEnds
    env_step_ages: I64  # [B] env_steps played after each slice's step t
    target_train_step: int  # of the target weights


class Needs(NamedTuple):
    """Which estimates the targets of a batch need; each is computed once."""

    values: (
        Bool  # [B, K + n + 1] a value of o[t + offset], of the kind ``reanalyzer.value_bootstrap``
    )
    roots: Bool  # [B, K + 1] the root value of a search of o[t + k]
    policies: Bool | None = None  # [B, K + n + 1] the policy head's answer; None: nowhere
    action_values: Bool | None = None  # [B, K + n + 1] Q(s, a) of every action; None: nowhere


class Estimates(NamedTuple):
    """Results of network and searches."""

    values: F32  # [B, K + n + 1], 0 where none was needed
    root_values: F32  # [B, K + 1], NaN where there was no search; policies need searches as well
    policies: F32 | None = None  # [B, K + n + 1, W] of the policy head, 0 where none was needed
    action_values: F32 | None = None  # [B, K + n + 1, W] Q(s, a), 0 where none was needed


class Completion(NamedTuple):
    """What the learner adds: discount * V(o[t + offset])."""

    offsets: I32  # [B, K + 1]
    discounts: F32  # [B, K + 1], 0 where nothing follows


class ValueTargets(NamedTuple):
    """The targets of a batch, and their diagnostics."""

    values: F32  # [B, K + 1]; past the end of an episode: see the strategy's docstring
    td_steps: I32  # [B] rewards in a target before it bootstraps; 0: a search's value alone
    bootstraps: Bool  # [B, K + 1] where a value of the model is in the target
    completion: Completion | None = None  # for values that the learner completes


def nothing_to_complete(num_slices: int) -> Completion:
    """Return the fields of batches whose values are complete: no columns."""
    shape = (num_slices, 0)
    return Completion(np.zeros(shape, np.int32), np.zeros(shape, np.float32))


class ValueTarget(Protocol):
    """One way to make value targets; built from the run's config, without state."""

    def needs(self, sample: Sample) -> Needs:
        """Return the estimates that ``targets`` will use."""

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the targets of ``sample``."""
