"""Search in large or continuous action spaces: K actions per node, sampled by the caller.

A tree then has K slots in place of actions, and the caller stores the action of each slot of each
node. This module corrects the prior for the distribution of the samples, as in Sampled MuZero
(Hubert et al., 2021). Needs numpy only.
"""

import numpy as np
from numpy.typing import NDArray

# Below the resolution of float32's softmax: the prior of a spare slot is practically 0.
SPARE_LOGIT = np.float32(-1e9)


def sampled_logits(
    log_policy: NDArray[np.float32],
    log_proposal: NDArray[np.float32],
    counts: NDArray[np.int32] | None = None,
) -> NDArray[np.float32]:
    """Return the logits [..., K] that `expand_roots` and `backup` take for sampled actions.

    Their softmax is the prior (count / number of draws) * policy / proposal, rescaled to sum to 1.

    Args:
        log_policy: Log pi(a) of each slot's action, [..., K]; up to a constant per node.
        log_proposal: Log beta(a), the distribution that the actions were drawn from, [..., K]; up
            to a constant per node. For a policy of temperature tau this is log_policy / tau.
        counts: How often each slot's action was drawn, [..., K]; without it, once each. 0 is a
            spare slot, left over where an action was drawn twice: its prior vanishes, but give it
            some action (a copy of another slot's), since a search may still look there; at the
            root `legal_actions` can rule it out.

    Raises:
        ValueError: Shapes differ, numbers are not finite, or a node has no draw.
    """
    if counts is None:
        counts = np.ones(log_policy.shape, np.int32)
    for name, array in (("log_proposal", log_proposal), ("counts", counts)):
        if array.shape != log_policy.shape:
            raise ValueError(f"{name}: got shape {array.shape}, wanted {log_policy.shape}")
    for name, array in (("log_policy", log_policy), ("log_proposal", log_proposal)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: got {array[~np.isfinite(array)][0]}, wanted finite numbers")
    if (counts < 0).any() or not (counts > 0).any(axis=-1).all():
        raise ValueError("counts: got a negative one or none above 0, wanted a draw at every node")
    is_spare = counts == 0
    logits = log_policy - log_proposal + np.log(np.maximum(counts, 1))
    return np.where(is_spare, SPARE_LOGIT, logits).astype(np.float32)
