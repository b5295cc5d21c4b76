"""Plain SAC (Haarnoja et al., 2018) with the defaults that the field's single-file version has.

Those of CleanRL's ``sac_continuous_action`` (Huang et al., 2022): two Q networks, entropy with an
automatic temperature, one update an env_step. Actions are the numbers in -1..1 that the environment
scales, so the entropy is measured there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines.replay import Replay
from benchmarks.baselines.tasks import Curve, Task, steered
from efficientzero.envs import FrameStack
from efficientzero.schema import EnvSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SacConfig:
    """Hyperparameters, the same for every task: nothing is tuned."""

    policy_learning_rate: float = 3e-4
    q_learning_rate: float = 1e-3
    """Also of the temperature."""
    discount: float = 0.99
    batch_size: int = 256
    capacity: int = 1_000_000
    """At most; never more than the budget's env_steps."""
    learning_starts: int = 5_000
    """env_steps with uniformly random actions and without updates."""
    target_share: float = 0.005
    """Of the Q networks in their moving average, each env_step."""
    policy_interval: int = 2
    """env_steps between as many updates of policy and temperature."""
    hidden_size: int = 256
    smallest_log_scale: float = -5.0
    largest_log_scale: float = 2.0


class Policy(nn.Module):
    """A Gaussian whose draws are squashed by tanh."""

    def __init__(self, spec: EnvSpec, config: SacConfig) -> None:
        """Build it for vector observations."""
        super().__init__()
        self.layers = _network(spec.observation_shape[0], 2 * spec.action_size, config.hidden_size)
        self._bounds = config.smallest_log_scale, config.largest_log_scale

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log scale before tanh, f32 [B, X]."""
        mean, raw = self.layers(observations).chunk(2, 1)
        smallest, largest = self._bounds
        return mean, smallest + 0.5 * (largest - smallest) * (raw.tanh() + 1.0)

    def draw(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return drawn actions f32 [B, X] with their gradient, and their log densities [B]."""
        mean, log_scale = self(observations)
        return squashed(mean, log_scale, torch.randn_like(mean))

    def best(self, observations: Tensor) -> Tensor:
        """Return the medians of the actions, f32 [B, X]."""
        mean: Tensor = self(observations)[0]
        return mean.tanh()


def squashed(mean: Tensor, log_scale: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return tanh(mean + scale noise), f32 [B, X], and the log densities of these actions, [B].

    The slope of tanh is ln(1 - tanh^2 u) = 2 (ln 2 - u - softplus(-2 u)), exact where tanh rounds
    to 1.
    """
    raw = mean + log_scale.exp() * noise
    log_normal = -0.5 * noise**2 - log_scale - 0.5 * math.log(2.0 * math.pi)
    log_slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
    return raw.tanh(), (log_normal - log_slope).sum(1)


class Critic(nn.Module):
    """Two networks that judge an action."""

    def __init__(self, spec: EnvSpec, config: SacConfig) -> None:
        """Build them for vector observations."""
        super().__init__()
        size = spec.observation_shape[0] + spec.action_size
        self.networks = nn.ModuleList(_network(size, 1, config.hidden_size) for _ in range(2))

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return Q of both, f32 [2, B]."""
        both = torch.cat([observations, actions], 1)
        return torch.stack([network(both)[:, 0] for network in self.networks])


class Learner:
    """Policy, critics, temperature and their updates."""

    def __init__(self, spec: EnvSpec, config: SacConfig) -> None:
        """Build everything.

        Raises:
            ValueError: observations are images.
        """
        if spec.is_image:
            raise ValueError(f"sac: got images of {spec.env_id}, wanted vectors")
        self._config, self._wanted_entropy = config, -float(spec.action_size)
        self.policy, self.critic = Policy(spec, config), Critic(spec, config)
        self.target = copy.deepcopy(self.critic)
        self.log_temperature = torch.zeros((), requires_grad=True)
        self._policy_optimizer = _adam(self.policy.parameters(), config.policy_learning_rate)
        self._q_optimizer = _adam(self.critic.parameters(), config.q_learning_rate)
        self._temperature_optimizer = _adam([self.log_temperature], config.q_learning_rate)

    @torch.no_grad()
    def q_targets(self, rewards: Tensor, following: Tensor, discounts: Tensor) -> Tensor:
        """Return r + discount (min Q'(s', a') - temperature ln pi(a' | s')), f32 [B]."""
        actions, densities = self.policy.draw(following)
        values = self.target(following, actions).amin(0) - self.log_temperature.exp() * densities
        targets: Tensor = rewards + discounts * values
        return targets

    def q_loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of both networks' mean squared errors on a batch of ``Replay``."""
        observations, actions, rewards, following, discounts = batch
        targets = self.q_targets(rewards, following, discounts)
        errors = self.critic(observations, actions) - targets
        loss: Tensor = errors.square().mean(1).sum()
        return loss

    def update_critic(self, batch: tuple[Tensor, ...]) -> None:
        """Move both Q networks to the targets of a batch."""
        _step(self._q_optimizer, self.q_loss(batch))

    def update_policy(self, observations: Tensor) -> None:
        """Move the policy to actions of higher Q and entropy, then the temperature."""
        actions, densities = self.policy.draw(observations)
        temperature = self.log_temperature.detach().exp()
        loss = (temperature * densities - self.critic(observations, actions).amin(0)).mean()
        _step(self._policy_optimizer, loss)
        with torch.no_grad():
            surplus = self.policy.draw(observations)[1] + self._wanted_entropy
        _step(self._temperature_optimizer, -(self.log_temperature.exp() * surplus).mean())

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the average of the Q networks' weights a little."""
        for average, new in zip(self.target.parameters(), self.critic.parameters(), strict=True):
            average.lerp_(new, self._config.target_share)


def train_sac(task: Task, config: SacConfig) -> Curve:
    """Train with the task's budget and return the learning curve."""
    seed, size = task.config.seed, task.spec.action_size
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    learner = Learner(task.spec, config)
    envs, stack, curve = task.make_envs(1), FrameStack(task.spec, 1), Curve()
    stack.reset([0], envs.reset([0]))
    observation = stack.observations()[0].copy()
    capacity = min(config.capacity, task.env_steps)
    replay = Replay(capacity, observation, np.zeros(size, np.float32), generator)
    try:
        for env_step in range(task.env_steps):
            if env_step < config.learning_starts:
                action = generator.uniform(-1.0, 1.0, size).astype(np.float32)
            else:
                with torch.inference_mode():
                    action = learner.policy.draw(torch.from_numpy(observation[None]))[0][0].numpy()
            answer = envs.step([0], action[None])
            stack.push([0], answer.observed)
            following = stack.observations()[0].copy()
            discount = 0.0 if answer.terminated[0] else config.discount
            reward = float(task.rewards(answer.rewards)[0])
            replay.add(observation, action, reward, following, discount)
            if answer.terminated[0] or answer.truncated[0]:
                stack.reset([0], envs.reset([0]))
                following = stack.observations()[0].copy()
            observation = following
            if env_step >= config.learning_starts:
                batch = replay.sample(config.batch_size)
                learner.update_critic(batch)
                if env_step % config.policy_interval == 0:
                    for _ in range(config.policy_interval):
                        learner.update_policy(batch[0])
                learner.update_target()
            task.evaluate_when_due(curve, env_step + 1, steered(learner.policy.best))
    finally:
        envs.close()
    return curve


def _network(size: int, outputs: int, hidden_size: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(size, hidden_size), nn.ReLU()),
        *(nn.Linear(hidden_size, hidden_size), nn.ReLU()),
        nn.Linear(hidden_size, outputs),
    )


def _adam(parameters: Iterable[Tensor], learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=learning_rate)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
