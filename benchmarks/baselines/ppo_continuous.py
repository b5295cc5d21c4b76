"""PPO's agent for continuous actions, with the defaults of the field's single-file version.

Those of CleanRL's ``ppo_continuous_action`` (Huang et al., 2022): a Gaussian whose scale does not
depend on the observation, actions clipped to their bounds, and observations and rewards normalised
by what was seen so far. Actions are the numbers in -1..1 that the environment scales.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from actor.games import Chooser
from benchmarks.baselines.ppo import PpoConfig, initialize
from benchmarks.baselines.tasks import Array, Task, steered
from efficientzero.schema import EnvSpec, EnvSteps

CONTINUOUS = PpoConfig(
    learning_rate=3e-4,
    num_envs=1,
    num_steps=2_048,
    num_minibatches=32,
    num_epochs=10,
    entropy_coefficient=0.0,
)
_BOUND = 10.0
"""Of normalised observations and rewards."""
_LEAST_VARIANCE = 1e-8


class Moments:
    """Mean and variance of all rows so far (Chan et al., 1979)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Begin with mean 0 and variance 1, which the first rows replace."""
        self.mean, self.variance = np.zeros(shape), np.ones(shape)
        self._count = 1e-4

    def add(self, rows: Array) -> None:
        """Count ``rows`` [B, *shape]."""
        count = self._count + len(rows)
        distance = rows.mean(0) - self.mean
        squares = self.variance * self._count + rows.var(0) * len(rows)
        squares += distance**2 * self._count * len(rows) / count
        self.mean = self.mean + distance * len(rows) / count
        self.variance, self._count = squares / count, count


class GaussianAgent(nn.Module):
    """Two networks of 64 and 64 tanh units, one for the policy's mean and one for the value."""

    def __init__(self, spec: EnvSpec, discount: float = CONTINUOUS.discount) -> None:
        """Build them for vector observations; ``discount`` of the returns that scale rewards.

        Raises:
            ValueError: observations are images.
        """
        super().__init__()
        if spec.is_image:
            raise ValueError(f"ppo: got images of {spec.env_id}, wanted vectors")
        size = spec.observation_shape[0]
        self.mean = _network(size, spec.action_size, last_gain=0.01)
        self.value = _network(size, 1, last_gain=1.0)
        self.log_scale = nn.Parameter(torch.zeros(spec.action_size))
        self._seen, self._returns = Moments(spec.observation_shape), Moments(())
        self._discount, self._running = discount, np.zeros(0)  # [E] discounted sums of rewards

    def see(self, observations: Array, *, counts: bool = False) -> Tensor:
        """Return normalised observations, f32 [B, D]."""
        if counts:
            self._seen.add(observations.astype(np.float64))
        deviation = np.sqrt(self._seen.variance + _LEAST_VARIANCE)
        normalized = (observations - self._seen.mean) / deviation
        return torch.tensor(normalized.clip(-_BOUND, _BOUND), dtype=torch.float32)

    def rewards(self, task: Task, steps: EnvSteps) -> Array:
        """Return rewards over the deviation of their discounted sums, f32 [E]."""
        raw = task.rewards(steps.rewards).astype(np.float64)
        before = self._running if self._running.size else np.zeros(len(raw))
        self._running = before * self._discount * ~steps.terminated + raw
        self._returns.add(self._running)
        scaled = raw / np.sqrt(self._returns.variance + _LEAST_VARIANCE)
        bounded: Array = scaled.clip(-_BOUND, _BOUND).astype(np.float32)
        return bounded

    def values(self, observations: Tensor) -> Tensor:
        """Return values [B]."""
        values: Tensor = self.value(observations)[:, 0]
        return values

    def draw(self, observations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return drawn actions f32 [B, X], unclipped, their log densities [B], and values [B]."""
        mean = self.mean(observations)
        actions = mean + self.log_scale.exp() * torch.randn_like(mean)
        return actions, self._log_densities(mean, actions), self.values(observations)

    def judge(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the actions' log densities, the policies' entropies, and values, all [B]."""
        densities = self._log_densities(self.mean(observations), actions)
        entropy = (self.log_scale + 0.5 * math.log(2.0 * math.pi * math.e)).sum()
        return densities, entropy.expand(len(actions)), self.values(observations)

    def taken(self, actions: Tensor) -> Array:
        """Return actions within their bounds."""
        clipped: Array = actions.clamp(-1.0, 1.0).numpy()
        return clipped

    def best(self) -> Chooser:
        """Return the chooser of the policy's mean; it counts no observation."""
        return steered(lambda seen: self.mean(self.see(seen.numpy())).clamp(-1.0, 1.0))

    def _log_densities(self, mean: Tensor, actions: Tensor) -> Tensor:
        distance = (actions - mean) / self.log_scale.exp()
        log_normal = -0.5 * distance**2 - self.log_scale - 0.5 * math.log(2.0 * math.pi)
        return log_normal.sum(1)


def _network(size: int, outputs: int, *, last_gain: float) -> nn.Sequential:
    gain = 2**0.5
    return nn.Sequential(
        *(initialize(nn.Linear(size, 64), gain), nn.Tanh()),
        *(initialize(nn.Linear(64, 64), gain), nn.Tanh()),
        initialize(nn.Linear(64, outputs), last_gain),
    )
