"""What is derived from a config and on which several processes must agree.

The largest age of a training batch's targets, the sizes of its parts, and each process's device.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from efficientzero.config.agent_fields import AgentConfig, SearchConfig
from efficientzero.config.fields import Config
from efficientzero.config.run_fields import ClusterConfig

SEARCHED_VALUE_TARGETS = ("search", "mixed")
"""Those of ``reanalyzer.value_target`` that read root values of searches."""
OFF_POLICY_TARGETS = ("v_trace", "retrace")
"""Those that compare the acting policy with a newer one."""
DEVICE_ROLES = ("learner", "actor", "reanalyzer", "evaluator")
"""Roles that compute on a device, which ``cluster.<role>_device`` names."""
_FIRST_VALUE_OFFSETS = {"td_lambda": 1, "v_trace": 0}
"""The first observation whose value a target reads, where that is not the end of the td_steps."""
_SPARE_INTERVALS = 2
_READ_AHEAD = 3  # batches: on the device, in the learner's reader, in Reverb's stream


def healthy_staleness(config: Config) -> int:
    """Return the largest age of a batch at the learner in a healthy run.

    Target weights are at most one interval plus their lag old when a reanalyzer takes them. Then
    the batch is made and waits: behind the queue, the batches that the learner has read ahead, and
    two batches of every reanalyzer, one being made and one that waits for room.
    """
    learner, cluster = config.learner, config.cluster
    weights = (1 + config.compat.target_weights_lag) * learner.target_interval
    return weights + config.replay.queue_size + _READ_AHEAD + 2 * cluster.num_reanalyzers


def staleness_bound(config: Config) -> int:
    """Return the largest age to train on: as configured, or two intervals above the healthy one."""
    learner = config.learner
    spare = _SPARE_INTERVALS * learner.target_interval
    return learner.max_batch_staleness or healthy_staleness(config) + spare


def horizon_discounts(agent: AgentConfig) -> tuple[float, ...]:
    """Return the discount of every horizon: of the value head, then of the auxiliary ones."""
    return agent.discount, *agent.auxiliary_discounts


def planning_discount(agent: AgentConfig, search: SearchConfig) -> float:
    """Return the discount per env_step that searches plan with."""
    return horizon_discounts(agent)[search.planning_horizon]


def has_action_values(config: Config) -> bool:
    """Return whether the network has a head with Q(s, a) of every action."""
    return config.agent.value_function == "action" or config.learner.action_value_coefficient > 0


def reads_child_q(config: Config) -> bool:
    """Return whether something reads Q of the root's actions from a planner's results."""
    return (
        config.actor.action_rule == "epsilon_greedy"
        or config.search.improved_policy != "algorithm"
        or config.learner.action_value_coefficient > 0
    )


def corrects_behaviour(config: Config) -> bool:
    """Return whether value targets compare the acting policy with a newer one."""
    return config.reanalyzer.value_target in OFF_POLICY_TARGETS


def plays_by(config: Config) -> str:
    """Return the rule by which actors play: ``actor.action_rule`` without ``auto``."""
    by_search = "recommended" if config.search.algorithm == "gumbel" else "visits"
    return by_search if config.actor.action_rule == "auto" else config.actor.action_rule


def num_actions_in_slice(agent: AgentConfig) -> int:
    """Return how many actions of a slice are trained on: K, or K + 1 with action values."""
    return agent.num_unroll_steps + (agent.value_function == "action")


def num_refreshed(config: Config) -> int:
    """Return the number of stored steps that get a fresh priority with each training batch."""
    return int(config.replay.priority_refresh_share * config.learner.batch_size)


def has_local_targets(config: Config) -> bool:
    """Return whether the learner bootstraps value targets itself, with a frozen network."""
    return config.learner.target_network == "local"


def num_fresh_policies(config: Config, num_slices: int) -> int:
    """Return how many of ``num_slices`` get policies from a fresh search.

    0 if no loss reads what such a search finds: it is most of a batch's cost.
    """
    learner = config.learner
    if not learner.policy_coefficient and not learner.action_value_coefficient:
        return 0
    return int(num_slices * config.reanalyzer.policy_reanalyze_ratio)


def most_roots(config: Config) -> int:
    """Return the largest number of roots that the targets of one training batch need."""
    size, positions = config.learner.batch_size, config.agent.num_unroll_steps + 1
    fresh, value_target = num_fresh_policies(config, size), config.reanalyzer.value_target
    # Where policies are, too.
    own_values = size * positions if value_target in SEARCHED_VALUE_TARGETS else 0
    if value_target == "search" or config.reanalyzer.value_bootstrap != "search":
        return max(1, own_values, fresh * positions)
    # Values are at offsets up to K + n, policies at 0 .. K: roots of both are searched once.
    first = _FIRST_VALUE_OFFSETS.get(value_target, config.agent.td_steps)
    num_values = positions + config.agent.td_steps - first
    return size * num_values + fresh * min(first, positions)


def role_devices(cluster: ClusterConfig, role: str) -> tuple[str, ...]:
    """Return the names of the devices that the processes of a role take in turn."""
    own: str = getattr(cluster, f"{role}_device")
    return tuple((own or cluster.device).split(","))


def role_device(cluster: ClusterConfig, role: str, index: int) -> str:
    """Return the name of a process's device: of several names round robin by the process's index.

    Args:
        cluster: the run's settings.
        role: one of ``DEVICE_ROLES``; a further rank of the learner is a learner.
        index: of the process; a learner's is its rank.
    """
    names = role_devices(cluster, role)
    return names[index % len(names)]


def with_role_device(cluster: ClusterConfig, role: str, name: str) -> ClusterConfig:
    """Return the settings with another device for the processes of a role."""
    fields: dict[str, Any] = {f"{role}_device": name}
    return dataclasses.replace(cluster, **fields)


OPEN_SPIEL, PETTINGZOO = "OpenSpiel/", "PettingZoo/"
"""How the ids of these libraries' games of two players begin."""


def is_turn_game(env_id: str) -> bool:
    """Return whether an id names a game of two players."""
    return env_id.startswith((OPEN_SPIEL, PETTINGZOO))


def mcts_simulations(name: str) -> int:
    """Return n of a baseline's name ``mcts-<n>``; 0 for other names."""
    matched = re.fullmatch(r"mcts-([1-9]\d*)", name)
    return int(matched[1]) if matched else 0
