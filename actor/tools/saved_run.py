"""Games with a run's saved weights: by search, by the policy head alone, or at random.

Called by ``launch.py evaluate`` and ``launch.py search``. The games are those of the run's final
evaluation: same seeds, same time limit; so policies can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from actor.game_results import GameResult
from actor.games import evaluation_seeds, greedily, play_episodes
from actor.matches.evaluation import BaselineOpponents, scores_by_seat
from efficientzero.envs import make_env_batch
from efficientzero.networks import EfficientZeroNet, inference_entries, make_network
from efficientzero.process.devices import setup_torch, with_usable_device
from efficientzero.process.runtime import PlainError, StopSignal, generator
from efficientzero.rpc.run_client import BaselineScore
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import PolicyShape
from efficientzero.search import Planner, PriorPlanner, UniformPlanner, make_planner

Policy = Literal["search", "prior", "random"]
"""search: as in the run's evaluations. prior: without any search, the policy head's most likely
action, or that of the highest Q(s, a) where these are trained. random: uniformly random actions,
without any weights."""

_ROLE = "evaluator"
_SEARCH_STREAM, _CHANCE_STREAM = 3, 4
"""Branches of the evaluator's seeds; 0 to 2 are its environments, its search and show_search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The games that were played."""

    train_step: int | None
    """Of the weights; None: played without weights."""
    results: tuple[GameResult, ...]
    scores: tuple[BaselineScore, ...] = ()
    """With two players; the results are those against the first baseline."""


def load_network(run: RunInfo, device: torch.device) -> tuple[EfficientZeroNet, int]:
    """Return the network of the newest checkpoint, in eval mode, and its train_step.

    The weights are those that the run's actors and evaluator would get: the average of the
    learner's weights, if they play with the average.

    Raises:
        ValueError: there is no checkpoint, or it cannot be read.
    """
    try:
        checkpoints = list_checkpoints(run.directory / "checkpoints")
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not checkpoints:
        raise ValueError(f"{run.directory}: no checkpoint yet; train for a while first")
    state = load_checkpoint(checkpoints[-1])
    network = make_network(run.config, run.env_spec, training=False)
    weights = (
        state["weight_average"]["weights"]
        if run.config.learner.acts_on_average
        else inference_entries(state["network"])
    )
    network.load_inference_state_dict(weights)
    return network.to(device).eval(), int(state["train_step"])


def play(run: RunInfo, policy: Policy, num_episodes: int, stop: StopSignal) -> Played | None:
    """Play the games of the run's final evaluation.

    Args:
        run: the run; all but ``random`` need a checkpoint of it.
        policy: chooses the actions.
        num_episodes: games; 0 means as many as in the final evaluation.
        stop: ends it early.

    Returns:
        None if a stop was requested.

    Raises:
        ValueError: no checkpoint, or a number of games below zero.
    """
    config = run.config
    num_envs = num_episodes or config.evaluator.final_num_episodes
    if num_envs < 1:
        raise ValueError(f"--episodes: got {num_episodes}, wanted 0 or more")
    planner, train_step = make_saved_planner(run, policy, num_envs)
    if run.env_spec.num_players > 1:
        return _play_baselines(
            run, policy, planner, train_step=train_step, num_games=num_envs, stop=stop
        )
    envs = make_env_batch(
        config,
        seeds=evaluation_seeds(config, num_envs),
        purpose="final_evaluation",
        expected=run.env_spec,
    )
    try:
        epsilon = config.evaluator.epsilon if policy == "search" else 0.0
        chance = generator(config.seed, _ROLE, 0, _CHANCE_STREAM)
        results = play_episodes(envs, greedily(planner, epsilon, chance), stop)
    except ValueError as error:
        if isinstance(error, PlainError):
            raise
        # Callers report a ValueError as a wrong option; an error in the games is not one.
        raise RuntimeError(f"the games ended with an error: {error}") from error
    finally:
        envs.close()
    return None if results is None else Played(train_step=train_step, results=tuple(results))


def _play_baselines(
    run: RunInfo,
    policy: Policy,
    planner: Planner,
    *,
    train_step: int | None,
    num_games: int,
    stop: StopSignal,
) -> Played | None:
    """Play so many games against each baseline of the run."""
    chance = generator(run.config.seed, _ROLE, 0, _CHANCE_STREAM)
    opponents = BaselineOpponents(run.config, chance.spawn(1)[0])
    epsilon = run.config.evaluator.epsilon if policy == "search" else 0.0
    choose = greedily(planner, epsilon, chance)
    played = opponents.play(choose, num_games, is_final=True, stop=stop)
    if played is None:
        return None
    first = next(iter(played.values()))
    return Played(
        train_step=train_step, results=first.results, scores=tuple(scores_by_seat(played))
    )


def make_saved_planner(run: RunInfo, policy: Policy, num_envs: int) -> tuple[Planner, int | None]:
    """Return a planner with the newest checkpoint's weights for ``num_envs`` roots, and their step.

    Raises:
        ValueError: there is no checkpoint, or it cannot be read.
    """
    config, spec = run.config, run.env_spec
    if policy == "random":
        chance = generator(config.seed, _ROLE, 0, _CHANCE_STREAM)
        shape = PolicyShape.of(spec, config.search.sampled_actions)
        return UniformPlanner(shape.width, chance, action_size=shape.action_size), None
    # Choose the device of this machine: the run may have been made on another one.
    device = setup_torch(with_usable_device(config.cluster, _ROLE), _ROLE, 0)
    network, train_step = load_network(run, device)
    if policy == "prior" and config.agent.value_function == "state":
        return PriorPlanner(network, device), train_step
    planner = make_planner(
        config,
        spec,
        network,
        batch_size=num_envs,
        device=device,
        generator=generator(config.seed, _ROLE, 0, _SEARCH_STREAM),
        simulations=config.evaluator_simulations if policy == "search" else 0,
    )
    return planner, train_step
