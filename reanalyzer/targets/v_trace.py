"""V-trace: n-step returns corrected for old data's policy (Espeholt et al. 2018, eq. 1)."""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import F32, F64, I64
from efficientzero.search import behaviour_probabilities
from reanalyzer.targets.slice_targets import bootstrap_offsets, reward_horizons
from reanalyzer.targets.td import no_roots_of, reached_cells, slice_td_steps
from reanalyzer.targets.value_target import Estimates, Needs, Sample, ValueTargets

_LEAST = 1e-8


class VTraceTarget:
    """Counts each step by how likely the target network's policy head would have taken it.

    With equal policies and ``reanalyzer.td_lambda`` 1 these are n-step returns.
    """

    def __init__(self, config: Config) -> None:
        """Store the settings."""
        self._config = config

    def needs(self, sample: Sample) -> Needs:
        """Return all cells up to the end of the last position's horizon, and policies before it."""
        reached, policies = reached_cells(
            self._config, sample, slice_td_steps(self._config, sample)
        )
        return Needs(reached, no_roots_of(self._config, sample), policies)

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the corrected returns; see ``slice_targets`` for the ends of episodes."""
        config, slices, td_steps = self._config, sample.slices, slice_td_steps(self._config, sample)
        num_positions, needs = config.agent.num_unroll_steps + 1, self.needs(sample)
        bootstraps = bootstrap_offsets(sample.ends, td_steps, num_positions - 1)[1]
        assert found.policies is not None and needs.policies is not None
        legal = slices.legal_actions[:, :-1] if slices.legal_actions.size else None
        ours = np.take_along_axis(found.policies[:, :-1], slices.actions[..., None], -1)[..., 0]
        theirs = behaviour_probabilities(
            config,
            slices.search_policies[:, :-1],
            slices.actions,
            slices.weights_versions,
            legal,
        )
        ratios = np.where(needs.policies[:, :-1], ours / np.maximum(theirs, _LEAST), 0.0)
        reanalyzer = config.reanalyzer
        returns = v_trace_returns(
            slices.rewards,
            np.where(needs.values, found.values, np.float32(0.0)),
            rhos=np.minimum(reanalyzer.rho_clip, ratios),
            cs=reanalyzer.td_lambda * np.minimum(reanalyzer.c_clip, ratios),
            horizons=reward_horizons(slices, sample.ends, td_steps, num_positions),
            discount=config.agent.discount,
        )
        return ValueTargets(returns.astype(np.float32), td_steps, bootstraps)


def v_trace_returns(
    rewards: F32, values: F32, *, rhos: F64, cs: F64, horizons: I64, discount: float
) -> F64:
    """Return z[k], f64 [B, K + 1]: V[k] + sum of discount^i (c[k] .. c[k + i - 1]) delta[k + i].

    delta[j] = rho[j] (r[j] + discount V[j + 1] - V[j]), for i below each position's horizon.

    Args:
        rewards: f32 [B, K + n].
        values: f32 [B, K + n + 1], V; 0 where a state is worth nothing by definition.
        rhos: f64 [B, K + n], clipped ratios of the policies.
        cs: f64 [B, K + n], how much counts what follows each step.
        horizons: i64 [B, K + 1], at most n.
        discount: per env_step.
    """
    num_positions = horizons.shape[1]
    deltas = rhos * (rewards + discount * values[:, 1:] - values[:, :-1])  # [B, K + n]
    sums = np.zeros(horizons.shape, np.float64)
    for i in reversed(range(int(horizons.max()))):
        steps = slice(i, i + num_positions)
        further = deltas[:, steps] + discount * cs[:, steps] * sums
        sums = np.where(i < horizons, further, sums)
    returns: F64 = values[:, :num_positions] + sums
    return returns
