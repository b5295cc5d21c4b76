"""Games without exploration: action choosers, and playing one game in each environment.

Called by the evaluator and by ``saved_run``. A chooser maps the roots of N environments to N
actions, for example a planner's best ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actor.game_results import GameResult, GameTally, mover_of
from efficientzero.config import Config
from efficientzero.envs import EnvBatch, FrameStack
from efficientzero.metrics import SectionTimer
from efficientzero.process.runtime import StopSignal, seed_sequence
from efficientzero.schema import Bool, EnvSteps, Roots, SearchResult
from efficientzero.search import Planner

Actions = NDArray[Any]
Chooser = Callable[[Roots], Actions]
"""N roots -> integers [N], or numbers f32 [N, X] where actions are continuous."""


def greedily(
    planner: Planner, epsilon: float = 0.0, generator: np.random.Generator | None = None
) -> Chooser:
    """Return a chooser that plays a planner's best actions without exploration noise.

    Args:
        planner: of the roots.
        epsilon: share of actions that are drawn uniformly instead.
        generator: for these; needed where ``epsilon`` is above 0.
    """

    def choose(roots: Roots) -> Actions:
        found = planner.run(roots, exploration_noise=False)
        return partly_random(found, roots.legal_actions, epsilon, generator)

    return choose


def partly_random(
    found: SearchResult,
    legal_actions: Bool | None,
    epsilon: float,
    generator: np.random.Generator | None,
) -> Actions:
    """Return the best actions, [N] or [N, X], a share ``epsilon`` of them replaced by drawn ones.

    Args:
        found: at N roots.
        legal_actions: [N, A] of the roots; None: all are.
        epsilon: 0 draws nothing; refused with continuous actions.
        generator: see ``greedily``.
    """
    if not epsilon:
        return found.actions_in(found.best_actions)
    assert generator is not None
    legal = np.ones(found.policies.shape, np.bool_) if legal_actions is None else legal_actions
    is_random = generator.random(len(legal)) < epsilon
    drawn = np.where(legal, generator.random(legal.shape), -1.0).argmax(axis=1)
    return np.where(is_random, drawn, found.best_actions)


def play_episodes(
    envs: EnvBatch,
    choose: Chooser,
    stop: StopSignal,
    *,
    timer: SectionTimer | None = None,
    observe: Callable[[Sequence[int], EnvSteps], None] | None = None,
) -> list[GameResult] | None:
    """Play one game in each environment, side by side.

    Args:
        envs: one game each.
        choose: chooses the actions.
        stop: ends the games early.
        timer: records the section ``envs``.
        observe: called after each step with the environments that played and their env_steps.

    Returns:
        One result per environment, or None if a stop was requested first.
    """
    stack = FrameStack(envs.spec, envs.num_envs)
    tallies = [GameTally() for _ in range(envs.num_envs)]
    results: dict[int, GameResult] = {}
    playing = list(range(envs.num_envs))
    stack.reset(playing, envs.reset(playing))
    while playing:
        if stop.is_set():
            return None
        actions = choose(stack.roots(playing))
        with nullcontext() if timer is None else timer.section("envs"):
            steps = envs.step(playing, actions)
        if observe is not None:
            observe(playing, steps)
        stack.push(playing, steps.observed)
        for slot, i in enumerate(playing):
            over = bool(steps.game_over[slot] or steps.truncated[slot])
            result = tallies[i].add(
                float(steps.rewards[slot]), game_over=over, mover=mover_of(steps, slot)
            )
            if result is not None:
                results[i] = result
        playing = [i for i in playing if i not in results]
    return [results[i] for i in range(envs.num_envs)]


def evaluation_seeds(config: Config, num_envs: int) -> Sequence[int]:
    """Return the environments' seeds: the same in every evaluation of a run."""
    state = seed_sequence(config.seed, "evaluator", 0, 0).generate_state(num_envs)
    return [int(seed) for seed in state]
