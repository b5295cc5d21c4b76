"""From visit counts to actions."""

from __future__ import annotations

import numpy as np

from efficientzero.schema import I32, I64


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
