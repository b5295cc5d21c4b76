"""Arithmetic on sampled slices: where they end, n-step returns, value prefixes, masks. Pure numpy.

Called by the reanalyzer. All indices are relative to the slice's own step t: position k means
o[t + k]. ``steps_left`` is T - t, clipped to K + n + 1, which is larger than any index asked for.

At the end of an episode: past a *terminated* end all values are zero; at a *truncated* one the
horizon shortens and the bootstrap is the value of the last real frame, because the task would have
continued.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from efficientzero.config import AgentConfig
from efficientzero.schema import F32, F64, I32, I64, Bool, Ending, SearchResult, SliceBatch


class SliceEnds(NamedTuple):
    """Where the part of an episode that a slice trains on ends."""

    offsets: I32  # [B] 1 or more; o[t + offset] is the last observation that is trained on
    have_value: Bool  # [B] that observation has a value to bootstrap from; else its value is zero


def slice_ends(batch: SliceBatch, *, block_length: int) -> SliceEnds:
    """Return where each slice ends: with its episode, or with the block of its step t.

    Args:
        batch: sampled slices.
        block_length: the reference's D3: an episode is cut into blocks of this many env_steps, and
            values past the end of a block are zero. 0: no blocks.
    """
    have_value = batch.endings == Ending.TRUNCATED
    if not block_length:
        return SliceEnds(batch.steps_left, have_value)
    block_left = block_length - batch.positions % block_length
    offsets = np.minimum(batch.steps_left, block_left).astype(np.int32)
    return SliceEnds(offsets, have_value & (batch.steps_left < block_left))


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


def n_step_returns(
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
    rewards count. From the end on z is zero, except for the value of a truncated episode's last
    frame.

    Args:
        batch: sampled slices.
        ends: of the slices.
        bootstrap_values: f32 [B, K + 1] at ``bootstrap_offsets``; ignored where not bootstraps.
        bootstraps: bool [B, K + 1] from ``bootstrap_offsets``.
        td_steps: i32 [B], horizon of each slice.
        discount: per env_step.
    """
    sums, tail_discounts = partial_returns(
        batch,
        ends,
        bootstraps=bootstraps,
        td_steps=td_steps,
        discount=discount,
    )
    tails = np.where(bootstraps, tail_discounts * bootstrap_values, 0.0)
    values: F32 = (sums + tails).astype(np.float32)
    return values


def partial_returns(
    batch: SliceBatch, ends: SliceEnds, *, bootstraps: Bool, td_steps: I32, discount: float
) -> tuple[F64, F64]:
    """Return n-step returns without their bootstrap, and what it counts in them.

    Args:
        batch: sampled slices.
        ends: of the slices.
        bootstraps: bool [B, K + 1] from ``bootstrap_offsets``.
        td_steps: i32 [B], horizon of each slice.
        discount: per env_step.

    Returns:
        sums: f64 [B, K + 1], discounted rewards of each position's horizon.
        tail_discounts: f64 [B, K + 1], discount^l, or 0 where there is no bootstrap.
    """
    horizons = reward_horizons(batch, ends, td_steps, bootstraps.shape[1])
    sums = np.zeros(bootstraps.shape, np.float64)
    for k in range(bootstraps.shape[1]):
        for j in range(int(td_steps.max())):
            sums[:, k] += np.where(
                j < horizons[:, k],
                discount**j * batch.rewards[:, min(k + j, batch.rewards.shape[1] - 1)],
                0.0,
            )
    return sums, np.where(bootstraps, discount ** horizons.astype(np.float64), 0.0)


def reward_horizons(batch: SliceBatch, ends: SliceEnds, td_steps: I32, num_positions: int) -> I64:
    """Return how many rewards count in the return of each position, i64 [B, num_positions].

    The slice's horizon, cut at the end of the episode; 0 from the end of the slice's block on.
    """
    positions = np.arange(num_positions)
    left = batch.steps_left.astype(np.int64)[:, None] - positions
    horizons: I64 = np.where(
        positions < ends.offsets[:, None], np.clip(left, 0, td_steps[:, None]), 0
    )
    return horizons


def value_prefix_targets(rewards: F32, *, num_unroll_steps: int, horizon: int) -> F32:
    """Return undiscounted reward sums since the last reset, f32 [B, K].

    Args:
        rewards: f32 [B, >= K]; zero past the end of the episode.
        num_unroll_steps: K.
        horizon: steps after which the sum restarts (1: plain rewards).
    """
    prefixes = np.empty((len(rewards), num_unroll_steps), np.float32)
    running = np.zeros(len(rewards), np.float32)
    for k in range(num_unroll_steps):
        if k % horizon == 0:
            running = np.zeros_like(running)
        running = running + rewards[:, k]
        prefixes[:, k] = running
    return prefixes


def action_mask(ends: SliceEnds, num_actions: int) -> Bool:
    """Return which of the actions a[t + k] are trained on, bool [B, num_actions]."""
    return np.arange(num_actions) < ends.offsets[:, None]


def policy_mask(ends: SliceEnds, num_unroll_steps: int) -> Bool:
    """Return at which positions a policy target exists, bool [B, K + 1]."""
    return np.arange(num_unroll_steps + 1) < ends.offsets[:, None]


def stored_policies(slices: SliceBatch, exists: Bool) -> F32:
    """Return what actors' searches found, as policy targets f32 [B, K + 1, W].

    All 0, which is no target, past the end, and where an opponent moved: its weights are others.

    Args:
        slices: B of them.
        exists: bool [B, K + 1] from ``policy_mask``.
    """
    num_policies = exists.shape[1]
    is_own = exists
    if slices.movers.size:
        is_own = exists & (slices.movers[:, :num_policies] == 0)
    stored = slices.search_policies[:, :num_policies]
    return np.where(is_own[:, :, None], stored, 0.0).astype(np.float32)


class SlotTargets(NamedTuple):
    """What training reads of continuous actions; X is 0 where actions are discrete."""

    taken: F32  # [B, K, X] uniformly random past the end of an episode
    in_slots: F32  # [B, K + 1, W, X] the actions that the policy targets weigh
    best: F32  # [B, K + 1, X] that of a fresh search, else what was played

    def write(self, cells: Bool, found: SearchResult) -> None:
        """Replace the stored slots of ``cells`` [B, K + 1] by those of fresh searches, in place."""
        if self.in_slots.size:
            self.in_slots[cells] = found.slot_actions
            self.best[cells] = found.actions_in(found.best_actions)


def stored_slots(
    slices: SliceBatch, mask: Bool, num_policies: int, generator: np.random.Generator
) -> SlotTargets:
    """Return what replay holds, as copies.

    Args:
        slices: B of them.
        mask: bool [B, K], where an action was taken.
        num_policies: K + 1.
        generator: draws B K X numbers.
    """
    stored = slices.continuous_actions  # [B, K + 1, X] or further
    taken = stored[:, : mask.shape[1]]
    if taken.size:
        drawn = generator.uniform(-1.0, 1.0, taken.shape).astype(np.float32)
        taken = np.where(mask[:, :, None], taken, drawn)
    best = np.zeros((len(stored), num_policies, stored.shape[2]), np.float32)
    if stored.size:
        best[:] = stored[:, :num_policies]
    return SlotTargets(taken, slices.policy_actions[:, :num_policies].copy(), best)


def bootstrap_legal_actions(slices: SliceBatch, offsets: I32, agent: AgentConfig) -> Bool:
    """Return the legal actions at o[t + offset] of offsets [B, L], bool [B, L, M]."""
    legal = slices.legal_actions
    if not offsets.size or agent.value_function != "action":
        legal = legal[:, :, :0]
    at_offsets: Bool = np.take_along_axis(legal, offsets[:, :, None].astype(np.int64), axis=1)
    return at_offsets
