"""Whether replay holds the probabilities with which actors played: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import corrects_behaviour, plays_by
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require

_BY_Q = ("softmax_q", "mellowmax")
"""Improved policies whose most likely action is that of the highest Q."""


def check_behaviour(config: Config) -> None:
    """Refuse v_trace where its policies are not trained, or not known from what is stored.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    if not corrects_behaviour(config):
        return
    name = "reanalyzer.value_target: got v_trace with"
    agent, search, rule = config.agent, config.search, plays_by(config)
    require(
        agent.value_function == "state",
        f"{name} agent.value_function action, wanted td: V-trace corrects targets of V(s)",
    )
    require(
        not agent.auxiliary_discounts,
        f"{name} agent.auxiliary_discounts, wanted td or td_lambda: only one horizon is corrected",
    )
    require(
        config.learner.policy_coefficient > 0,
        f"{name} learner.policy_coefficient 0, wanted td: nothing trains the newer policy",
    )
    require(
        config.compat.block_length == 0,
        f"{name} compat.block_length {config.compat.block_length}, wanted td: rewards past a "
        "block's end have no policy",
    )
    require(
        search.num_simulations > 0,
        f"{name} search.num_simulations 0, wanted td: agents without a search value Q(s, a)",
    )
    require(
        not (config.actor.random_action_share and config.actor.random_action_repeat),
        f"{name} actor.random_action_repeat, wanted td: the probability of a repeated action is "
        "not stored",
    )
    policies = {
        "visits": ("algorithm",) if search.algorithm == "puct" else (),
        "recommended": ("algorithm",) if search.algorithm == "gumbel" else (),
        "epsilon_greedy": _BY_Q,
        "policy": (search.improved_policy,),
    }
    require(
        search.improved_policy in policies[rule],
        f"{name} search.algorithm {search.algorithm}, search.improved_policy "
        f"{search.improved_policy} and actions by {rule}, wanted td or actor.action_rule policy: "
        "the stored policies do not say how likely an action was",
    )
