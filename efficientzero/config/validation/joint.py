"""Checks of a config beyond its types: ranges, and fields that must fit each other.

Called by the launcher before any work starts.
"""

from __future__ import annotations

import ipaddress
import re

from efficientzero.config.derived import (
    corrects_behaviour,
    healthy_staleness,
    staleness_bound,
)
from efficientzero.config.fields import Config
from efficientzero.config.files import REMOVED_FIELDS, ConfigError, config_to_dict, flatten
from efficientzero.config.run_fields import ClusterConfig
from efficientzero.config.spelling import nearest
from efficientzero.config.validation.behaviour import check_behaviour
from efficientzero.config.validation.continuous import check_continuous
from efficientzero.config.validation.devices import check_devices
from efficientzero.config.validation.horizons import check_horizons
from efficientzero.config.validation.ranges import check_ranges, require
from efficientzero.config.validation.reanalysis import check_reanalysis
from efficientzero.config.validation.two_players import check_play, check_players
from efficientzero.config.validation.value_agents import check_value_agents
from efficientzero.config.validation.values import check_values
from efficientzero.schema import EnvSpec


def validate(config: Config, spec: EnvSpec | None = None) -> None:
    """Check ranges and joint conditions, which the fields' types cannot express.

    Args:
        config: the resolved config.
        spec: the environment's spec, if it is known already.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    check_ranges(config)
    agent, budget, actor = config.agent, config.budget, config.actor
    require(
        not agent.num_unroll_steps or agent.value_prefix_horizon <= agent.num_unroll_steps,
        f"agent.value_prefix_horizon: got {agent.value_prefix_horizon}, wanted 1 to "
        f"agent.num_unroll_steps ({agent.num_unroll_steps}): no longer sum is trained",
    )
    require(
        len(actor.temperatures) == len(actor.temperature_fractions) + 1,
        f"actor.temperatures: got {len(actor.temperatures)} values for "
        f"{len(actor.temperature_fractions)} actor.temperature_fractions, wanted one more",
    )
    require(
        list(actor.temperature_fractions) == sorted(actor.temperature_fractions),
        f"actor.temperature_fractions: got {actor.temperature_fractions}, wanted ascending values",
    )
    require(
        budget.warmup_env_steps < budget.env_steps,
        f"budget.warmup_env_steps: got {budget.warmup_env_steps}, wanted less than "
        f"budget.env_steps ({budget.env_steps}): nothing would be trained while collecting",
    )
    require(
        not budget.schedule_train_steps
        or budget.schedule_train_steps >= budget.train_steps
        or corrects_behaviour(config),  # a fork keeps the schedule of those who acted before
        f"budget.schedule_train_steps: got {budget.schedule_train_steps}, wanted 0 or at least "
        f"budget.train_steps ({budget.train_steps}): schedules would end before the run",
    )
    slack = config.max_env_steps_ahead
    in_lock_step = config.cluster.num_actors * config.most_envs
    require(
        slack >= in_lock_step,
        f"budget.max_env_steps_ahead: got {slack}, wanted at least cluster.num_actors * "
        f"actor.num_envs ({in_lock_step}) so that every environment can step",
    )
    require(
        config.replay.capacity >= config.learner.batch_size,
        f"replay.capacity: got {config.replay.capacity}, wanted at least learner.batch_size "
        f"({config.learner.batch_size})",
    )
    learner = config.learner
    require(
        learner.batch_size % learner.num_devices == 0,
        f"learner.batch_size: got {learner.batch_size}, wanted a multiple of learner.num_devices "
        f"({learner.num_devices})",
    )
    for name, share in (
        ("average_decay", learner.average_decay),
        ("momentum_tau", learner.momentum_tau),
    ):
        require(share < 1, f"learner.{name}: got {share}, wanted 0 or more and less than 1")
    _check_losses(config)
    network = config.network
    require(
        network.trunk != "mlp" or network.norm == "batch",
        f"network.norm: got {network.norm} with network.trunk mlp, which has layer norm in "
        "any case, wanted batch (the default)",
    )
    require(
        staleness_bound(config) >= healthy_staleness(config),
        f"learner.max_batch_staleness: got {learner.max_batch_staleness}, wanted 0 or at least "
        f"{healthy_staleness(config)}: learner.target_interval ({learner.target_interval}, more "
        "with compat.target_weights_lag) and the batches that wait their turn",
    )
    check_value_agents(config)
    if config.replay.priority_refresh_share:
        _check_refresh(config)
    check_reanalysis(config)
    check_horizons(config)
    check_behaviour(config)
    check_values(config)
    check_play(config)
    if config.cluster.deterministic:
        _check_deterministic(config)
    check_devices(config)
    _check_hosts(config.cluster)
    _check_arm(config)
    compat = config.compat
    changes_puct = (
        compat.stale_prefix_bounds
        or compat.recomputed_bounds
        or compat.root_visit_without_value
        or compat.random_first_child
    )
    require(
        config.search.algorithm == "puct" or not changes_puct,
        f"search.algorithm: got {config.search.algorithm} with compat.stale_prefix_bounds, "
        "compat.recomputed_bounds, compat.root_visit_without_value or compat.random_first_child, "
        "wanted puct",
    )
    if spec is not None:
        check_players(config, spec)
        check_continuous(config, spec)
        require(
            spec.num_actions >= _FEWEST_ACTIONS or spec.action_kind == "continuous",
            f"env.id: {spec.env_id} has {spec.num_actions} action, wanted at least 2",
        )
        require(
            not spec.has_legal_actions or config.env.action_repeat == 1,
            f"env.action_repeat: got {config.env.action_repeat} with the legal actions of "
            f"{spec.env_id}, wanted 1 (or env.legal_actions off): an action may be illegal when it "
            "is repeated",
        )
        require(
            spec.is_image or not config.compat.jpeg_frames,
            f"compat.jpeg_frames: got true for {spec.env_id}, whose frames are vectors, wanted "
            "false (--compat.no-jpeg-frames)",
        )


_FEWEST_ACTIONS = 2
_FEWEST_CONTRASTED = 8
_MOST_NUMBERED_STEPS = 2**24
_NUM_PORTS = 1 << 16
_ARM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")


def _check_arm(config: Config) -> None:
    arm = config.tracking.arm
    known = [*flatten(config_to_dict(config)), *REMOVED_FIELDS]  # older runs may have varied them
    require(
        not arm or _ARM.fullmatch(arm) is not None,
        f"tracking.arm: got {arm!r}, wanted at most 40 letters, digits, '.', '_', '+' and '-', the "
        "first a letter or digit",
    )
    for name in ("ablated", "varied"):
        for key in getattr(config.tracking, name):
            require(
                key in known,
                f"tracking.{name}: got {key!r}, wanted dotted fields{nearest(key, known)}",
            )


def _check_deterministic(config: Config) -> None:
    """Refuse settings that make results depend on timing or on a GPU's order of additions."""
    cluster = config.cluster
    wanted: dict[str, tuple[object, tuple[object, ...]]] = {
        "cluster.num_actors": (cluster.num_actors, (1,)),
        "cluster.num_reanalyzers": (cluster.num_reanalyzers, (1,)),
        "learner.num_devices": (config.learner.num_devices, (1,)),
        "cluster.threads_per_process": (cluster.threads_per_process, (1,)),
        "cluster.device": (cluster.device, ("cpu", "auto")),
        "actor.pipeline": (config.actor.pipeline, ("off", "auto")),
        # The service draws these, and it has no seed.
        "replay.priority_refresh_share": (config.replay.priority_refresh_share, (0,)),
    }
    for key, (got, allowed) in wanted.items():
        require(
            got in allowed,
            f"{key}: got {got}, wanted {' or '.join(map(str, allowed))} with cluster.deterministic",
        )


def _check_losses(config: Config) -> None:
    """Refuse losses of which nothing is left, or with too little to learn from."""
    learner, num_steps = config.learner, config.agent.num_unroll_steps
    coefficients = (
        learner.value_prefix_coefficient,
        learner.value_coefficient,
        learner.policy_coefficient,
        learner.consistency_coefficient,
        learner.action_value_coefficient,
        learner.reconstruction_coefficient,
    )
    require(any(coefficients), "learner: got 0 for all coefficients, wanted at least one above 0")
    ends, total = learner.reconstruction_train_steps, config.budget.total_train_steps
    require(
        any(coefficients[:-1]) or not 0 < ends < total,
        f"learner.reconstruction_train_steps: got {ends} with 0 for all other coefficients, wanted "
        f"0 or at least the run's {total} train_steps: nothing would be trained after it",
    )
    require(
        learner.consistency != "nce"
        or not learner.consistency_coefficient
        or learner.batch_size * num_steps >= _FEWEST_CONTRASTED,
        f"learner.consistency: got nce with learner.batch_size {learner.batch_size} and "
        f"agent.num_unroll_steps {num_steps}, wanted at least {_FEWEST_CONTRASTED} predictions in "
        "a batch: they are each other's negatives",
    )


def _check_refresh(config: Config) -> None:
    """Refuse a refresh that would do nothing, or could not distinguish steps."""
    share, batch_size = config.replay.priority_refresh_share, config.learner.batch_size
    require(
        config.replay.priority_exponent > 0,
        f"replay.priority_refresh_share: got {share} with replay.priority_exponent 0, wanted 0: "
        "uniform replay has no priorities",
    )
    require(
        share * batch_size >= 1,
        f"replay.priority_refresh_share: got {share}, wanted 0 or at least 1 / learner.batch_size "
        f"({1 / batch_size:.3g})",
    )
    require(
        config.budget.env_steps <= _MOST_NUMBERED_STEPS,
        f"budget.env_steps: got {config.budget.env_steps} with replay.priority_refresh_share, "
        f"wanted at most {_MOST_NUMBERED_STEPS}: replay keeps their numbers as float32",
    )


def _check_hosts(cluster: ClusterConfig) -> None:
    try:
        bound = ipaddress.IPv4Address(cluster.bind_host)
    except ValueError:
        raise ConfigError(
            f"cluster.bind_host: got {cluster.bind_host!r}, wanted an IPv4 address such as "
            "127.0.0.1, 10.0.0.5 or 0.0.0.0"
        ) from None
    require(
        re.fullmatch(r"[A-Za-z0-9.-]*", cluster.replay_host) is not None,
        f"cluster.replay_host: got {cluster.replay_host!r}, wanted a host name or IPv4 address",
    )
    try:
        _ = cluster.replay_networks
    except ValueError as error:
        raise ConfigError(
            f"cluster.replay_network: got {cluster.replay_network!r} ({error}), wanted networks "
            "such as 10.0.0.0/8, with commas between them"
        ) from None
    for name, port in (("learner", cluster.learner_port), ("replay", cluster.replay_port)):
        require(
            port > 0 or bound.is_loopback,
            f"cluster.{name}_port: got {port}, wanted a fixed port with cluster.bind_host "
            f"{cluster.bind_host}: others must know it",
        )
        require(
            port < _NUM_PORTS, f"cluster.{name}_port: got {port}, wanted less than {_NUM_PORTS}"
        )
    require(
        not cluster.replay_port or cluster.learner_port != cluster.replay_port,
        f"cluster.learner_port: got {cluster.learner_port}, wanted another than "
        "cluster.replay_port's",
    )
