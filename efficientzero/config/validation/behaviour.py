"""Whether replay holds the probabilities with which actors played: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import corrects_behaviour, plays_by
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require

_BY_Q = ("softmax_q", "mellowmax")
"""Improved policies whose most likely action is that of the highest Q."""


def check_behaviour(config: Config) -> None:
    """Refuse v_trace and retrace where their policies are not trained, or not known from replay.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    kind, policy = config.reanalyzer.value_target, config.reanalyzer.target_policy
    require(
        policy == "policy" or kind == "retrace",
        f"reanalyzer.target_policy: got {policy} with reanalyzer.value_target {kind}, wanted "
        "policy or retrace: no other target reads a policy of Q",
    )
    if not corrects_behaviour(config):
        return
    name = f"reanalyzer.value_target: got {kind} with"
    if kind == "retrace":
        _check_retrace(config, name)
    else:
        _check_v_trace(config, name)
    require(
        config.compat.block_length == 0,
        f"{name} compat.block_length {config.compat.block_length}, wanted td: rewards past a "
        "block's end have no policy",
    )
    require(
        not (config.actor.random_action_share and config.actor.random_action_repeat),
        f"{name} actor.random_action_repeat, wanted td: the probability of a repeated action is "
        "not stored",
    )
    search, rule = config.search, plays_by(config)
    searches = f"search.algorithm {search.algorithm}"
    if search.num_simulations == 0:
        searches = "search.num_simulations 0"
    require(
        search.improved_policy in _known_policies(config, rule),
        f"{name} {searches}, search.improved_policy {search.improved_policy} and actions by "
        f"{config.actor.action_rule if search.num_simulations == 0 else rule}, wanted td or "
        "actor.action_rule policy: the stored policies do not say how likely an action was",
    )


def _known_policies(config: Config, rule: str) -> tuple[str, ...]:
    """Return the improved policies from which the probabilities of ``rule`` follow."""
    search = config.search
    if rule == "policy":
        return (search.improved_policy,)
    if search.num_simulations == 0:
        # algorithm is softmax(Q / q_temperature) then. The other rules play the best action.
        return ("algorithm", *_BY_Q) if rule == "epsilon_greedy" else ()
    if rule == "epsilon_greedy":
        return _BY_Q
    by_search = {"visits": "puct", "recommended": "gumbel"}
    return ("algorithm",) if search.algorithm == by_search[rule] else ()


def _check_retrace(config: Config, name: str) -> None:
    value_function, bootstrap = config.agent.value_function, config.reanalyzer.value_bootstrap
    require(
        value_function == "action",
        f"{name} agent.value_function {value_function}, wanted td, v_trace or action: Retrace "
        "corrects targets of Q(s, a)",
    )
    require(
        bootstrap == "network",
        f"{name} reanalyzer.value_bootstrap {bootstrap}, wanted network: what a state is worth is "
        "a mean of the network's Q",
    )


def _check_v_trace(config: Config, name: str) -> None:
    require(
        config.agent.value_function == "state",
        f"{name} agent.value_function action, wanted td or retrace: V-trace corrects targets of "
        "V(s)",
    )
    require(
        not config.agent.auxiliary_discounts,
        f"{name} agent.auxiliary_discounts, wanted td or td_lambda: only one horizon is corrected",
    )
    require(
        config.learner.policy_coefficient > 0,
        f"{name} learner.policy_coefficient 0, wanted td: nothing trains the newer policy",
    )
    require(
        config.search.num_simulations > 0,
        f"{name} search.num_simulations 0, wanted td: agents without a search value Q(s, a)",
    )
