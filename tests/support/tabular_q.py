"""A table of action values with the interface of the network, and a chain to learn it on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from efficientzero.networks import AnswerRule, InitialInference, ScalarRegression
from efficientzero.schema import Ending, EnvSpec
from tests.support.cases.replay_cases import Episode

NUM_STATES = 5
CHAIN = EnvSpec(
    env_id="chain",
    frame_shape=(NUM_STATES,),
    frame_dtype="float32",
    num_actions=2,
    num_stacked_frames=1,
)


class TabularQ(nn.Module):
    """Q(s, a) = table[s, a] of one-hot states; the other heads say zero."""

    def __init__(self) -> None:
        super().__init__()
        self.spec, self.support = CHAIN, ScalarRegression("identity")
        self.table = nn.Parameter(torch.zeros(NUM_STATES, CHAIN.num_actions))
        self.answer_rule = AnswerRule(self.support, "max_action")

    def initial_inference(self, observations: Tensor) -> InitialInference:
        values = observations @ self.table  # [B, A]
        none = torch.zeros(len(values), 1)
        return InitialInference(observations, none, torch.zeros_like(values), values.unsqueeze(-1))

    def initial_lstm_states(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 2, 0)

    def inference_state_dict(self) -> dict[str, Tensor]:
        return dict(self.state_dict())

    def load_inference_state_dict(self, state: dict[str, Tensor]) -> None:
        self.load_state_dict(state)


def chain_values(discount: float) -> np.ndarray:
    """Return Q* of the chain by value iteration, [states, actions]; actions are left and right.

    The right end is reached from the last state, pays 1 and ends the episode.
    """
    q = np.zeros((NUM_STATES, 2))
    for _ in range(1_000):
        best = q.max(axis=1)
        left = discount * best[np.maximum(np.arange(NUM_STATES) - 1, 0)]
        right = discount * np.append(best[1:], 0.0)
        right[-1] = 1.0
        q = np.stack([left, right], 1)
    return q


def chain_episode(rng: np.random.Generator) -> Episode:
    """Return a random walk from a random state to the right end."""
    state = int(rng.integers(NUM_STATES))
    states, actions = [state], []
    while state < NUM_STATES:
        actions.append(int(rng.integers(2)))
        state = state + 1 if actions[-1] else max(state - 1, 0)
        states.append(state)
    frames = np.zeros((len(states), NUM_STATES), np.float32)
    inner = np.arange(len(actions))
    frames[inner, states[:-1]] = 1.0  # the end is no state
    rewards = np.zeros(len(actions), np.float32)
    rewards[-1] = 1.0
    return Episode(
        frames=frames,
        actions=np.array(actions),
        rewards=rewards,
        search_policies=np.full((len(actions), 2), 0.5, np.float32),
        root_values=np.zeros(len(actions), np.float32),
        weights_versions=np.zeros(len(actions), np.int64),
        env_steps=inner,
        ending=Ending.TERMINATED,
    )
