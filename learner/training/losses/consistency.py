"""Consistency losses: compare predicted latents with the encoded latents of the true observations.

To add one, write its function in this folder, a case here and a value of ``learner.consistency``.
"""

from __future__ import annotations

from functools import partial

from efficientzero.config import LearnerConfig
from learner.training.losses.cosine import follow_weights, simsiam, spr
from learner.training.losses.nce import Gather, nce
from learner.training.losses.unrolled_loss import LossPart


def consistency_part(learner: LearnerConfig, gather: Gather) -> LossPart:
    """Return the consistency loss that ``learner`` chooses.

    Args:
        learner: kind, settings and coefficient.
        gather: joins the rows of all ranks.
    """
    part = LossPart(
        "consistency", learner.consistency_coefficient, simsiam, needs_next_observations=True
    )
    match learner.consistency:
        case "simsiam":
            return part._replace(needs_next_latents=True)
        case "spr":
            after_update = partial(follow_weights, tau=learner.momentum_tau)
            return part._replace(per_step=spr, after_update=after_update)
        case "nce":
            loss = partial(
                nce,
                temperature=learner.nce_temperature,
                same_episode_negatives=learner.nce_same_episode_negatives,
                gather=gather,
            )
            return part._replace(per_step=loss)
