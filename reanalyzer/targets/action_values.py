"""Targets for Q(s, a) from fresh searches: ``learner.action_value_coefficient``.

Called by the target maker. The learner compares them with the head that has Q(s, a).
"""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import F32, Bool, SearchResult
from efficientzero.search import completed_q


def no_action_value_targets(config: Config, num_slices: int, policy_width: int) -> F32:
    """Return NaN, f32 [B, D, W]: D = K + 1 where action values are trained by searches, else 0."""
    is_trained = config.learner.action_value_coefficient > 0
    num_positions = (config.agent.num_unroll_steps + 1) * is_trained
    return np.full((num_slices, num_positions, policy_width), np.nan, np.float32)


def add_action_value_targets(
    targets: F32, cells: Bool, found: SearchResult, config: Config
) -> None:
    """Write what searches found into ``targets``; nothing if they have no positions.

    Args:
        targets: f32 [B, D, W].
        cells: bool [B, K + 1], the roots that were searched.
        found: of these roots, row by row. For the softmax loss Q of actions without a visit is
            completed, as in improved policies; for the regression it stays NaN.
        config: the run's.
    """
    if targets.shape[1] == 0:
        return
    is_softmax = config.learner.action_value_loss == "softmax"
    targets[cells] = completed_q(found).astype(np.float32) if is_softmax else found.child_q
