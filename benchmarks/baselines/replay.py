"""A ring of transitions for DQN and SAC."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.baselines.tasks import Array


class Replay:
    """A ring of transitions over one step or several, sampled uniformly."""

    def __init__(
        self, capacity: int, observation: Array, action: Array, generator: np.random.Generator
    ) -> None:
        """Allocate for observations and actions like these: their shapes and dtypes."""
        shape = (capacity, *observation.shape)
        self._observations = np.zeros(shape, observation.dtype)
        self._following = np.zeros(shape, observation.dtype)
        self._actions = np.zeros((capacity, *action.shape), action.dtype)
        self._rewards = np.zeros(capacity, np.float32)
        self._discounts = np.zeros(capacity, np.float32)
        self._added, self._generator = 0, generator

    def add(
        self,
        observation: Array,
        action: int | Array,
        reward: float,
        following: Array,
        discount: float,
    ) -> None:
        """Store one transition; ``discount`` of the value of ``following``, 0 past an end."""
        row = self._added % len(self._actions)
        self._observations[row], self._following[row] = observation, following
        self._actions[row], self._rewards[row] = action, reward
        self._discounts[row] = discount
        self._added += 1

    def sample(self, count: int) -> tuple[torch.Tensor, ...]:
        """Return observations, actions, rewards, following observations, discounts."""
        rows = self._generator.integers(min(self._added, len(self._actions)), size=count)
        columns = (
            self._observations,
            self._actions,
            self._rewards,
            self._following,
            self._discounts,
        )
        return tuple(torch.from_numpy(column[rows]) for column in columns)
