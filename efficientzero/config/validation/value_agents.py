"""What an agent that learns action values can be combined with: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import SEARCHED_VALUE_TARGETS
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require


def check_action_values(config: Config) -> None:
    """Refuse targets of Q(s, a) that are no returns of the action a.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    reanalyzer, wanted = config.reanalyzer, "with agent.value_function action, wanted"
    require(
        reanalyzer.value_bootstrap == "network",
        f"reanalyzer.value_bootstrap: got {reanalyzer.value_bootstrap} {wanted} network: the "
        "search does not plan with action values",
    )
    require(
        reanalyzer.value_target not in SEARCHED_VALUE_TARGETS,
        f"reanalyzer.value_target: got {reanalyzer.value_target} {wanted} one that sums rewards: a "
        "root's value is not the value of the action that was taken",
    )
    require(
        reanalyzer.value_target != "td_lambda",
        f"reanalyzer.value_target: got td_lambda {wanted} td: lambda-returns need V(s), and the "
        "actions on the way were not the best ones",
    )
