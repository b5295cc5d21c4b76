"""Chooses the actions that are played in training from search results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efficientzero.config import Config, temperature
from efficientzero.schema import I32, I64, SearchResult

_MOST_REPEATS = 10_000


class ActionChooser:
    """Chooses an actor's actions; some environments may be in the middle of a random one.

    With ``actor.random_action_repeat`` random actions are those of eps-z-greedy (Dabney et al.,
    2021, "Temporally-Extended epsilon-Greedy Exploration"): repeating one action reaches
    distant states, a random walk does not.
    """

    def __init__(self, config: Config, num_envs: int, generator: np.random.Generator) -> None:
        """Start with no random action under way.

        Args:
            config: of the run.
            num_envs: E.
            generator: for all draws; ``actor.random_action_share`` 0 draws nothing for itself.
        """
        self._config, self._generator = config, generator
        self._repeated = np.zeros(num_envs, np.int64)  # the action
        self._repeats_left = np.zeros(num_envs, np.int64)

    def choose(
        self,
        result: SearchResult,
        envs: Sequence[int],
        train_step: int,
        *,
        plays_best: bool,
        is_random: bool,
    ) -> I64:
        """Return actions i64 [B]: sampled by visits or the planner's best, a share of them random.

        Args:
            result: of B roots, with exploration noise.
            envs: the environments of the roots.
            train_step: of the weights; sets the temperature.
            plays_best: play the planner's ``best_actions``.
            is_random: the actions are random already (training has not begun): add no others.
        """
        config = self._config
        if plays_best:
            actions: I64 = result.best_actions.astype(np.int64)
        else:
            temperature_now = temperature(train_step, config.actor, config.budget)
            actions = sample_actions(result.visit_counts, temperature_now, self._generator)
        if config.actor.random_action_share and not is_random:
            self._begin_random_actions(envs, result.visit_counts.shape[1])
            is_repeating = self._repeats_left[envs] > 0
            actions = np.where(is_repeating, self._repeated[envs], actions)
            self._repeats_left[envs] -= is_repeating
        return actions

    def reset(self, env: int) -> None:
        """Stop repeating a random action in an environment whose episode has ended."""
        self._repeats_left[env] = 0

    def _begin_random_actions(self, envs: Sequence[int], num_actions: int) -> None:
        actor, generator, size = self._config.actor, self._generator, len(envs)
        begins = generator.random(size) < actor.random_action_share
        begins &= self._repeats_left[envs] == 0
        beginning = np.asarray(envs)[begins]
        self._repeated[beginning] = generator.integers(num_actions, size=size)[begins]
        lengths = generator.zipf(2.0, size) if actor.random_action_repeat else np.ones(size, int)
        self._repeats_left[beginning] = np.minimum(lengths, _MOST_REPEATS)[begins]


def sample_actions(visit_counts: I32, temperature: float, generator: np.random.Generator) -> I64:
    """Draw actions with probability proportional to visits^(1 / temperature), i64 [B].

    Args:
        visit_counts: i32 [B, A]; every row has a visit.
        temperature: more than 0; small values are almost greedy.
        generator: one uniform number is drawn per row.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(visit_counts.astype(np.float64)) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))  # [B, A]
    cumulative = weights.cumsum(axis=1)
    draws = generator.random(len(visit_counts)) * cumulative[:, -1]
    actions: I64 = (cumulative > draws[:, None]).argmax(axis=1)
    return actions
