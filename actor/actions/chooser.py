"""Chooses the actions that are played in training from search results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from actor.actions.rules import VisitsRule, make_action_rule, sample_actions
from efficientzero.config import Config, epsilon, temperature
from efficientzero.schema import I64, Bool, SearchResult

_MOST_REPEATS = 10_000


class ActionChooser:
    """Chooses an actor's actions; some environments may be in the middle of a random one.

    With ``actor.random_action_repeat`` random actions are those of eps-z-greedy (Dabney et al.,
    2021, "Temporally-Extended epsilon-Greedy Exploration"): repeating one action reaches
    distant states, a random walk does not.
    """

    def __init__(
        self, config: Config, num_envs: int, generator: np.random.Generator, *, plays_best: bool
    ) -> None:
        """Start with no random action under way.

        Args:
            config: of the run.
            num_envs: E.
            generator: for all draws; ``actor.random_action_share`` 0 draws nothing for itself.
            plays_best: of the planner.
        """
        self._config, self._generator = config, generator
        self._rule = make_action_rule(config, plays_best=plays_best, generator=generator)
        self._before_training = VisitsRule(config, generator)  # of a planner that knows nothing
        self._repeated = np.zeros(num_envs, np.int64)  # the action
        self._repeats_left = np.zeros(num_envs, np.int64)
        self._plies = np.zeros(num_envs, np.int64)  # moves of the episode; counted if they matter

    def choose(
        self,
        result: SearchResult,
        envs: Sequence[int],
        train_step: int,
        *,
        legal_actions: Bool | None,
        is_random: bool,
    ) -> I64:
        """Return actions i64 [B]: chosen by ``actor.action_rule``, a share of them random.

        Args:
            result: of B roots, with exploration noise.
            envs: the environments of the roots.
            train_step: of the weights; sets the temperature and epsilon.
            legal_actions: [B, W] of the roots; None: all are.
            is_random: training has not begun: actions are uniform, whatever the rule.
        """
        rule = self._before_training if is_random else self._rule
        actions = rule.choose(result, legal_actions, train_step)
        if self._config.actor.temperature_plies:
            actions = self._without_temperature(actions, result, envs, is_random=is_random)
        if self._config.actor.random_action_share and not is_random:
            self._stop_illegal_repeats(envs, legal_actions)
            self._begin_random_actions(envs, result.visit_counts.shape[1], legal_actions)
            is_repeating = self._repeats_left[envs] > 0
            actions = np.where(is_repeating, self._repeated[envs], actions)
            self._repeats_left[envs] -= is_repeating
        return actions

    def row(self, train_step: int) -> Mapping[str, float]:
        """Return the temperature, and epsilon where actions are epsilon-greedy."""
        actor, budget = self._config.actor, self._config.budget
        row = {"actor/temperature": temperature(train_step, actor, budget)}
        if actor.action_rule == "epsilon_greedy":
            row["actor/epsilon"] = epsilon(train_step, actor, budget)
        return row

    def reset(self, env: int) -> None:
        """Begin an episode: no random action is repeated, no move is made."""
        self._repeats_left[env] = self._plies[env] = 0

    def _without_temperature(
        self, actions: I64, result: SearchResult, envs: Sequence[int], *, is_random: bool
    ) -> I64:
        """Return ``actions``, or the most visited ones late in an episode; count its moves."""
        is_late = (self._plies[envs] >= self._config.actor.temperature_plies) & (not is_random)
        self._plies[envs] += 1
        return np.where(is_late, result.visit_counts.argmax(axis=1), actions)

    def _stop_illegal_repeats(self, envs: Sequence[int], legal_actions: Bool | None) -> None:
        if legal_actions is not None:
            rows = np.arange(len(envs))
            self._repeats_left[envs] *= legal_actions[rows, self._repeated[envs]]

    def _begin_random_actions(
        self, envs: Sequence[int], num_actions: int, legal_actions: Bool | None
    ) -> None:
        actor, generator, size = self._config.actor, self._generator, len(envs)
        begins = generator.random(size) < actor.random_action_share
        begins &= self._repeats_left[envs] == 0
        beginning = np.asarray(envs)[begins]
        if legal_actions is None:
            drawn = generator.integers(num_actions, size=size)
        else:
            drawn = sample_actions(legal_actions.astype(np.int32), 1.0, generator)
        self._repeated[beginning] = drawn[begins]
        lengths = generator.zipf(2.0, size) if actor.random_action_repeat else np.ones(size, int)
        self._repeats_left[beginning] = np.minimum(lengths, _MOST_REPEATS)[begins]
