"""How far the network's values exceed the returns of its own games.

Updated by the evaluator. Values that are too high or too low everywhere do not show in the training
errors, because the targets are built from the same values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from efficientzero.schema import F32, EnvSteps


class ValueBias:
    """Predicted values and rewards of games that are played in parallel."""

    def __init__(self, num_envs: int, *, discount: float, clip_rewards: bool) -> None:
        """Start without any step.

        Args:
            num_envs: games.
            discount: of the agent.
            clip_rewards: values are trained on the signs of rewards.
        """
        self._discount, self._clip_rewards = discount, clip_rewards
        self._predicted: list[list[float]] = [[] for _ in range(num_envs)]
        self._rewards: list[list[float]] = [[] for _ in range(num_envs)]
        self._is_over = [False] * num_envs
        self._values: F32 = np.zeros(0, np.float32)

    def predict(self, values: F32) -> None:
        """Add the network's values of the current observations, f32 [N]."""
        self._values = values

    def observe(self, envs: Sequence[int], steps: EnvSteps) -> None:
        """Add the results of the actions.

        Args:
            envs: N environments, in the order of the values before.
            steps: their env_steps.
        """
        rewards = np.sign(steps.rewards) if self._clip_rewards else steps.rewards
        for slot, env in enumerate(envs):
            self._predicted[env].append(float(self._values[slot]))
            self._rewards[env].append(float(rewards[slot]))
            self._is_over[env] = bool(steps.game_over[slot])

    def mean(self) -> float:
        """Return the mean of predicted minus discounted return, over all steps; NaN without steps.

        The return of a truncated game is bootstrapped with the value of its last observation.
        """
        return float(np.mean(biases)) if (biases := self._biases()) else math.nan

    def _biases(self) -> list[float]:
        biases = []
        for values, rewards, is_over in zip(
            self._predicted, self._rewards, self._is_over, strict=True
        ):
            following = 0.0
            for t in reversed(range(len(values))):
                is_cut = t == len(values) - 1 and not is_over
                following = values[t] if is_cut else rewards[t] + self._discount * following
                if not is_cut:
                    biases.append(values[t] - following)
        return biases
