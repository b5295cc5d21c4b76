"""What a run must have in common with the run that it takes replay or weights from.

Called by ``prepare`` before anything is written. Reverb restores a table as it was recorded, and a
reader of steps packed otherwise would find out in the middle of training, or never.
"""

from __future__ import annotations

from typing import Any

from deploy.checks.fork import Fork
from efficientzero.config import (
    Config,
    ConfigError,
    config_to_dict,
    corrects_behaviour,
    flatten,
    has_action_values,
    plays_by,
)
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec

# What the stored steps are made of, and how they are packed. A final evaluation's time limit is
# not in them.
_STORED = (
    "agent.num_unroll_steps",
    "agent.td_steps",
    "compat.jpeg_frames",
    "replay.frames_per_block",
)
_NOT_STORED = ("env.final_eval_max_episode_steps",)
# What says how likely the stored actions were, for targets that correct for it.
_ACTED_BY = (
    *("actor.action_rule", "actor.temperature", "actor.epsilon_", "actor.random_action_"),
    *("search.algorithm", "search.improved_policy"),
)
# What cannot change the shapes of weights and optimiser state that are taken.
_NOT_SHAPES = ("network.batch_norm_momentum", "network.decoder_channels")


def check_fork(fork: Fork, config: Config, spec: EnvSpec) -> None:
    """Check that a run of ``config`` can begin with what the fork brings.

    Raises:
        ConfigError: one line: the field, what was got and what was wanted.
    """
    if config.cluster.deterministic:
        raise ConfigError(
            f"{fork.option}: got cluster.deterministic, wanted a run that is not: the order in "
            "which Reverb draws from a snapshot cannot be set"
        )
    facts, parent = fork.facts, fork.parent
    if facts.num_steps < 1:
        raise ConfigError(f"{fork.option}: {fork.snapshot} holds no env_step, wanted some")
    got, there = flatten(config_to_dict(config)), flatten(config_to_dict(parent.config))
    stored = [k for k in {**got, **there} if k.startswith("env.") and k not in _NOT_STORED]
    wanted = {key: there.get(key) for key in (*stored, *_STORED)} | {
        "replay.capacity": facts.capacity,
        "replay.priority_exponent": facts.priority_exponent,
        "replay.queue_size": facts.queue_size,
    }
    _require(got, wanted, f"{parent.run_id}'s replay was recorded with")
    if spec != parent.env_spec:
        now, before = spec.differences(parent.env_spec)
        raise ConfigError(
            f"env.id: got {now}, but {parent.run_id}'s replay was recorded with {before}"
        )
    if config.league.has_pool != parent.config.league.has_pool:
        says = "say" if parent.config.league.has_pool else "do not say"
        raise ConfigError(
            f"league.pool_share: got {config.league.pool_share}, wanted "
            f"{parent.config.league.pool_share}: {parent.run_id}'s steps {says} whose weights "
            "moved"
        )
    if corrects_behaviour(config):
        _check_behaviour(parent, config, got, there)
    if fork.train_step is not None:
        _check_weights(fork, config, got, there)
    _check_budget(fork, config)


def _check_behaviour(
    parent: RunInfo, config: Config, got: dict[str, Any], there: dict[str, Any]
) -> None:
    """Check that the probabilities of the stored actions are those that ``config`` finds."""
    if parent.lineage is not None and not corrects_behaviour(parent.config):
        raise ConfigError(
            f"reanalyzer.value_target: got {config.reanalyzer.value_target}, wanted td: "
            f"{parent.run_id} has replay of {parent.lineage.parent}, whose actors may have been "
            "others"
        )
    same = {key: there[key] for key in there if key.startswith(_ACTED_BY)}
    _require(got, same, f"{parent.run_id}'s actors had")
    now, before = (
        budget.schedule_train_steps or budget.train_steps
        for budget in (config.budget, parent.config.budget)
    )
    if now != before and _follows_schedule(parent.config):
        raise ConfigError(
            f"budget.schedule_train_steps: got a schedule of {now} train_steps with "
            f"reanalyzer.value_target {config.reanalyzer.value_target}, wanted {before} "
            f"(--budget.schedule-train-steps {before}), which {parent.run_id}'s actors had: "
            "temperatures and epsilon say how likely a stored action was"
        )


def _follows_schedule(config: Config) -> bool:
    """Return whether actions were drawn otherwise early and late in training."""
    match plays_by(config):
        case "visits":
            return len(set(config.actor.temperatures)) > 1
        case "epsilon_greedy":
            return config.actor.epsilon_start != config.actor.epsilon_end
        case _:
            return False


def _check_weights(fork: Fork, config: Config, got: dict[str, Any], there: dict[str, Any]) -> None:
    from efficientzero.networks import AUXILIARY_HEADS, auxiliary_heads_of  # noqa: PLC0415  imports torch, 2 s: not for --help

    shapes = [key for key in got if key.startswith("network.") and key not in _NOT_SHAPES]
    keys = (*shapes, "agent.value_prefix", "agent.auxiliary_discounts", "learner.optimizer")
    _require(got, {key: there[key] for key in keys}, f"{fork.parent.run_id}'s weights have")
    if has_action_values(config) != has_action_values(fork.parent.config):
        own = {"agent.value_function": there["agent.value_function"]}
        own["learner.action_value_coefficient"] = there["learner.action_value_coefficient"]
        _require(got, own, f"{fork.parent.run_id}'s weights have")
    coefficient = "learner.consistency_coefficient"
    if got[coefficient] and there[coefficient]:
        kind = {"learner.consistency": there["learner.consistency"]}
        _require(got, kind, f"{fork.parent.run_id}'s weights are trained with")
    for name in auxiliary_heads_of(config):
        if AUXILIARY_HEADS[name].is_average and name not in fork.auxiliary_heads:
            raise ConfigError(
                f"learner.consistency: got {got['learner.consistency']}, wanted simsiam, nce or "
                f"{coefficient} 0: {fork.parent.run_id} has no {name}, an average of weights that "
                "it would have to go on with"
            )


def _check_budget(fork: Fork, config: Config) -> None:
    budget, inserted = config.budget, fork.facts.steps_inserted
    if fork.is_frozen:
        check_frozen(config, inserted)
    elif budget.env_steps <= inserted:
        raise ConfigError(
            f"budget.env_steps: got {budget.env_steps}, wanted more than the {inserted} that the "
            "snapshot holds, which count as played; --frozen-replay trains without playing"
        )
    if fork.train_step is not None and fork.train_step >= budget.total_train_steps:
        raise ConfigError(
            f"budget.train_steps: got {budget.train_steps} and {budget.last_train_steps} last "
            f"ones, wanted more than the {fork.train_step} that the weights have behind them"
        )


def check_frozen(config: Config, steps_inserted: int) -> None:
    """Check what a frozen replay of ``steps_inserted`` env_steps decides.

    Raises:
        ConfigError: the field, what was got and what was wanted.
    """
    fixed = {
        "budget.env_steps": steps_inserted,
        "budget.warmup_env_steps": 0,
        "cluster.num_actors": 1,  # the least that a config may say; none is started
    }
    _require(flatten(config_to_dict(config)), fixed, "a frozen replay has")
    if config.league.has_pool:
        raise ConfigError(
            f"league.pool_share: got {config.league.pool_share} with a frozen replay, wanted 0: "
            "nobody plays"
        )


def _require(got: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    for key, value in wanted.items():
        if got.get(key) != value:
            raise ConfigError(f"{key}: got {got.get(key)}, wanted {value}: {what} it")
