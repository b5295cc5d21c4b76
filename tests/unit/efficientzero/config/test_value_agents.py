"""What an agent with action values can be combined with, in one line each."""

import dataclasses
import re

import pytest

from efficientzero.config import (
    ConfigError,
    has_action_values,
    load_preset,
    num_actions_in_slice,
    num_fresh_policies,
    validate,
)


def changed(preset="catch", **fields):
    """Return a preset with some fields changed, named ``section__field``."""
    config = load_preset(preset)
    for name, value in fields.items():
        section, _, field = name.partition("__")
        part = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: part})
    return config


Q = {"agent__value_function": "action"}
PURE = {
    **Q,
    "search__num_simulations": 0,
    "agent__num_unroll_steps": 0,
    "agent__value_prefix": False,
    "learner__consistency_coefficient": 0.0,
    "learner__policy_coefficient": 0.0,
    "actor__action_rule": "epsilon_greedy",
}
"""Q-learning without a search and without a model."""
DISTILLED = {"learner__action_value_coefficient": 0.5}

REFUSED = {
    "reanalyzer.value_bootstrap: got search with agent.value_function action, wanted network": {
        **Q,
        "reanalyzer__value_bootstrap": "search",
    },
    "reanalyzer.value_target: got search with agent.value_function action": {
        **Q,
        "reanalyzer__value_target": "search",
    },
    "reanalyzer.value_target: got mixed with agent.value_function action": {
        **Q,
        "reanalyzer__value_target": "mixed",
        "reanalyzer__mixed_start_train_steps": 0,
        "reanalyzer__mixed_fresh_env_steps": 0,
    },
    "agent.value_function: got state with search.num_simulations 0, wanted action": {
        **PURE,
        "agent__value_function": "state",
    },
    "search.algorithm: got gumbel with search.num_simulations 0, wanted puct": {
        **PURE,
        "search__algorithm": "gumbel",
    },
    "search.improved_policy: got completed_q with search.num_simulations 0, wanted algorithm": {
        **PURE,
        "search__improved_policy": "completed_q",
    },
    "actor.action_rule: got visits with search.num_simulations 0, wanted epsilon_greedy": {
        **PURE,
        "actor__action_rule": "visits",
    },
    "actor.action_rule: got auto with search.num_simulations 0, wanted epsilon_greedy": {
        **PURE,
        "actor__action_rule": "auto",
    },
    "replay.initial_priority: got value_error with search.num_simulations 0, wanted max": {
        **PURE,
        "replay__initial_priority": "value_error",
    },
    "reanalyzer.policy_reanalyze_ratio: got 0.5 with search.num_simulations 0, wanted 0": {
        **PURE,
        "learner__policy_coefficient": 1.0,
    },
    "agent.value_prefix: got true with agent.num_unroll_steps 0, wanted false": {
        **PURE,
        "agent__value_prefix": True,
    },
    "search.num_simulations: got 8 with agent.num_unroll_steps 0, wanted 0": {
        **PURE,
        "search__num_simulations": 8,
    },
    "evaluator.simulations: got 8 with agent.num_unroll_steps 0, wanted 0": {
        **PURE,
        "evaluator__simulations": 8,
    },
    "reanalyzer.search_simulations: got 8 with agent.num_unroll_steps 0, wanted 0": {
        **PURE,
        "reanalyzer__search_simulations": 8,
    },
    "learner.consistency_coefficient: got 2.0 with agent.num_unroll_steps 0, wanted 0": {
        **PURE,
        "learner__consistency_coefficient": 2.0,
    },
    "evaluator.epsilon: got 1.5, wanted 0 to 1": {"evaluator__epsilon": 1.5},
    "reanalyzer.value_bootstrap: got max_action_value with agent.value_function action, wanted "
    "network": {**Q, "reanalyzer__value_bootstrap": "max_action_value"},
    "reanalyzer.value_bootstrap: got max_action_value with agent.value_function state and "
    "learner.action_value_coefficient 0, wanted network or search": {
        "reanalyzer__value_bootstrap": "max_action_value"
    },
    "search.prior: got action_values with agent.value_function state and "
    "learner.action_value_coefficient 0, wanted policy: no network has Q(s, a)": {
        "search__prior": "action_values"
    },
    "learner.action_value_coefficient: got 0.5 with reanalyzer.policy_reanalyze_ratio 0.0, wanted "
    "0 or": {**DISTILLED, "reanalyzer__policy_reanalyze_ratio": 0.0},
    "learner.action_value_coefficient: got 0.5 with reanalyzer.search_simulations 0 and "
    "search.num_simulations 0, wanted 0 or simulations": {
        **DISTILLED,
        "search__num_simulations": 0,
        "actor__action_rule": "policy",
    },
    "reanalyzer.value_bootstrap: got search with search.num_simulations 0, wanted network": {
        **PURE,
        "agent__num_unroll_steps": 5,
        "search__prior": "action_values",
        "reanalyzer__value_bootstrap": "search",
    },
    "learner.action_value_coefficient: got -0.5, wanted 0 or more": {
        "learner__action_value_coefficient": -0.5
    },
    "learner.action_value_loss: got regression with learner.action_value_coefficient 0.5 with "
    "agent.value_function action, wanted softmax": {**Q, **DISTILLED},
    "network.action_value_hidden_size: got -1, wanted 0 or more": {
        "network__action_value_hidden_size": -1
    },
    "learner.value_coefficient: got 0 with agent.value_function action, wanted more": {
        **Q,
        "learner__value_coefficient": 0.0,
    },
    "actor.epsilon_end: got 0 with search.num_simulations 0, wanted more": {
        **PURE,
        "actor__epsilon_end": 0.0,
        "actor__epsilon_fraction": 0.0,
    },
    "learner.action_value_coefficient: got 0.5 with learner.value_prefix_coefficient 0, wanted 0": {
        **DISTILLED,
        "learner__value_prefix_coefficient": 0.0,
    },
    "reanalyzer.value_bootstrap: got search with learner.value_prefix_coefficient 0, wanted "
    "network": {
        "reanalyzer__value_bootstrap": "search",
        "learner__value_prefix_coefficient": 0.0,
    },
    "learner.average_for: got targets with learner.target_network local, wanted acting": {
        **PURE,
        "learner__target_network": "local",
        "learner__average_decay": 0.99,
        "learner__average_for": "targets",
    },
}


@pytest.mark.parametrize(("message", "fields"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_learned_is_refused(message, fields):
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        validate(changed(**fields))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_action_values_can_be_searched_with(algorithm):
    validate(changed(**Q, search__algorithm=algorithm))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"search__improved_policy": "softmax_q", "actor__action_rule": "policy"},
        {"actor__action_rule": "auto", "actor__random_action_share": 0.1},
        {"actor__epsilon_end": 0.0},
        {"actor__epsilon_start": 0.0},
        {"learner__average_decay": 0.99, "learner__average_for": "targets"},
        {"replay__initial_priority": "value_error", "replay__priority_exponent": 0.0},
        {"learner__policy_coefficient": 1.0, "reanalyzer__policy_reanalyze_ratio": 0.0},
        {"agent__num_unroll_steps": 5, "evaluator__simulations": 8},
        {"learner__target_network": "local"},
    ],
)
def test_q_learning_runs_without_a_search(fields):
    validate(changed(**{**PURE, **fields}))


def test_the_evaluator_searches_as_actors_do_unless_it_has_a_number():
    config = changed(evaluator__simulations=3)
    assert config.evaluator_simulations == 3
    assert changed().evaluator_simulations == config.search.num_simulations == 8


@pytest.mark.parametrize(
    "fields",
    [
        {**Q, "search__prior": "action_values"},
        {**Q, "search__prior": "action_values", "reanalyzer__value_bootstrap": "search"},
        {**Q, **DISTILLED, "learner__action_value_loss": "softmax"},
        {**DISTILLED, "search__prior": "action_values"},
        {**DISTILLED, "reanalyzer__value_bootstrap": "max_action_value"},
        {**DISTILLED, "learner__policy_coefficient": 0.0},
        {
            **DISTILLED,
            "search__num_simulations": 0,
            "search__improved_policy": "mellowmax",
            "reanalyzer__search_simulations": 8,
            "actor__action_rule": "policy",
        },
    ],
)
def test_searches_and_targets_can_read_action_values(fields):
    validate(changed(**fields))


def test_whatever_trains_or_reads_action_values_builds_the_head():
    for fields, wanted in (({}, False), (Q, True), (DISTILLED, True)):
        assert has_action_values(changed(**fields)) == wanted


def test_fresh_searches_are_made_if_either_loss_reads_them():
    for policy, action_value, wanted in ((1.0, 0.0, 4), (0.0, 0.5, 4), (0.0, 0.0, 0)):
        config = changed(
            learner__policy_coefficient=policy,
            learner__action_value_coefficient=action_value,
            reanalyzer__policy_reanalyze_ratio=0.5,
        )
        assert num_fresh_policies(config, 8) == wanted


def test_action_values_need_one_more_action_of_each_slice():
    numbers = [num_actions_in_slice(changed(**fields).agent) for fields in ({}, Q)]
    assert numbers == [5, 6]
