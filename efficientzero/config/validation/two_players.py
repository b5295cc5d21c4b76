"""What games of two players need, and what they cannot have: called by ``validate``."""

from __future__ import annotations

import dataclasses

from efficientzero.config.derived import OPEN_SPIEL, corrects_behaviour, mcts_simulations, plays_by
from efficientzero.config.fields import Config
from efficientzero.config.role_fields import LeagueConfig
from efficientzero.config.validation.pool import check_pool
from efficientzero.config.validation.ranges import require
from efficientzero.schema import EnvSpec

_TWO = 2
_NO_LEAGUE = LeagueConfig()


def check_play(config: Config) -> None:
    """Refuse settings of play that could do nothing, whatever the environment.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    search, plies, bounds = config.search, config.actor.temperature_plies, config.search.q_bounds
    require(
        not bounds or (len(bounds) == _TWO and bounds[0] < bounds[1]),
        f"search.q_bounds: got {bounds}, wanted none, or the lowest and the highest Q",
    )
    require(
        not bounds or search.algorithm == "puct" or search.gumbel_q_range == "tree",
        f"search.q_bounds: got {bounds} with search.algorithm {search.algorithm}, wanted none, or "
        "search.gumbel_q_range tree: Gumbel's search scales Q by the range at each node",
    )
    require(
        not bounds or (search.normalize_q and search.num_simulations > 0),
        f"search.q_bounds: got {bounds} without a search that normalises Q, wanted none "
        "(search.normalize_q, search.num_simulations)",
    )
    require(
        not bounds or not config.compat.recomputed_bounds,
        f"search.q_bounds: got {bounds} with compat.recomputed_bounds, wanted none: bounds are "
        "those of the tree's Qs alone",
    )
    require(
        not plies or (plays_by(config) == "visits" and search.num_simulations > 0),
        f"actor.temperature_plies: got {plies} with actions by {plays_by(config)}, wanted 0: only "
        "actions that are drawn by visits have a temperature",
    )
    require(
        not plies or not corrects_behaviour(config),
        f"actor.temperature_plies: got {plies} with reanalyzer.value_target "
        f"{config.reanalyzer.value_target}, wanted 0: how likely an action was would not be known",
    )
    _check_baselines(config.league, config.env.id)
    check_pool(config)


def check_players(config: Config, spec: EnvSpec) -> None:
    """Refuse what does not fit the number of players.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    if spec.num_players != _TWO:
        for field, value in dataclasses.asdict(config.league).items():
            got = ", ".join(value) if isinstance(value, tuple) else value
            require(
                value == getattr(_NO_LEAGUE, field),
                f"league.{field}: got {got} for {spec.env_id}, wanted the default: there is one "
                "player",
            )
        return
    agent, env, learner = config.agent, config.env, config.learner
    for name, is_on, wanted, reason in (
        (
            "agent.value_prefix: got true",
            agent.value_prefix,
            "false (--agent.no-value-prefix)",
            "differences of sums of rewards do not alternate",
        ),
        (
            "learner.augmentation: got true",
            learner.augmentation,
            "false (--learner.no-augmentation)",
            "a shifted board is another board",
        ),
        (
            f"env.num_stacked_frames: got {env.num_stacked_frames}",
            env.num_stacked_frames > 1,
            "1",
            "the frames before belong to both players, and a board is its own history",
        ),
        (
            f"env.action_repeat: got {env.action_repeat}",
            env.action_repeat > 1,
            "1",
            "the next move is the opponent's",
        ),
        (
            "compat.stale_prefix_bounds: got true",
            config.compat.stale_prefix_bounds,
            "false",
            "differences of rewards do not alternate",
        ),
        (
            "learner.target_network: got local",
            learner.target_network == "local",
            "reanalyzer",
            "the learner would add the opponent's values without a sign",
        ),
        (
            "reanalyzer.value_target: got retrace",
            config.reanalyzer.value_target == "retrace",
            "td, td_lambda or v_trace",
            "it corrects one player's returns",
        ),
    ):
        field, got = name.split(": ")
        require(
            not is_on,
            f"{field}: {got} with {spec.env_id}, a game of two players, wanted {wanted}: {reason}",
        )


def _check_baselines(league: LeagueConfig, env_id: str) -> None:
    names = league.baselines
    require(bool(names), "league.baselines: got none, wanted at least one, for example random")
    for name in names:
        require(
            name in {"random", "minimax"} or mcts_simulations(name) > 0,
            f"league.baselines: got {name!r}, wanted random, minimax or mcts-<simulations>",
        )
        require(
            not mcts_simulations(name) or env_id.startswith(OPEN_SPIEL),
            f"league.baselines: got {name} with env.id {env_id}, wanted random or minimax: only "
            f"games of {OPEN_SPIEL}... have it",
        )
    require(
        len(set(names)) == len(names),
        f"league.baselines: got {', '.join(names)}, wanted each at most once",
    )
