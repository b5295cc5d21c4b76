"""The rules by which an actor plays, by name: ``actor.action_rule``.

Used by ``chooser`` once training has begun; before it actions are uniform.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from efficientzero.config import Config, epsilon, temperature
from efficientzero.schema import F32, I32, I64, Bool, SearchResult
from efficientzero.search import completed_q


class ActionRule(Protocol):
    """Chooses the actions to play from a planner's results."""

    def choose(self, result: SearchResult, legal_actions: Bool | None, train_step: int) -> I64:
        """Return actions i64 [B].

        Args:
            result: of B roots, with exploration noise.
            legal_actions: [B, W] of the roots; None: all are.
            train_step: of the weights that the planner used.
        """


class VisitsRule:
    """Draws in proportion to visits^(1 / temperature)."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        """Keep the schedule of temperatures; one number is drawn for each root."""
        self._config, self._generator = config, generator

    def choose(self, result: SearchResult, legal_actions: Bool | None, train_step: int) -> I64:
        """Return actions i64 [B]; every row of ``visit_counts`` has a visit."""
        del legal_actions  # no other is visited
        now = temperature(train_step, self._config.actor, self._config.budget)
        return sample_actions(result.visit_counts, now, self._generator)


class RecommendedRule:
    """Plays the planner's ``best_actions``; exploration is in them, or nowhere."""

    def choose(self, result: SearchResult, legal_actions: Bool | None, train_step: int) -> I64:
        """Return actions i64 [B]; nothing is drawn."""
        del legal_actions, train_step
        actions: I64 = result.best_actions.astype(np.int64)
        return actions


class PolicyRule:
    """Draws from ``policies``, which the policy head is trained towards."""

    def __init__(self, generator: np.random.Generator) -> None:
        """Keep the generator; one number is drawn for each root."""
        self._generator = generator

    def choose(self, result: SearchResult, legal_actions: Bool | None, train_step: int) -> I64:
        """Return actions i64 [B]; no temperature changes the policies."""
        del legal_actions, train_step
        return sample_actions(result.policies, 1.0, self._generator)


class EpsilonGreedyRule:
    """Plays the action of the highest Q, but a share epsilon of uniformly drawn ones."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        """Keep the schedule of epsilon; two numbers are drawn for each root."""
        self._config, self._generator = config, generator

    def choose(self, result: SearchResult, legal_actions: Bool | None, train_step: int) -> I64:
        """Return actions i64 [B]; Q of actions without a visit is completed.

        Drawn actions may be the best ones: those have the probability
        1 - epsilon + epsilon / A.
        """
        q = completed_q(result)
        legal = np.ones(q.shape, np.bool_) if legal_actions is None else legal_actions
        best = np.where(legal, q, -np.inf).argmax(axis=1)
        share = epsilon(train_step, self._config.actor, self._config.budget)
        is_random = self._generator.random(len(q)) < share
        drawn = sample_actions(legal.astype(np.int32), 1.0, self._generator)
        actions: I64 = np.where(is_random, drawn, best)
        return actions


def make_action_rule(
    config: Config, *, plays_best: bool, generator: np.random.Generator
) -> ActionRule:
    """Return the rule that ``actor.action_rule`` names.

    Args:
        config: of the run.
        plays_best: of the planner: with ``auto``, its ``best_actions`` are played.
        generator: for all draws.
    """
    match config.actor.action_rule:
        case "auto":
            return RecommendedRule() if plays_best else VisitsRule(config, generator)
        case "visits":
            return VisitsRule(config, generator)
        case "recommended":
            return RecommendedRule()
        case "policy":
            return PolicyRule(generator)
        case "epsilon_greedy":
            return EpsilonGreedyRule(config, generator)


def sample_actions(weights: I32 | F32, temperature: float, generator: np.random.Generator) -> I64:
    """Draw actions with probability proportional to weights^(1 / temperature), i64 [B].

    Args:
        weights: [B, W], for example visits; 0 or more, and every row has one above 0.
        temperature: more than 0; small values are almost greedy.
        generator: one uniform number is drawn per row.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(weights.astype(np.float64)) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))  # [B, W]
    cumulative = shares.cumsum(axis=1)
    draws = generator.random(len(weights)) * cumulative[:, -1]
    actions: I64 = (cumulative > draws[:, None]).argmax(axis=1)
    return actions
