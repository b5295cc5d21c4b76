"""With which probability an actor took an action: ``actor.action_rule`` read backwards.

From what replay stores of a step: the search's policy and the weights that acted. Used by value
targets that correct for the acting policy. ``config.validation.behaviour`` refuses the combinations
in which the stored policy does not say it.
"""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config, epsilon, plays_by, temperature
from efficientzero.schema import F32, F64, I32, I64, Bool

LEAST = 0.01
"""Gumbel's halving plays an action with a probability that has no closed form. Its improved policy
stands for it, and no less than this."""


def behaviour_probabilities(
    config: Config,
    policies: F32,
    actions: I32,
    weights_versions: I64,
    legal_actions: Bool | None = None,
) -> F64:
    """Return mu(a | s) of actions under the policy that acted, f64 [B, N].

    Args:
        config: of the run that acted.
        policies: f32 [B, N, W], stored by actors. All zero past the end: the answer is 1 there.
        actions: i32 [B, N].
        weights_versions: i64 [B], train_step of the weights that acted at the first step of each
            row; schedules of the whole row follow it. 0: before training, when policies are
            uniform over the legal actions.
        legal_actions: bool [B, N, W]; None: all are.
    """
    stored = policies.astype(np.float64)
    exists = stored.sum(axis=-1) > 0  # [B, N]
    played = _played(config, stored, weights_versions, legal_actions)
    likely = np.where(exists[..., None], played, 1.0)
    share = config.actor.random_action_share
    if share:
        is_trained = (weights_versions > 0)[:, None, None]
        mixed = (1.0 - share) * likely + _uniform(share, stored, legal_actions)
        likely = np.where(exists[..., None] & is_trained, mixed, likely)
    taken: F64 = np.take_along_axis(likely, actions[..., None].astype(np.int64), -1)[..., 0]
    return taken


def _played(config: Config, stored: F64, weights_versions: I64, legal: Bool | None) -> F64:
    """Return the probabilities of all actions, f64 [B, N, W]; anything where nothing is stored."""
    actor, budget, steps = config.actor, config.budget, weights_versions.tolist()
    match plays_by(config):
        case "visits":
            temperatures = np.array([temperature(step, actor, budget) for step in steps])
            with np.errstate(divide="ignore", invalid="ignore"):
                logits = np.log(stored) / temperatures[:, None, None]
                weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
                return _normalized(weights)
        case "epsilon_greedy":
            shares = np.array([epsilon(step, actor, budget) for step in steps])[:, None, None]
            best = np.eye(stored.shape[-1])[stored.argmax(axis=-1)]
            greedy = _uniform(shares, stored, legal) + (1.0 - shares) * best
            return np.where((weights_versions > 0)[:, None, None], greedy, _normalized(stored))
        case "recommended":
            return np.maximum(_normalized(stored), LEAST)
        case _:  # policy
            return _normalized(stored)


def _uniform(share: float | F64, stored: F64, legal: Bool | None) -> float | F64:
    """Return what each action has of a share that is spread over the legal ones."""
    if legal is None:
        return share / stored.shape[-1]
    return share * _normalized(legal)


def _normalized(weights: F64 | Bool) -> F64:
    with np.errstate(invalid="ignore"):
        shares: F64 = weights / weights.sum(axis=-1, keepdims=True)
    return shares
