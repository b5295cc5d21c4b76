"""The values that each field of a config may have by itself."""

from __future__ import annotations

import math

from efficientzero.config.fields import Config
from efficientzero.config.files import ConfigError, config_to_dict, flatten

_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**64 - 1),
    **dict.fromkeys(
        (
            *("env.max_episode_steps", "env.final_eval_max_episode_steps", "env.atari.noop_max"),
            *("budget.warmup_env_steps", "budget.last_train_steps"),
            *("budget.schedule_train_steps", "budget.max_env_steps_ahead"),
            *("network.support_bins", "learner.huber_delta", "network.action_value_hidden_size"),
            *("network.downsample", "search.gumbel_maxvisit_init", "search.gumbel_value_scale"),
            *("compat.block_length", "compat.target_weights_lag"),
            *("actor.num_envs", "replay.priority_exponent", "evaluator.simulations"),
            *("agent.num_unroll_steps", "search.num_simulations", "actor.temperature_plies"),
            *("reanalyzer.mixed_start_train_steps", "reanalyzer.mixed_fresh_env_steps"),
            *("reanalyzer.search_simulations", "reanalyzer.search_batch_size"),
            *("learner.momentum", "learner.weight_decay", "learner.max_batch_staleness"),
            *("learner.value_prefix_coefficient", "learner.value_coefficient"),
            *("learner.policy_coefficient", "learner.consistency_coefficient"),
            *("search.planning_horizon", "search.other_horizon_weight"),
            "learner.auxiliary_value_coefficient",
            *("learner.action_value_coefficient", "learner.entropy_coefficient"),
            *("learner.reconstruction_coefficient", "learner.reconstruction_train_steps"),
            *("learner.shift_pixels", "learner.intensity_scale", "learner.average_decay"),
            *("cluster.replay_port", "cluster.learner_port", "cluster.max_restarts"),
            "league.ladder_games",
        ),
        (0, math.inf),
    ),
    **dict.fromkeys(
        (
            *("env.atari.sticky_action_probability", "network.batch_norm_momentum"),
            *("search.root_exploration_fraction", "actor.random_action_share"),
            "evaluator.epsilon",
            *("actor.epsilon_start", "actor.epsilon_end", "actor.epsilon_fraction"),
            *("replay.importance_exponent", "replay.importance_exponent_final"),
            *("replay.priority_refresh_share", "reanalyzer.policy_reanalyze_ratio"),
            *("reanalyzer.td_lambda", "learner.lr_warmup_fraction", "learner.momentum_tau"),
            *("league.pool_share", "league.uniform_share", "league.baseline_share"),
        ),
        (0, 1),
    ),
    "search.q_bounds": (-math.inf, math.inf),
}
"""Numbers, alone or in tuples, that may be 0 or negative: the lowest and the highest value. All
others must be above 0."""
_MAY_BE_INFINITE = ("learner.max_grad_norm", "reanalyzer.rho_clip", "reanalyzer.c_clip")
"""Bounds of which infinity is none at all."""
_NOT_KWARGS = {
    "id": " (env.id is the environment)",
    "max_episode_steps": " (env.max_episode_steps is the time limit)",
    "disable_env_checker": "",
}
"""Names that gymnasium.make takes for itself, and where to give them."""


def check_ranges(config: Config) -> None:
    """Check each number of ``config``, and the names of the environment's arguments.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    _check_kwargs(config)
    for key, value in flatten(config_to_dict(config)).items():
        for number in value if isinstance(value, tuple) else (value,):
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if is_number and not key.startswith("env.kwargs."):
                _check_range(key, number)
    agent = config.agent
    for name, discounts in (
        ("discount", (agent.discount,)),
        ("auxiliary_discounts", agent.auxiliary_discounts),
    ):
        for discount in discounts:
            require(discount <= 1, f"agent.{name}: got {discount}, wanted at most 1")


def _check_range(key: str, number: float) -> None:
    require(
        number != math.inf or key in _MAY_BE_INFINITE,
        f"{key}: got {number}, wanted a finite number",
    )
    if key not in _RANGES:
        wanted = "at least 1" if isinstance(number, int) else "more than 0"
        require(number > 0, f"{key}: got {number}, wanted {wanted}")
        return
    lowest, highest = _RANGES[key]
    wanted = f"{lowest} or more" if highest == math.inf else f"{lowest} to {highest}"
    require(lowest <= number <= highest, f"{key}: got {number}, wanted {wanted}")


def _check_kwargs(config: Config) -> None:
    for key, value in config.env.kwargs.items():
        require(
            key.isidentifier() and key not in _NOT_KWARGS,
            f"env.kwargs: got {key!r}, wanted the name of an argument of the environment's "
            f"constructor{_NOT_KWARGS.get(key, '')}",
        )
        require(
            not isinstance(value, float) or math.isfinite(value),
            f"env.kwargs: got {key}={value}, wanted a finite number",
        )


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(message)
