"""Plain double DQN (van Hasselt et al., 2016) with n-step returns, one update an env_step."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.baselines.replay import Replay
from benchmarks.baselines.tasks import Array, Body, Curve, Task, greedy
from efficientzero.envs import FrameStack
from efficientzero.schema import Roots


@dataclass(frozen=True, slots=True, kw_only=True)
class DqnConfig:
    """Hyperparameters, the same for every task: nothing is tuned."""

    learning_rate: float = 3e-4
    discount: float = 0.99
    n_steps: int = 3
    batch_size: int = 32
    capacity: int = 60_000
    learning_starts: int = 1_000
    """env_steps."""
    target_interval: int = 1_000
    """env_steps between two copies of the network to the target network."""
    last_epsilon: float = 0.05
    epsilon_env_steps: int = 12_000
    """Over which epsilon falls from 1."""


class NStep:
    """Turns steps of one environment into transitions over n of them."""

    def __init__(self, replay: Replay, n_steps: int, discount: float) -> None:
        """Write to ``replay``."""
        self._replay, self._n, self._discount = replay, n_steps, discount
        self._open: deque[tuple[Array, int, float]] = deque()

    def add(
        self,
        observation: Array,
        action: int,
        reward: float,
        following: Array,
        *,
        terminated: bool,
        ended: bool,
    ) -> None:
        """Add one step; at an end of an episode all unfinished n-step returns are written."""
        self._open.append((observation, action, reward))
        while self._open and (ended or len(self._open) == self._n):
            count = len(self._open)
            total = sum(self._discount**k * step[2] for k, step in enumerate(self._open))
            first, taken, _ = self._open.popleft()
            discount = 0.0 if terminated else self._discount**count
            self._replay.add(first, taken, total, following, discount)


def train_dqn(task: Task, config: DqnConfig) -> Curve:
    """Train with the task's budget and return the learning curve."""
    seed = task.config.seed
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    body = Body(task.spec)
    online = nn.Sequential(body, nn.Linear(body.size, task.spec.num_actions))
    target = copy.deepcopy(online)
    optimizer = torch.optim.Adam(online.parameters(), lr=config.learning_rate)
    envs, stack, curve = task.make_envs(1), FrameStack(task.spec, 1), Curve()
    stack.reset([0], envs.reset([0]))
    observation = stack.observations()[0].copy()
    replay = Replay(config.capacity, observation, np.zeros((), np.int64), generator)
    steps = NStep(replay, config.n_steps, config.discount)
    try:
        for env_step in range(task.env_steps):
            share = min(1.0, env_step / config.epsilon_env_steps)
            if generator.random() < 1.0 - share * (1.0 - config.last_epsilon):
                action = int(generator.integers(task.spec.num_actions))
            else:
                action = int(greedy(online)(Roots(observation[None]))[0])
            answer = envs.step([0], np.array([action]))
            stack.push([0], answer.observed)
            following = stack.observations()[0].copy()
            terminated = bool(answer.terminated[0])
            ended = terminated or bool(answer.truncated[0])
            reward = float(task.rewards(answer.rewards)[0])
            steps.add(observation, action, reward, following, terminated=terminated, ended=ended)
            if ended:
                stack.reset([0], envs.reset([0]))
                following = stack.observations()[0].copy()
            observation = following
            if env_step + 1 >= config.learning_starts:
                _update(online, target, optimizer, replay.sample(config.batch_size))
            if (env_step + 1) % config.target_interval == 0:
                target.load_state_dict(online.state_dict())
            task.evaluate_when_due(curve, env_step + 1, greedy(online))
    finally:
        envs.close()
    return curve


def _update(
    online: nn.Module,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, ...],
) -> None:
    observations, actions, rewards, following, discounts = batch
    with torch.no_grad():
        best = online(following).argmax(1, keepdim=True)
        targets = rewards + discounts * target(following).gather(1, best)[:, 0]
    values = online(observations).gather(1, actions[:, None])[:, 0]
    loss = F.smooth_l1_loss(values, targets)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
