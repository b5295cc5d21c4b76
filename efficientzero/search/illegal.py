"""Numbers of actions that a mask excludes. Used by planners and by the makers of targets."""

from __future__ import annotations

import numpy as np

from efficientzero.schema import F32, Bool

ILLEGAL_LOGIT = np.float32(-1e9)
"""Its probability is exactly 0, and unlike infinity it can be multiplied by that."""


def with_illegal_out(logits: F32, legal_actions: Bool | None) -> F32:
    """Return logits [B, W] with ``ILLEGAL_LOGIT`` where an action is illegal."""
    if legal_actions is None:
        return logits
    return np.where(legal_actions, logits, ILLEGAL_LOGIT)


def best_legal(action_values: F32, legal_actions: Bool | None) -> F32:
    """Return the largest Q of a legal action, f32 [B], of Q [B, W]."""
    if legal_actions is None:
        legal_actions = np.ones(action_values.shape, np.bool_)
    best: F32 = np.where(legal_actions, action_values, np.float32(-np.inf)).max(axis=1)
    return best


def over_legal(policies: F32, legal_actions: Bool) -> F32:
    """Return policies [..., W] over the legal actions alone; 0 where none is."""
    kept = policies * legal_actions
    shares: F32 = kept / np.maximum(kept.sum(axis=-1, keepdims=True), _TINY)
    return shares


_TINY = np.float32(1e-30)
