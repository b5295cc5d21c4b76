"""Q-learning a second time: targets and masks by plain loops over whole episodes, in float64.

n-step Q-learning (Watkins 1989; Sutton and Barto 2018, section 6.5; several steps as in Rainbow,
Hessel et al. 2018, "multi-step learning"):

    y = r[i] + g r[i + 1] + ... + g^(l - 1) r[i + l - 1] + g^l max_a Q(o[i + l], a)

where l is n, or what is left of the episode. Nothing follows a terminated end; a truncated one is
worth its last observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from efficientzero.schema import Ending
from tests.support.cases.replay_cases import Episode


def q_target(
    episode: Episode,
    i: int,
    *,
    td_steps: int,
    discount: float,
    action_values_of: Callable[[int], Sequence[float]],
) -> float | None:
    """Return the target of Q(o[i], a[i]); None where the episode has no action i."""
    length = len(episode)
    if i >= length:
        return None
    target, weight, step = 0.0, 1.0, i
    while step < length and step < i + td_steps:
        target += weight * float(episode.rewards[step])
        weight *= discount
        step += 1
    if step < length or episode.ending == Ending.TRUNCATED:
        best = -float("inf")
        for value in action_values_of(step):
            best = max(best, float(value))
        target += weight * best
    return target
