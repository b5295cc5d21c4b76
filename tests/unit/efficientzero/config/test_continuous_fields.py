"""What does not fit continuous actions is refused in one line."""

import pytest

from deploy.launching.plan import choose_preset
from efficientzero.config import ConfigError, load_preset, validate
from tests.support.cases.config_cases import changed
from tests.support.cases.continuous_cases import agent, spec_of
from tests.support.cases.replay_cases import VECTORS

Q_HEAD = {"agent.value_function": "action"}
NO_SEARCH = {
    **Q_HEAD,
    "search.num_simulations": 0,
    "search.algorithm": "puct",
    "actor.action_rule": "epsilon_greedy",
    "learner.policy_coefficient": 0.0,
}
FOR = "for continuous, whose actions are continuous, wanted"
REFUSED = [
    (NO_SEARCH, "search.num_simulations: got 0"),
    ({"search.sampled_inner_actions": 7}, "search.sampled_inner_actions: got 7"),
    ({"search.algorithm": "puct"}, "search.algorithm: got puct"),
    (
        {"search.gumbel_max_considered_actions": 7},
        "search.gumbel_max_considered_actions: got 7",
    ),
    (
        {"search.gumbel_max_considered_actions": 3},
        "search.gumbel_max_considered_actions: got 3",
    ),
    ({"search.sampled_wide_factor": 0.5}, "search.sampled_wide_factor: got 0.5"),
    ({"search.root_policy_temperature": 1.5}, "search.root_policy_temperature: got 1.5"),
    ({"actor.random_action_share": 0.1}, "actor.random_action_share: got 0.1"),
    ({"actor.action_rule": "epsilon_greedy"}, "actor.action_rule: got epsilon_greedy"),
    ({"evaluator.epsilon": 0.1}, "evaluator.epsilon: got 0.1"),
    (Q_HEAD, "agent.value_function: got action"),
    ({"learner.action_value_coefficient": 1.0}, "learner.action_value_coefficient: got 1.0"),
    (
        {"agent.value_distribution": "categorical", "learner.target_network": "local"},
        "agent.value_distribution: got categorical",
    ),
    (
        {"reanalyzer.value_target": "v_trace"},
        "reanalyzer.value_target: got v_trace",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_what_needs_a_list_of_actions_is_refused(fields, message):
    config = changed(agent(), fields)
    with pytest.raises(ConfigError, match=rf"^{message} {FOR}"):
        validate(config, spec_of(2))


def test_puct_may_search_where_no_slot_is_spare():
    fields = {"search.algorithm": "puct", "search.sampled_inner_actions": 6}
    validate(changed(agent(), fields), spec_of(1))


def test_compat_searches_are_for_discrete_actions():
    fields = {
        "search.algorithm": "puct",
        "search.sampled_inner_actions": 6,
        "compat.random_first_child": True,
    }
    with pytest.raises(ConfigError, match=r"compat\.random_first_child: got True"):
        validate(changed(agent(), fields), spec_of(1))


def test_discrete_environments_ignore_the_fields():
    fields = {"search.sampled_inner_actions": 99, "search.sampled_wide_factor": 0.5}
    validate(changed(load_preset("cartpole"), fields), VECTORS)


@pytest.mark.parametrize(
    ("env_id", "preset"),
    [
        ("Pendulum-v1", "pendulum"),
        ("LunarLanderContinuous-v3", "lunarlander-continuous"),
        ("InvertedPendulum-v5", "control"),
        ("Hopper-v4", "control"),
    ],
)
def test_tasks_of_gymnasium_have_a_preset(env_id, preset):
    assert choose_preset(["--local", "--env", env_id]).preset == preset
