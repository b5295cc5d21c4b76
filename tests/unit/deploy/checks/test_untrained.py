"""What searches would plan with untrained is said at the start, and only then."""

import pytest

from deploy.checks import search_notes
from efficientzero.config import load_preset, validate
from tests.support.cases.config_cases import changed

NO_REWARDS = {"learner.value_prefix_coefficient": 0.0}
NO_SEARCH = {
    **NO_REWARDS,
    "agent.value_function": "action",
    "search.num_simulations": 0,
    "actor.action_rule": "epsilon_greedy",
    "learner.policy_coefficient": 0.0,
}
NO_VALUES = {"learner.value_coefficient": 0.0}
SHORT = {"agent.auxiliary_discounts": (0.8,), "search.planning_horizon": 1}


@pytest.mark.parametrize(
    ("preset", "fields", "named"),
    [
        ("catch", {}, []),
        ("catch-q", {}, []),
        ("catch", NO_SEARCH, []),
        ("catch", NO_REWARDS, ["value_prefix_coefficient"]),
        ("catch", {**NO_SEARCH, "evaluator.simulations": 8}, ["value_prefix_coefficient"]),
        ("catch", {**NO_SEARCH, "reanalyzer.search_simulations": 8}, ["value_prefix_coefficient"]),
        ("catch", NO_VALUES, ["value_coefficient"]),
        ("catch", {**NO_VALUES, **SHORT}, []),
        ("catch", {**NO_VALUES, **NO_REWARDS}, ["value_prefix_coefficient", "value_coefficient"]),
    ],
)
def test_each_untrained_part_of_a_search_is_one_line(preset, fields, named):
    config = changed(load_preset(preset), fields)
    validate(config)
    notes = search_notes(config)
    assert [text.split(" is 0")[0] for _, text in notes] == [
        f"WARNING learner.{name}" for name in named
    ]
    assert all(name == "search" and "\n" not in text for name, text in notes)
