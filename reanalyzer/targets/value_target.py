"""The interface of value targets: the values they need of a batch, and the targets they return.

One file per strategy (``td``, ``td_lambda``, ``v_trace``, ``retrace``, ``search``, ``mixed``); the
target maker chooses one and computes the values.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from efficientzero.schema import F32, I32, I64, U8, Bool, SliceBatch
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


class AlternatingTarget:
    """A value target in games of two players; with one player it is the target itself.

    Rewards and values are those of the player who moves. The target is computed in player 0's
    view and returned in each position's own. So with sigma(t, u) = 1 if the same player moves at t
    and u, else -1, the n-step return is

        z[k] = sum_{j < l} discount^j sigma(k, k + j) r[k + j] + discount^l sigma(k, k + l) V.
    """

    def __init__(self, target: ValueTarget) -> None:
        """Wrap ``target``, which must be a sum of rewards and values."""
        self._target = target

    def needs(self, sample: Sample) -> Needs:
        """Return the estimates that ``targets`` will use."""
        return self._target.needs(sample)

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the targets of ``sample``, in the view of the player to move at each position."""
        slices = sample.slices
        if not slices.to_play.shape[1]:
            return self._target.targets(sample, found)
        views = player_views(slices.to_play)  # [B, K + n + 1]
        roots = views[:, : found.root_values.shape[1]]
        targets = self._target.targets(
            sample._replace(
                slices=slices._replace(rewards=slices.rewards * views[:, : slices.rewards.shape[1]])
            ),
            found._replace(values=found.values * views, root_values=found.root_values * roots),
        )
        return targets._replace(values=targets.values * views[:, : targets.values.shape[1]])


def player_views(to_play: U8) -> F32:
    """Return 1 where player 0 is to move and -1 where player 1 is, f32 of the same shape."""
    views: F32 = np.where(to_play == 0, np.float32(1.0), np.float32(-1.0))
    return views
