"""Q-learning a second time, from the papers: targets over whole episodes, and DQN's update.

Targets: loops over an episode in float64, with n steps, double Q-learning and any discount. The
update is DQN's (Mnih et al., 2015, algorithm 1) with its clipped errors: plain gradient steps on
minibatches and a target network that is copied every C of them. Nothing is shared with the
implementation but the module that computes Q.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from efficientzero.schema import Ending
from tests.support.cases.replay_cases import Episode

Values = Callable[[int], Sequence[float]]
"""Q(o_i, a) of every action at step i of the episode."""


def q_target(
    episode: Episode,
    at: int,
    *,
    horizon: int,
    discount: float,
    target_of: Values,
    choosing: Values | None = None,
) -> float:
    """Return what Q(o_at, a_at) is trained towards.

    Args:
        episode: with its ending.
        at: step, before the episode's end.
        horizon: rewards before the bootstrap.
        discount: per step.
        target_of: the target network's.
        choosing: the newest weights', for double Q-learning; None: the target network chooses.
    """
    total, weight, step = 0.0, 1.0, at
    while step < min(at + horizon, len(episode)):
        total += weight * float(episode.rewards[step])
        weight *= discount
        step += 1
    if step == len(episode) and episode.ending == Ending.TERMINATED:
        return total
    values = list(target_of(step))
    chosen_by = values if choosing is None else list(choosing(step))
    return total + weight * values[chosen_by.index(max(chosen_by))]


class Transition(NamedTuple):
    """One entry of the replay memory."""

    observation: Tensor  # f32 [*observation]
    action: int
    reward: float
    following: Tensor  # f32 [*observation]
    is_terminal: bool


class Dqn:
    """A Q network, its target network and DQN's update; the replay memory is the caller's list."""

    def __init__(
        self, q: nn.Module, *, rate: float, discount: float, copy_every: int, huber: float
    ) -> None:
        """Begin with a target network of equal weights; ``q`` maps [B, *observation] to [B, A]."""
        self.q, self.target = q, copy.deepcopy(q)
        self._rate, self._discount, self._copy_every = rate, discount, copy_every
        self._huber, self._num_updates = huber, 0

    def update(self, minibatch: Sequence[Transition]) -> None:
        """Make one gradient step on the mean loss of ``minibatch``."""
        if self._num_updates % self._copy_every == 0:
            self.target.load_state_dict(self.q.state_dict())
        self._num_updates += 1
        with torch.no_grad():
            following = self.target(torch.stack([item.following for item in minibatch]))
        answers = self.q(torch.stack([item.observation for item in minibatch]))
        loss = torch.zeros(())
        for row, item in enumerate(minibatch):
            y = item.reward
            if not item.is_terminal:
                y += self._discount * max(following[row].tolist())
            error = answers[row, item.action] - y
            size = error.abs()
            is_small = size.item() <= self._huber
            loss = loss + (
                0.5 * error**2 if is_small else self._huber * size - 0.5 * self._huber**2
            )
        self.q.zero_grad()
        (loss / len(minibatch)).backward()
        with torch.no_grad():
            for parameter in self.q.parameters():
                if parameter.grad is not None:
                    parameter.sub_(self._rate * parameter.grad)
