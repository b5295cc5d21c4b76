"""Plain PPO (Schulman et al., 2017) with the defaults that the field's single-file version has.

The training for any actions; here the agent for numbered ones, in ``ppo_continuous`` the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actor.games import Chooser
from benchmarks.baselines.tasks import Array, Body, Curve, Task, greedy
from efficientzero.envs import EnvBatch, FrameStack
from efficientzero.schema import EnvSpec, EnvSteps


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


class Agent(Protocol):
    """What is trained; actions [B, ...] are as it draws them."""

    def see(self, observations: Array, *, counts: bool = False) -> Tensor:
        """Return observations as the network takes them; ``counts``: once for each step."""

    def rewards(self, task: Task, steps: EnvSteps) -> Array:
        """Return the rewards to learn from, [B]."""

    def values(self, observations: Tensor) -> Tensor:
        """Return values [B]."""

    def draw(self, observations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return drawn actions, their log probabilities [B], and values [B]."""

    def judge(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the actions' log probabilities, the policies' entropies, and values, all [B]."""

    def taken(self, actions: Tensor) -> Array:
        """Return actions as environments take them."""

    def best(self) -> Chooser:
        """Return the chooser without exploration."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return what is trained."""


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
                    initialize(module, 2**0.5)
        self.policy = initialize(nn.Linear(self.policy_body.size, spec.num_actions), 0.01)
        self.value = initialize(nn.Linear(self.value_body.size, 1), 1.0)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities [B, A] and values [B]."""
        features = self.policy_body(observations)
        log_policies = F.log_softmax(self.policy(features), 1)
        if self.value_body is not self.policy_body:
            features = self.value_body(observations)
        return log_policies, self.value(features)[:, 0]

    def see(self, observations: Array, *, counts: bool = False) -> Tensor:
        """Return a copy."""
        del counts
        return torch.tensor(observations)

    def rewards(self, task: Task, steps: EnvSteps) -> Array:
        """Return the task's rewards, f32 [B]."""
        return task.rewards(steps.rewards).astype(np.float32)

    def values(self, observations: Tensor) -> Tensor:
        """Return values [B]."""
        values: Tensor = self(observations)[1]
        return values

    def draw(self, observations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return drawn actions i64 [B], their log probabilities [B], and values [B]."""
        log_policies, values = self(observations)
        actions = torch.multinomial(log_policies.exp(), 1)
        return actions[:, 0], log_policies.gather(1, actions)[:, 0], values

    def judge(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the actions' log probabilities, the policies' entropies, and values, all [B]."""
        log_policies, values = self(observations)
        log_probabilities = log_policies.gather(1, actions[:, None])[:, 0]
        return log_probabilities, -(log_policies.exp() * log_policies).sum(1), values

    def taken(self, actions: Tensor) -> Array:
        """Return the numbers [B]."""
        numbers: Array = actions.numpy()
        return numbers

    def best(self) -> Chooser:
        """Return the chooser of the most likely action."""
        return greedy(lambda observations: self(observations)[0])


class Rollout(NamedTuple):
    """Steps that are trained on; T env_steps of E environments, flattened to [T * E]."""

    observations: Tensor
    actions: Tensor  # as they were drawn
    log_probabilities: Tensor  # of the actions, when they were taken
    values: Tensor
    advantages: Tensor
    returns: Tensor


def train_ppo(
    task: Task, config: PpoConfig, make_agent: Callable[[EnvSpec], Agent] = ActorCritic
) -> Curve:
    """Train with the task's budget, to whole rounds, and return the learning curve."""
    torch.manual_seed(task.config.seed)
    agent = make_agent(task.spec)
    optimizer = torch.optim.Adam(agent.parameters(), lr=config.learning_rate, eps=1e-5)
    envs, curve = task.make_envs(config.num_envs), Curve()
    stack = FrameStack(task.spec, config.num_envs)
    stack.reset(range(config.num_envs), envs.reset(range(config.num_envs)))
    per_round = config.num_envs * config.num_steps
    try:
        for env_steps in range(0, task.env_steps, per_round):
            share_left = 1.0 - env_steps / task.env_steps
            optimizer.param_groups[0]["lr"] = share_left * config.learning_rate
            rollout = _collect(task, agent, envs, stack, config)
            for _ in range(config.num_epochs):
                for rows in torch.randperm(per_round).chunk(config.num_minibatches):
                    update(agent, optimizer, Rollout(*(c[rows] for c in rollout)), config)
            task.evaluate_when_due(curve, min(env_steps + per_round, task.env_steps), agent.best())
    finally:
        envs.close()
    return curve


@torch.no_grad()
def _collect(
    task: Task, agent: Agent, envs: EnvBatch, stack: FrameStack, config: PpoConfig
) -> Rollout:
    """Play T env_steps in each environment; an episode that was cut is worth its last value."""
    everybody = list(range(config.num_envs))
    observations, actions, log_probabilities, values = [], [], [], []
    rewards, ends = [], []
    for _ in range(config.num_steps):
        observation = agent.see(stack.observations(), counts=True)
        action, log_probability, value = agent.draw(observation)
        answer = envs.step(everybody, agent.taken(action))
        stack.push(everybody, answer.observed)
        reward = torch.from_numpy(agent.rewards(task, answer))
        end = answer.terminated | answer.truncated
        if answer.truncated.any():
            last = agent.values(agent.see(stack.observations()))
            reward += config.discount * torch.where(
                torch.from_numpy(answer.truncated), last, torch.zeros(())
            )
        over = [i for i in everybody if end[i]]
        if over:
            stack.reset(over, envs.reset(over))
        observations.append(observation)
        actions.append(action)
        log_probabilities.append(log_probability)
        values.append(value)
        rewards.append(reward)
        ends.append(torch.from_numpy(end).float())
    last_values = agent.values(agent.see(stack.observations()))
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


def update(
    agent: Agent, optimizer: torch.optim.Optimizer, batch: Rollout, config: PpoConfig
) -> None:
    """Take one step down the loss of a minibatch."""
    loss = ppo_loss(agent, batch, config)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
    optimizer.step()


def ppo_loss(agent: Agent, batch: Rollout, config: PpoConfig) -> Tensor:
    """Return the clipped loss of policy and value, less the entropy's bonus: a scalar."""
    log_probabilities, entropies, values = agent.judge(batch.observations, batch.actions)
    ratios = (log_probabilities - batch.log_probabilities).exp()
    advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
    clipped = ratios.clamp(1.0 - config.clip, 1.0 + config.clip)
    policy_loss = -torch.minimum(advantages * ratios, advantages * clipped).mean()
    near = batch.values + (values - batch.values).clamp(-config.clip, config.clip)
    errors = torch.maximum((values - batch.returns) ** 2, (near - batch.returns) ** 2)
    return (
        policy_loss
        + config.value_coefficient * 0.5 * errors.mean()
        - config.entropy_coefficient * entropies.mean()
    )


def initialize(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Linear | nn.Conv2d:
    """Make a layer's weights orthogonal with this gain and its bias 0; return it."""
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
