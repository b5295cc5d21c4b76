"""Which searches and value targets a config can have in reanalysis: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import SEARCHED_VALUE_TARGETS, num_fresh_policies
from efficientzero.config.fields import Config
from efficientzero.config.files import ConfigError


def check_reanalysis(config: Config) -> None:
    """Refuse targets from which nothing can be learned, or that would never be made.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    reanalyzer, name = config.reanalyzer, "reanalyzer.value_target"
    if not config.learner.value_prefix_coefficient:
        _check_without_rewards(config)
    _check_single_simulation(config)
    if reanalyzer.value_target not in SEARCHED_VALUE_TARGETS:
        return
    if config.reanalyzer_simulations == 1:
        key = "reanalyzer.search" if reanalyzer.search_simulations else "search.num"
        raise ConfigError(
            f"{name}: got {reanalyzer.value_target} with {key}_simulations 1, wanted td or at "
            "least 2: the root value would be little more than the network's own"
        )
    if reanalyzer.value_target == "mixed":
        _check_mixed(config)


def _check_single_simulation(config: Config) -> None:
    """Refuse a policy that is trained towards the visits of one simulation.

    pUCT's first simulation follows the prior: its single visit repeats the policy and reads no
    value. Stored policies of actors are targets unless all are searched afresh.
    """
    search, reanalyzer = config.search, config.reanalyzer
    if search.algorithm != "puct" or search.improved_policy != "algorithm":
        return
    if not config.learner.policy_coefficient:
        return
    fresh, own = (
        num_fresh_policies(config, config.learner.batch_size),
        reanalyzer.search_simulations,
    )
    targets_from = {
        "search.num_simulations": (
            search.num_simulations,
            fresh < config.learner.batch_size or not own,
        ),
        "reanalyzer.search_simulations": (own, fresh > 0),
    }
    for name, (got, is_target) in targets_from.items():
        if got == 1 and is_target:
            wanted = "0, at least 2" if name.startswith("reanalyzer") else "at least 2"
            raise ConfigError(
                f"{name}: got 1 with search.algorithm puct, wanted {wanted} or gumbel (or another "
                "search.improved_policy): the visit counts of one simulation are a single action, "
                "the prior's"
            )


def _check_without_rewards(config: Config) -> None:
    """Refuse value targets from searches whose model has rewards that nothing trains."""
    reanalyzer, learner = config.reanalyzer, config.learner
    readers = {
        "reanalyzer.value_target": (
            reanalyzer.value_target,
            reanalyzer.value_target in SEARCHED_VALUE_TARGETS,
            "td",
        ),
        "reanalyzer.value_bootstrap": (
            reanalyzer.value_bootstrap,
            reanalyzer.value_bootstrap == "search",
            "network",
        ),
        "learner.action_value_coefficient": (
            learner.action_value_coefficient,
            learner.action_value_coefficient > 0,
            "0",
        ),
    }
    for key, (got, reads, wanted) in readers.items():
        if reads:
            raise ConfigError(
                f"{key}: got {got} with learner.value_prefix_coefficient 0, wanted {wanted}: "
                "values would come from rewards that nothing trains"
            )


def _check_mixed(config: Config) -> None:
    """Refuse limits within which no search would ever give a value target."""
    reanalyzer, budget = config.reanalyzer, config.budget
    limits = (
        ("start_train_steps", reanalyzer.mixed_start_train_steps, budget.total_train_steps),
        ("fresh_env_steps", reanalyzer.mixed_fresh_env_steps, budget.env_steps),
    )
    for key, got, total in limits:
        if got >= total:
            unit = key.partition("_")[2]
            raise ConfigError(
                f"reanalyzer.mixed_{key}: got {got}, wanted less than the run's {total} {unit}, or "
                "reanalyzer.value_target td: no value target would come from a search"
            )
