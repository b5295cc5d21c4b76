"""Training targets from sampled slices: n-step values, value prefixes, masks. Pure numpy.

Called by the reanalyzer. All indices are relative to the slice's own step t: position k means
o[t + k]. ``steps_left`` is T - t, clipped to K + n + 1, which is larger than any index asked for.

At the end of an episode: past a *terminated* end nothing is
worth anything; at a *truncated* one the horizon shortens and the bootstrap is the value of the
last real frame, because the task would have gone on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from efficientzero.config import (
    ReanalyzerConfig,
)
from efficientzero.schema import F32, I32, I64, Bool, Ending, SliceBatch


class SliceEnds(NamedTuple):
    """Where the part of an episode that a slice trains on ends."""

    offsets: I32  # [B] 1 or more; o[t + offset] is the last observation that is trained on
    have_value: Bool  # [B] that observation has a value to bootstrap from; else it is worth zero


def slice_ends(batch: SliceBatch, *, block_length: int) -> SliceEnds:
    """Return where each slice ends: with its episode, or with the block of its step t.

    Args:
        batch: sampled slices.
        block_length: the reference's D3: an episode is cut into blocks of so many env_steps, and
            the end of a block is one past which nothing has a value. 0: no blocks.
    """
    have_value = batch.endings == Ending.TRUNCATED
    if not block_length:
        return SliceEnds(batch.steps_left, have_value)
    block_left = block_length - batch.positions % block_length
    offsets = np.minimum(batch.steps_left, block_left).astype(np.int32)
    return SliceEnds(offsets, have_value & (batch.steps_left < block_left))


def corrected_td_steps(*, ages: I64, td_steps: int, age_per_step: float) -> I32:
    """Return the off-policy corrected horizon of each slice, i32 [B].

    Args:
        ages: i64 [B], how old the data is; negative counts as zero.
        td_steps: n, the horizon of fresh data.
        age_per_step: age that takes one td step away, in the unit of ``ages``.

    EfficientZero, section 4.3: the horizon shrinks as data ages, to one step at the least.
    """
    shortening = np.floor(np.maximum(ages, 0) / age_per_step)
    steps: I32 = np.clip(td_steps - shortening, 1, td_steps).astype(np.int32)
    return steps


def takes_search_values(
    reanalyzer: ReanalyzerConfig, *, env_step_ages: I64, target_train_step: int
) -> Bool:
    """Return which slices take their value targets from a search's roots, bool [B].

    EfficientZero V2's mixed value targets: n-step returns are right for data of the present policy
    and need no good model; searches are right for any data once the model is good.

    Args:
        reanalyzer: which value targets, and the two limits of mixed ones.
        env_step_ages: i64 [B], env_steps played after each slice's step t.
        target_train_step: of the target weights.
    """
    if reanalyzer.value_target == "mixed":
        if target_train_step < reanalyzer.mixed_start_train_steps:
            return np.zeros(len(env_step_ages), np.bool_)
        return env_step_ages >= reanalyzer.mixed_fresh_env_steps
    return np.full(len(env_step_ages), reanalyzer.value_target == "search")


def search_value_mask(ends: SliceEnds, num_unroll_steps: int) -> Bool:
    """Return at which positions a search's root value is a value target, bool [B, K + 1].

    At every real observation, the last one of a truncated episode included; past the end, and at
    an end that is worth nothing, the target is zero.
    """
    at_once = np.zeros(len(ends.offsets), np.int32)
    return bootstrap_offsets(ends, at_once, num_unroll_steps)[1]


def bootstrap_offsets(ends: SliceEnds, td_steps: I32, num_unroll_steps: int) -> tuple[I32, Bool]:
    """Return which observation each value target bootstraps from, and whether it does.

    Args:
        ends: of the slices.
        td_steps: i32 [B], horizon of each slice.
        num_unroll_steps: K.

    Returns:
        offsets: i32 [B, K + 1], o[t + offset] is the bootstrap observation of position k.
        bootstraps: bool [B, K + 1], False where the value past the horizon is zero by definition.
    """
    positions = np.arange(num_unroll_steps + 1, dtype=np.int32)  # [K + 1]
    last = ends.offsets[:, None]  # [B, 1]
    offsets = np.minimum(positions + td_steps[:, None], last)  # [B, K + 1]
    bootstraps = (positions <= last) & ((offsets < last) | ends.have_value[:, None])
    return np.where(bootstraps, offsets, 0).astype(np.int32), bootstraps


def value_targets(
    batch: SliceBatch,
    ends: SliceEnds,
    *,
    bootstrap_values: F32,
    bootstraps: Bool,
    td_steps: I32,
    discount: float,
) -> F32:
    """Return n-step returns, f32 [B, K + 1].

    z[k] = sum_{j < l} discount^j r[k + j] + discount^l V(o[t + k + l]) with l the slice's
    horizon, cut at the end of the episode. Past the end of a block there is no bootstrap, but
    rewards count; from the end on z is zero, but for the value of a truncated episode's last frame.

    Args:
        batch: sampled slices.
        ends: of the slices.
        bootstrap_values: f32 [B, K + 1] at ``bootstrap_offsets``; ignored where not bootstraps.
        bootstraps: bool [B, K + 1] from ``bootstrap_offsets``.
        td_steps: i32 [B], horizon of each slice.
        discount: per env_step.
    """
    num_positions = bootstrap_values.shape[1]
    steps_left = batch.steps_left.astype(np.int64)
    values = np.zeros(bootstrap_values.shape, np.float64)
    for k in range(num_positions):
        horizons = np.where(k < ends.offsets, np.clip(steps_left - k, 0, td_steps), 0)  # [B]
        for j in range(int(td_steps.max())):
            values[:, k] += np.where(
                j < horizons,
                discount**j * batch.rewards[:, min(k + j, batch.rewards.shape[1] - 1)],
                0.0,
            )
        tails = discount ** horizons.astype(np.float64) * bootstrap_values[:, k]
        values[:, k] += np.where(bootstraps[:, k], tails, 0.0)
    return values.astype(np.float32)


def value_prefix_targets(rewards: F32, *, num_unroll_steps: int, horizon: int) -> F32:
    """Return undiscounted reward sums since the last reset, f32 [B, K].

    Args:
        rewards: f32 [B, >= K]; zero past the end of the episode.
        num_unroll_steps: K.
        horizon: steps after which the sum starts again (1: plain rewards).
    """
    prefixes = np.empty((len(rewards), num_unroll_steps), np.float32)
    running = np.zeros(len(rewards), np.float32)
    for k in range(num_unroll_steps):
        if k % horizon == 0:
            running = np.zeros_like(running)
        running = running + rewards[:, k]
        prefixes[:, k] = running
    return prefixes


def action_mask(ends: SliceEnds, num_unroll_steps: int) -> Bool:
    """Return which actions a[t + k] are trained on, bool [B, K]."""
    return np.arange(num_unroll_steps) < ends.offsets[:, None]


def policy_mask(ends: SliceEnds, num_unroll_steps: int) -> Bool:
    """Return at which positions a policy target exists, bool [B, K + 1]."""
    return np.arange(num_unroll_steps + 1) < ends.offsets[:, None]
