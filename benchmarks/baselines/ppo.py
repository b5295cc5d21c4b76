"""Plain PPO (Schulman et al., 2017) with the defaults that the field's single-file version has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines.tasks import Body, Curve, Task, greedy
from efficientzero.envs import EnvBatch, FrameStack
from efficientzero.schema import EnvSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig:
    """Hyperparameters, the same for every task: nothing is tuned."""

    learning_rate: float = 2.5e-4
    """Falls to 0 over the budget."""
    num_envs: int = 4
    num_steps: int = 128
    """env_steps of each environment between two rounds of updates."""
    discount: float = 0.99
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    num_epochs: int = 4
    clip: float = 0.2
    """Of the ratio, and of the value's change."""
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5


class ActorCritic(nn.Module):
    """Policy and value, of one body for images and of one each for vectors."""

    def __init__(self, spec: EnvSpec) -> None:
        """Build both, orthogonal as in PPO's own code."""
        super().__init__()
        self.policy_body = Body(spec)
        self.value_body = self.policy_body if spec.is_image else Body(spec)
        for body in (self.policy_body, self.value_body):
            for module in body.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    _initialize(module, 2**0.5)
        self.policy = _initialize(nn.Linear(self.policy_body.size, spec.num_actions), 0.01)
        self.value = _initialize(nn.Linear(self.value_body.size, 1), 1.0)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities [B, A] and values [B]."""
        features = self.policy_body(observations)
        log_policies = F.log_softmax(self.policy(features), 1)
        if self.value_body is not self.policy_body:
            features = self.value_body(observations)
        return log_policies, self.value(features)[:, 0]


class Rollout(NamedTuple):
    """Steps that are trained on; T env_steps of E environments, flattened to [T * E]."""

    observations: Tensor
    actions: Tensor  # i64
    log_probabilities: Tensor  # of the actions, when they were taken
    values: Tensor
    advantages: Tensor
    returns: Tensor


def train_ppo(task: Task, config: PpoConfig) -> Curve:
    """Train with the task's budget, to whole rounds, and return the learning curve."""
    torch.manual_seed(task.config.seed)
    network = ActorCritic(task.spec)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, eps=1e-5)
    envs, curve = task.make_envs(config.num_envs), Curve()
    stack = FrameStack(task.spec, config.num_envs)
    stack.reset(range(config.num_envs), envs.reset(range(config.num_envs)))
    per_round = config.num_envs * config.num_steps
    try:
        for env_steps in range(0, task.env_steps, per_round):
            share_left = 1.0 - env_steps / task.env_steps
            optimizer.param_groups[0]["lr"] = share_left * config.learning_rate
            rollout = _collect(task, network, envs, stack, config)
            for _ in range(config.num_epochs):
                for rows in torch.randperm(per_round).chunk(config.num_minibatches):
                    _update(network, optimizer, Rollout(*(c[rows] for c in rollout)), config)
            task.evaluate_when_due(
                curve, min(env_steps + per_round, task.env_steps), greedy(lambda o: network(o)[0])
            )
    finally:
        envs.close()
    return curve


@torch.no_grad()
def _collect(
    task: Task, network: ActorCritic, envs: EnvBatch, stack: FrameStack, config: PpoConfig
) -> Rollout:
    """Play T env_steps in each environment; an episode that was cut is worth its last value."""
    everybody = list(range(config.num_envs))
    observations, actions, log_probabilities, values = [], [], [], []
    rewards, ends = [], []
    for _ in range(config.num_steps):
        observation = torch.tensor(stack.observations())
        log_policies, value = network(observation)
        action = torch.multinomial(log_policies.exp(), 1)
        answer = envs.step(everybody, action[:, 0].numpy())
        stack.push(everybody, answer.observed)
        reward = torch.from_numpy(task.rewards(answer.rewards).astype(np.float32))
        end = answer.terminated | answer.truncated
        if answer.truncated.any():
            last = network(torch.tensor(stack.observations()))[1]
            reward += config.discount * torch.where(
                torch.from_numpy(answer.truncated), last, torch.zeros(())
            )
        over = [i for i in everybody if end[i]]
        if over:
            stack.reset(over, envs.reset(over))
        observations.append(observation)
        actions.append(action[:, 0])
        log_probabilities.append(log_policies.gather(1, action)[:, 0])
        values.append(value)
        rewards.append(reward)
        ends.append(torch.from_numpy(end).float())
    last_values = network(torch.tensor(stack.observations()))[1]
    advantages = generalized_advantages(
        torch.stack(rewards), torch.stack([*values, last_values]), torch.stack(ends), config
    )
    returns = advantages + torch.stack(values)
    columns = (torch.stack(c) for c in (observations, actions, log_probabilities, values))
    return Rollout(*(column.flatten(0, 1) for column in (*columns, advantages, returns)))


def generalized_advantages(
    rewards: Tensor, values: Tensor, ends: Tensor, config: PpoConfig
) -> Tensor:
    """Return generalised advantages (Schulman et al., 2016, equation 16), f32 [T, E].

    Args:
        rewards: f32 [T, E].
        values: f32 [T + 1, E], the last of the observations after the rollout.
        ends: f32 [T, E], 1 where the step ended its episode.
        config: discount and lambda.
    """
    advantages, following = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - ends[t]
        delta = rewards[t] + config.discount * values[t + 1] * goes_on - values[t]
        following = delta + config.discount * config.gae_lambda * goes_on * following
        advantages[t] = following
    return advantages


def _update(
    network: ActorCritic, optimizer: torch.optim.Optimizer, batch: Rollout, config: PpoConfig
) -> None:
    log_policies, values = network(batch.observations)
    log_probabilities = log_policies.gather(1, batch.actions[:, None])[:, 0]
    ratios = (log_probabilities - batch.log_probabilities).exp()
    advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
    clipped = ratios.clamp(1.0 - config.clip, 1.0 + config.clip)
    policy_loss = -torch.minimum(advantages * ratios, advantages * clipped).mean()
    near = batch.values + (values - batch.values).clamp(-config.clip, config.clip)
    errors = torch.maximum((values - batch.returns) ** 2, (near - batch.returns) ** 2)
    entropy = -(log_policies.exp() * log_policies).sum(1).mean()
    loss = (
        policy_loss
        + config.value_coefficient * 0.5 * errors.mean()
        - config.entropy_coefficient * entropy
    )
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
    optimizer.step()


def _initialize(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Linear | nn.Conv2d:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
