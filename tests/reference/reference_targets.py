"""Training targets a second time: plain loops over whole episodes, from the words of the paper.

Nothing is shared with ``reanalyzer.targets``: indices are those of the episode, and
an episode is really cut into blocks. Slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from efficientzero.schema import Ending
from tests.support.cases.replay_cases import Episode


@dataclass(frozen=True, kw_only=True)
class Rules:
    unroll: int
    td_steps: int
    discount: float
    prefix_horizon: int
    block_length: int  # 0: no blocks


@dataclass(frozen=True, kw_only=True)
class Block:
    """The part of an episode that the targets of one step know: steps ``first`` to ``end - 1``."""

    first: int
    end: int
    goes_on: bool  # o[end] has a value of its own: the episode was cut there by a time limit


def block_of(episode: Episode, t: int, rules: Rules) -> Block:
    """Cut the episode into blocks and return the one with step ``t``."""
    length = len(episode)
    is_truncated = episode.ending == Ending.TRUNCATED
    if rules.block_length == 0:
        return Block(first=0, end=length, goes_on=is_truncated)
    first = 0
    while first + rules.block_length <= t:
        first += rules.block_length
    if first + rules.block_length <= length:
        return Block(first=first, end=first + rules.block_length, goes_on=False)
    return Block(first=first, end=length, goes_on=is_truncated)


def shortened_horizon(age: float, td_steps: int, age_per_step: float) -> int:
    """Take one td step away for each full ``age_per_step``, but leave one."""
    left = td_steps
    while left > 1 and age >= age_per_step:
        age -= age_per_step
        left -= 1
    return left


def bootstrap_step(episode: Episode, t: int, k: int, horizon: int, rules: Rules) -> int | None:
    """Return the step whose value ends the return of step ``t + k``; None where nothing does."""
    block, at = block_of(episode, t, rules), t + k
    if at + horizon < block.end:
        return at + horizon
    return block.end if block.goes_on and at <= block.end else None


def value_target(
    episode: Episode,
    t: int,
    k: int,
    *,
    horizon: int,
    value_of: Callable[[int], float],
    rules: Rules,
) -> float:
    """Return the value target at step ``t + k`` of the slice of step ``t``."""
    block, at = block_of(episode, t, rules), t + k
    total, weight = 0.0, 1.0
    if at < block.end:
        for step in range(at, at + horizon):
            if step < len(episode):  # rewards of the block after this one count
                total += weight * float(episode.rewards[step])
                weight *= rules.discount
    last = bootstrap_step(episode, t, k, horizon, rules)
    return total if last is None else total + weight * value_of(last)


def search_target(
    episode: Episode, t: int, k: int, *, root_value_of: Callable[[int], float], rules: Rules
) -> float:
    """Return the root value at step ``t + k``, where that step has a value of its own."""
    block, at = block_of(episode, t, rules), t + k
    has_value = at < block.end or (at == block.end and block.goes_on)
    return root_value_of(at) if has_value else 0.0


def mixed_target(
    episode: Episode,
    t: int,
    k: int,
    *,
    train_step: int,
    newest_env_step: int,
    limits: tuple[int, int],
    value_of: Callable[[int], float],
    root_value_of: Callable[[int], float],
    rules: Rules,
) -> float:
    """Return the n-step return early in training and for new steps, else the root value.

    ``limits`` are T1 in train_steps and T2 in env_steps (EfficientZero V2, mixed value target).
    """
    is_early = train_step < limits[0]
    is_new = episode.env_steps[t] > newest_env_step - limits[1]
    if is_early or is_new:
        horizon = rules.td_steps
        return value_target(episode, t, k, horizon=horizon, value_of=value_of, rules=rules)
    return search_target(episode, t, k, root_value_of=root_value_of, rules=rules)


def is_trained(episode: Episode, t: int, k: int, rules: Rules) -> bool:
    """Tell whether step ``t + k`` is one of the block's own."""
    return t + k < block_of(episode, t, rules).end


def value_prefix_target(episode: Episode, t: int, k: int, rules: Rules) -> float:
    """Return what the prefix after action ``t + k`` is: all rewards since the last reset."""
    since = k
    while since % rules.prefix_horizon:
        since -= 1
    return sum(float(r) for r in episode.rewards[t + since : t + k + 1])


def lambda_target(
    episode: Episode,
    t: int,
    k: int,
    *,
    horizon: int,
    trace: float,
    value_of: Callable[[int], float],
    rules: Rules,
) -> float:
    """Return the average of the returns of 1 .. ``horizon`` steps; ``trace`` is lambda."""
    total, weight = 0.0, 1.0
    for steps in range(1, horizon + 1):
        part = value_target(episode, t, k, horizon=steps, value_of=value_of, rules=rules)
        total += weight * (part if steps == horizon else (1 - trace) * part)
        weight *= trace
    return total


def v_trace_target(
    episode: Episode,
    t: int,
    k: int,
    *,
    horizon: int,
    trace: float,
    clips: tuple[float, float],
    value_of: Callable[[int], float],
    ratio_of: Callable[[int], float],
    rules: Rules,
) -> float:
    """Return V-trace's sum over the steps of the horizon; ``clips`` are rho's and c's."""

    def value(step: int) -> float:
        is_worthless = step == len(episode) and episode.ending == Ending.TERMINATED
        return 0.0 if is_worthless or step > len(episode) else value_of(step)

    first = t + k
    total, weight = value(first), 1.0
    for step in range(first, min(first + horizon, len(episode))):
        ratio = ratio_of(step)
        delta = float(episode.rewards[step]) + rules.discount * value(step + 1) - value(step)
        total += weight * min(clips[0], ratio) * delta
        weight *= rules.discount * trace * min(clips[1], ratio)
    return total


def retrace_target(
    episode: Episode,
    t: int,
    k: int,
    *,
    horizon: int,
    trace: float,
    q_of: Callable[[int], list[float]],
    policy_of: Callable[[int], list[float]],
    behaviour_of: Callable[[int], float],
    rules: Rules,
) -> float:
    """Return Q of step ``t + k`` and the sum of its corrected errors over the horizon.

    The operator of Munos et al. 2016 as a sum forward in time: each error has the weight of the
    product of the traces since.
    """

    def mean(step: int) -> float:
        if step > len(episode) or (step == len(episode) and episode.ending == Ending.TERMINATED):
            return 0.0
        return sum(p * q for p, q in zip(policy_of(step), q_of(step), strict=True))

    first, end = t + k, min(t + k + horizon, len(episode))
    if first >= len(episode):
        return mean(first)
    total = start = q_of(first)[episode.actions[first]]
    weight = 1.0
    for step in range(first, end):
        action = episode.actions[step]
        if step > first:
            weight *= rules.discount * trace
            weight *= min(1.0, policy_of(step)[action] / behaviour_of(step))
        before = start if step == first else q_of(step)[action]
        total += weight * (float(episode.rewards[step]) + rules.discount * mean(step + 1) - before)
    return total
