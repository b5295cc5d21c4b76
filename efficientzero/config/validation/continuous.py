"""What does not fit continuous actions: called by ``validate`` once the environment is known."""

from __future__ import annotations

from efficientzero.config.derived import has_action_values
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require
from efficientzero.schema import EnvSpec

_START = "start from --preset control, or pendulum where it is small"


def check_continuous(config: Config, spec: EnvSpec) -> None:
    """Refuse what needs a list of actions where there is none.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    if spec.action_kind != "continuous":
        return
    wanted = f"for {spec.env_id}, whose actions are continuous, wanted"
    search = config.search
    require(
        search.num_simulations > 0,
        f"search.num_simulations: got 0 {wanted} 1 or more: without a search nothing chooses "
        "between actions",
    )
    require(
        search.sampled_inner_actions <= search.sampled_actions,
        f"search.sampled_inner_actions: got {search.sampled_inner_actions} {wanted} at most "
        f"search.sampled_actions ({search.sampled_actions})",
    )
    require(
        search.algorithm == "gumbel" or search.sampled_inner_actions == search.sampled_actions,
        f"search.algorithm: got {search.algorithm} {wanted} gumbel, or "
        "search.sampled_inner_actions equal to search.sampled_actions: pUCT would visit slots "
        f"without an action; {_START}",
    )
    considered, drawn = search.gumbel_max_considered_actions, search.sampled_actions
    require(
        search.algorithm != "gumbel" or considered <= drawn,
        f"search.gumbel_max_considered_actions: got {considered} {wanted} at most "
        f"search.sampled_actions ({drawn})",
    )
    are_alike = search.sampled_prior == "uniform" and not search.sampled_gumbel_noise
    require(
        search.algorithm != "gumbel" or considered == drawn or not are_alike,
        f"search.gumbel_max_considered_actions: got {considered} {wanted} "
        f"search.sampled_actions ({drawn}), search.sampled_prior corrected or "
        "search.sampled_gumbel_noise: all drawn actions are alike, so the last ones would never "
        "be tried",
    )
    require(
        search.sampled_wide_factor >= 1.0,
        f"search.sampled_wide_factor: got {search.sampled_wide_factor} {wanted} 1 or more",
    )
    _check_agent(config, wanted)
    others = {
        "search.root_policy_temperature": (search.root_policy_temperature, 1.0),
        "actor.random_action_share": (config.actor.random_action_share, 0.0),
        "evaluator.epsilon": (config.evaluator.epsilon, 0.0),
        "compat.root_visit_without_value": (config.compat.root_visit_without_value, False),
        "compat.random_first_child": (config.compat.random_first_child, False),
        "compat.recomputed_bounds": (config.compat.recomputed_bounds, False),
        "compat.stale_prefix_bounds": (config.compat.stale_prefix_bounds, False),
    }
    for key, (got, needed) in others.items():
        require(got == needed, f"{key}: got {got} {wanted} {needed}: it is for discrete actions")


def _check_agent(config: Config, wanted: str) -> None:
    """Refuse Q(s, a) of every action, and probabilities of actions."""
    agent, target = config.agent, config.reanalyzer.value_target
    if has_action_values(config):
        by_value = agent.value_function == "action"
        key = "agent.value_function" if by_value else "learner.action_value_coefficient"
        got = "action" if by_value else config.learner.action_value_coefficient
        needed = "state" if by_value else "0"
        require(False, f"{key}: got {got} {wanted} {needed}: no head has Q(s, a) of every action")
    require(
        agent.value_distribution == "two_hot",
        f"agent.value_distribution: got {agent.value_distribution} {wanted} two_hot: C51 is for "
        "discrete actions",
    )
    require(
        target != "v_trace",
        f"reanalyzer.value_target: got v_trace {wanted} td: it compares probabilities of actions",
    )
    require(
        config.actor.action_rule != "epsilon_greedy",
        f"actor.action_rule: got epsilon_greedy {wanted} auto: a search's own draws explore",
    )
