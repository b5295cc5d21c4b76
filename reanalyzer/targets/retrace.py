"""Retrace(lambda): returns of Q(s, a) that correct for old data's policy (Munos et al. 2016).

With ``reanalyzer.target_policy`` greedy a return ends at the first action that is not the best one,
as in Watkins's Q(lambda).
"""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import F32, F64, I32, I64, Bool
from efficientzero.search import behaviour_probabilities, softmax_q
from reanalyzer.targets.slice_targets import bootstrap_offsets, reward_horizons
from reanalyzer.targets.td import no_roots_of, reached_cells, slice_td_steps
from reanalyzer.targets.value_target import Estimates, Needs, Sample, ValueTargets

_LEAST = 1e-8


class RetraceTarget:
    """The return of a[t + k] that follows the stored actions as long as the newer policy would.

    What a state is worth is the newer policy's mean of Q there.
    """

    def __init__(self, config: Config) -> None:
        """Store the settings."""
        self._config = config

    def needs(self, sample: Sample) -> Needs:
        """Return the cells after o[t] for action values, up to the end of the last horizon."""
        reached, _ = reached_cells(self._config, sample, slice_td_steps(self._config, sample))
        action_values = reached & (np.arange(reached.shape[1]) >= 1)
        return Needs(
            np.zeros_like(action_values),
            no_roots_of(self._config, sample),
            action_values=action_values,
        )

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the corrected returns; see ``slice_targets`` for the ends of episodes."""
        config, slices, td_steps = self._config, sample.slices, slice_td_steps(self._config, sample)
        num_positions, needs = config.agent.num_unroll_steps + 1, self.needs(sample)
        offsets, bootstraps = bootstrap_offsets(sample.ends, td_steps, num_positions - 1)
        assert found.action_values is not None and needs.action_values is not None
        q = found.action_values.astype(np.float64)  # [B, K + n + 1, W]
        legal = slices.legal_actions if slices.legal_actions.size else None
        policies = target_policies(config, q, legal)
        means = np.where(needs.action_values, (policies * q).sum(axis=-1), 0.0)
        theirs = behaviour_probabilities(
            config,
            slices.search_policies[:, :-1],
            slices.actions,
            slices.weights_versions,
            None if legal is None else legal[:, :-1],
        )
        ratios = _taken(policies, slices.actions) / np.maximum(theirs, _LEAST)
        # From the end on there is no action: what follows it counts nothing.
        is_step = np.arange(ratios.shape[1]) < sample.ends.offsets[:, None]
        cs = config.reanalyzer.td_lambda * np.where(is_step, np.minimum(1.0, ratios), 0.0)
        returns = retrace_returns(
            slices.rewards,
            means,
            _taken(q, slices.actions),
            cs=cs,
            tails=np.where(bootstraps, np.take_along_axis(means, offsets, 1), 0.0),
            horizons=reward_horizons(slices, sample.ends, td_steps, num_positions),
            discount=config.agent.discount,
        )
        return ValueTargets(returns.astype(np.float32), td_steps, bootstraps)


def retrace_returns(
    rewards: F32, means: F64, taken: F64, *, cs: F64, tails: F64, horizons: I64, discount: float
) -> F64:
    """Return G[k] of each position k, f64 [B, K + 1].

    G[e] = tail, and G[j] = r[j] + discount (E[j + 1] + c[j + 1] (G[j + 1] - Q[j + 1])) for
    j = e - 1 down to k, where e = k + horizon; the correction is absent at e - 1.

    Args:
        rewards: f32 [B, K + n].
        means: f64 [B, K + n + 1], E: the mean of Q under the newer policy; 0 where a state is
            worth nothing by definition.
        taken: f64 [B, K + n], Q of the stored actions.
        cs: f64 [B, K + n], how much counts what follows each step.
        tails: f64 [B, K + 1], what the end of each horizon is worth.
        horizons: i64 [B, K + 1], at most n.
        discount: per env_step.
    """
    num_positions, returns = tails.shape[1], tails
    # No horizon goes on after the last cell: what stands there is not read.
    taken, cs = (np.pad(column, ((0, 0), (0, 1))) for column in (taken, cs))
    for i in reversed(range(int(horizons.max()))):
        after = slice(i + 1, i + 1 + num_positions)
        corrected = means[:, after] + cs[:, after] * (returns - taken[:, after])
        following = np.where(i + 1 == horizons, returns, corrected)
        step = rewards[:, i : i + num_positions] + discount * following
        returns = np.where(i < horizons, step, returns)
    return returns


def target_policies(config: Config, action_values: F64, legal_actions: Bool | None = None) -> F64:
    """Return pi, of which Q is learned: ``reanalyzer.target_policy`` of Q, f64 [B, N, W].

    Args:
        config: of the run.
        action_values: f64 [B, N, W].
        legal_actions: bool [B, N, W]; None: all are. Where none is, nothing is excluded.
    """
    width, legal = action_values.shape[-1], legal_actions
    if legal is not None:
        legal = legal | ~legal.any(axis=-1, keepdims=True)
    if config.reanalyzer.target_policy == "greedy":
        allowed = action_values if legal is None else np.where(legal, action_values, -np.inf)
        greedy: F64 = np.eye(width)[allowed.argmax(axis=-1)]
        return greedy
    rows = action_values.reshape(-1, width)
    flags = None if legal is None else legal.reshape(-1, width)
    return softmax_q(rows, config.search.q_temperature, flags).reshape(action_values.shape)


def _taken(numbers: F64, actions: I32) -> F64:
    """Return the numbers [B, K + n + 1, W] of the stored actions, f64 [B, K + n]."""
    taken: F64 = np.take_along_axis(numbers[:, :-1], actions[..., None], -1)[..., 0]
    return taken
