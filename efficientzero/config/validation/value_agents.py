"""What an agent that learns action values can be combined with: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import (
    SEARCHED_VALUE_TARGETS,
    has_action_values,
    num_fresh_policies,
)
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require


def check_action_values(config: Config) -> None:
    """Refuse targets of Q(s, a) that are no returns of the action a.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    reanalyzer, wanted = config.reanalyzer, "with agent.value_function action, wanted"
    require(
        reanalyzer.value_bootstrap != "max_action_value",
        f"reanalyzer.value_bootstrap: got max_action_value {wanted} network: that is the largest "
        "Q(s, a) already",
    )
    weight, loss = config.learner.action_value_coefficient, config.learner.action_value_loss
    require(
        not weight or loss == "softmax",
        f"learner.action_value_loss: got {loss} with learner.action_value_coefficient {weight} "
        f"{wanted} softmax: Q(s, a) has other scalar targets already",
    )
    require(
        reanalyzer.value_bootstrap == "network" or config.search.prior == "action_values",
        f"reanalyzer.value_bootstrap: got {reanalyzer.value_bootstrap} {wanted} network, or "
        "search.prior action_values: the search does not plan with action values",
    )
    require(
        reanalyzer.value_target not in SEARCHED_VALUE_TARGETS,
        f"reanalyzer.value_target: got {reanalyzer.value_target} {wanted} one that sums rewards: a "
        "root's value is not the value of the action that was taken",
    )


def check_action_value_head(config: Config) -> None:
    """Refuse what reads Q(s, a) of a network without it, and a loss that no search has targets for.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    readers = {
        "search.prior": (config.search.prior, "action_values", "policy"),
        "reanalyzer.value_bootstrap": (
            config.reanalyzer.value_bootstrap,
            "max_action_value",
            "network or search",
        ),
    }
    for key, (got, reads, wanted) in readers.items():
        require(
            got != reads or has_action_values(config),
            f"{key}: got {got} with agent.value_function state and "
            f"learner.action_value_coefficient 0, wanted {wanted}: no network has Q(s, a)",
        )
    weight, ratio = (
        config.learner.action_value_coefficient,
        config.reanalyzer.policy_reanalyze_ratio,
    )
    require(
        not weight or num_fresh_policies(config, config.learner.batch_size) > 0,
        f"learner.action_value_coefficient: got {weight} with reanalyzer.policy_reanalyze_ratio "
        f"{ratio}, wanted 0 or a ratio that searches at least one slice of a batch anew: action "
        "values are trained towards fresh searches",
    )
