"""Which horizons a config can have: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import (
    SEARCHED_VALUE_TARGETS,
    has_local_targets,
    horizon_discounts,
)
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require


def check_horizons(config: Config) -> None:
    """Refuse horizons that are not there, that are all the same, or whose values would be mixed up.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    agent, search, reanalyzer = config.agent, config.search, config.reanalyzer
    horizon, discounts = search.planning_horizon, horizon_discounts(agent)
    require(
        horizon < len(discounts),
        f"search.planning_horizon: got {horizon} with {len(agent.auxiliary_discounts)} "
        "agent.auxiliary_discounts, wanted at most their number",
    )
    require(
        not search.other_horizon_weight or horizon > 0,
        f"search.other_horizon_weight: got {search.other_horizon_weight} with "
        "search.planning_horizon 0, wanted 0: there is no other horizon to add",
    )
    if not agent.auxiliary_discounts:
        return
    name, got = "agent.auxiliary_discounts", ", ".join(map(str, agent.auxiliary_discounts))
    require(
        len(set(discounts)) == len(discounts),
        f"{name}: got {got} with agent.discount {agent.discount}, wanted discounts that differ",
    )
    require(
        agent.value_function == "state",
        f"{name}: got {got} with agent.value_function action, wanted none or state: further "
        "horizons are heads of V(s)",
    )
    require(
        not has_local_targets(config),
        f"{name}: got {got} with learner.target_network local, wanted none or reanalyzer: the "
        "learner completes the targets of one horizon",
    )
    require(
        reanalyzer.value_target not in SEARCHED_VALUE_TARGETS,
        f"{name}: got {got} with reanalyzer.value_target {reanalyzer.value_target}, wanted td or "
        "td_lambda: a root value has one discount",
    )
    require(
        config.learner.auxiliary_value_coefficient > 0 or horizon == 0,
        f"learner.auxiliary_value_coefficient: got 0 with search.planning_horizon {horizon}, "
        "wanted more: nothing would train the values that searches plan with",
    )
    if not horizon:
        return
    require(
        reanalyzer.value_bootstrap == "network",
        f"search.planning_horizon: got {horizon} with reanalyzer.value_bootstrap "
        f"{reanalyzer.value_bootstrap}, wanted 0: what searches find has the planning discount, "
        "the bootstrap has agent.discount",
    )
    require(
        config.replay.initial_priority != "value_error",
        f"search.planning_horizon: got {horizon} with replay.initial_priority value_error, wanted "
        "0: priorities are errors of the value head, and root values have another discount",
    )
