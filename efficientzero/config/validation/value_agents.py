"""What agents with action values can be combined with, with and without a search and a model.

Called by ``validate``.
"""

from __future__ import annotations

from efficientzero.config.derived import (
    SEARCHED_VALUE_TARGETS,
    has_action_values,
    num_fresh_policies,
)
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require

_POLICIES_OF_Q = ("algorithm", "softmax_q", "mellowmax")
"""Those of ``search.improved_policy`` that need neither visits nor a prior."""


def check_value_agents(config: Config) -> None:
    """Refuse agents of which a part would never be trained, or would train the wrong thing.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    _check_action_value_head(config)
    if config.agent.value_function == "action":
        _check_action_values(config)
    if config.search.num_simulations == 0:
        _check_without_search(config)
    if config.agent.num_unroll_steps == 0:
        _check_without_model(config)


def _check_action_values(config: Config) -> None:
    """Refuse targets of Q(s, a) that are no returns of the action a, and Q without any."""
    reanalyzer, wanted = config.reanalyzer, "with agent.value_function action, wanted"
    require(
        config.learner.value_coefficient > 0,
        f"learner.value_coefficient: got 0 {wanted} more: nothing would train Q(s, a)",
    )
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
    require(
        reanalyzer.value_target != "td_lambda",
        f"reanalyzer.value_target: got td_lambda {wanted} td: lambda-returns need V(s), and the "
        "actions on the way were not the best ones",
    )


def _check_without_search(config: Config) -> None:
    """Refuse what needs visits, values or policies of a search where actors make none."""
    search, actor, replay = config.search, config.actor, config.replay
    wanted = "with search.num_simulations 0, wanted"
    require(
        has_action_values(config),
        f"agent.value_function: got {config.agent.value_function} {wanted} action, or "
        "learner.action_value_coefficient above 0: nothing would improve the policy",
    )
    require(
        config.reanalyzer.value_bootstrap != "search" or config.reanalyzer_simulations > 0,
        f"reanalyzer.value_bootstrap: got search {wanted} network: nothing is searched",
    )
    require(
        search.algorithm == "puct",
        f"search.algorithm: got {search.algorithm} {wanted} puct, the default: nothing is searched",
    )
    require(
        search.improved_policy in _POLICIES_OF_Q,
        f"search.improved_policy: got {search.improved_policy} {wanted} "
        f"{', '.join(_POLICIES_OF_Q[:-1])} or {_POLICIES_OF_Q[-1]}: there are no visits",
    )
    require(
        actor.action_rule != "visits",
        f"actor.action_rule: got visits {wanted} epsilon_greedy or policy: there are no visits",
    )
    require(
        actor.action_rule in ("epsilon_greedy", "policy")
        or actor.random_action_share > 0
        or config.network.noisy_heads,
        f"actor.action_rule: got {actor.action_rule} {wanted} epsilon_greedy or policy, "
        "actor.random_action_share above 0 or network.noisy_heads: nothing else explores",
    )
    is_ever_random = actor.epsilon_end > 0 or actor.epsilon_start * actor.epsilon_fraction > 0
    require(
        actor.action_rule != "epsilon_greedy"
        or is_ever_random
        or actor.random_action_share > 0
        or config.network.noisy_heads,
        f"actor.epsilon_end: got 0 {wanted} more, epsilon_start and epsilon_fraction above 0, "
        "actor.random_action_share or network.noisy_heads: nothing else explores",
    )
    require(
        replay.initial_priority == "max" or replay.priority_exponent == 0,
        f"replay.initial_priority: got {replay.initial_priority} {wanted} max: without a search "
        "the error would be 0",
    )
    fresh, coefficient = (
        config.reanalyzer.policy_reanalyze_ratio,
        config.learner.policy_coefficient,
    )
    require(
        config.reanalyzer_simulations > 0 or not (fresh and coefficient),
        f"reanalyzer.policy_reanalyze_ratio: got {fresh} {wanted} 0, or "
        f"learner.policy_coefficient 0 (it is {coefficient}): no search makes fresh policies",
    )


def _check_without_model(config: Config) -> None:
    """Refuse what uses a model where none is unrolled in training."""
    wanted = "with agent.num_unroll_steps 0, wanted"
    require(
        not config.agent.value_prefix,
        f"agent.value_prefix: got true {wanted} false (--agent.no-value-prefix): no reward is "
        "predicted",
    )
    for key, simulations in (
        ("search.num_simulations", config.search.num_simulations),
        ("reanalyzer.search_simulations", config.reanalyzer.search_simulations),
        ("evaluator.simulations", config.evaluator.simulations),
    ):
        require(
            simulations == 0,
            f"{key}: got {simulations} {wanted} 0: nothing trains the model that a search needs",
        )
    require(
        config.learner.consistency_coefficient == 0,
        f"learner.consistency_coefficient: got {config.learner.consistency_coefficient} {wanted} "
        "0: there is no predicted latent to compare",
    )


def _check_action_value_head(config: Config) -> None:
    """Refuse what reads Q(s, a) of a network without it, and a loss that has no targets."""
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
    require(
        not weight or config.reanalyzer_simulations > 0,
        f"learner.action_value_coefficient: got {weight} with reanalyzer.search_simulations "
        f"{config.reanalyzer.search_simulations} and search.num_simulations "
        f"{config.search.num_simulations}, wanted 0 or simulations: action values are trained "
        "towards fresh searches",
    )
