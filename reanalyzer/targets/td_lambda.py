"""Lambda-returns: returns of all horizons up to n steps, averaged with weights that fall by lambda.

Truncated TD(lambda) (Sutton and Barto 2018, section 12.3). Generalised advantage estimation needs
no code: its value target, V(s) plus the sum of (discount * lambda)^i delta_i (Schulman et al. 2016,
section 3), is this return, because V cancels between neighbouring terms.
"""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import F32, F64, I64
from reanalyzer.targets.slice_targets import bootstrap_offsets, reward_horizons
from reanalyzer.targets.td import no_roots_of, reached_cells, slice_td_steps
from reanalyzer.targets.value_target import Estimates, Needs, Sample, ValueTargets


class TdLambdaTarget:
    """The n-step return that also bootstraps from each observation on the way.

    ``reanalyzer.td_lambda`` 1 gives the n-step return, 0 the one-step return. Old data has a
    shorter horizon, as in n-step returns.
    """

    def __init__(self, config: Config) -> None:
        """Store the settings."""
        self._config = config

    def needs(self, sample: Sample) -> Needs:
        """Return the cells after o[t], up to the end of the last position's horizon."""
        reached, _ = reached_cells(self._config, sample, slice_td_steps(self._config, sample))
        is_later = np.arange(reached.shape[1]) >= 1
        return Needs(reached & is_later, no_roots_of(self._config, sample))

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the lambda-returns; see ``slice_targets`` for the ends of episodes."""
        agent, td_steps = self._config.agent, slice_td_steps(self._config, sample)
        offsets, bootstraps = bootstrap_offsets(sample.ends, td_steps, agent.num_unroll_steps)
        values = np.where(self.needs(sample).values, found.values, np.float32(0.0))
        returns = lambda_returns(
            sample.slices.rewards,
            values,
            tails=np.where(bootstraps, np.take_along_axis(values, offsets, 1), 0.0),
            horizons=reward_horizons(sample.slices, sample.ends, td_steps, bootstraps.shape[1]),
            discount=agent.discount,
            td_lambda=self._config.reanalyzer.td_lambda,
        )
        return ValueTargets(returns.astype(np.float32), td_steps, bootstraps)


def lambda_returns(
    rewards: F32, values: F32, *, tails: F64, horizons: I64, discount: float, td_lambda: float
) -> F64:
    """Return G[k] of each position k, f64 [B, K + 1].

    G[e] = tail, and G[j] = r[j] + discount ((1 - lambda) V[j + 1] + lambda G[j + 1]) for j = e - 1
    down to k, where e = k + horizon.

    Args:
        rewards: f32 [B, K + n].
        values: f32 [B, K + n + 1], V; 0 where a state is worth nothing by definition.
        tails: f64 [B, K + 1], what the end of each horizon is worth.
        horizons: i64 [B, K + 1], at most n.
        discount: per env_step.
        td_lambda: 0 to 1.
    """
    num_positions, returns = tails.shape[1], tails
    for i in reversed(range(int(horizons.max()))):
        following = (1.0 - td_lambda) * values[:, i + 1 : i + 1 + num_positions]
        following = np.where(i + 1 == horizons, returns, following + td_lambda * returns)
        step = rewards[:, i : i + num_positions] + discount * following
        returns = np.where(i < horizons, step, returns)
    return returns
