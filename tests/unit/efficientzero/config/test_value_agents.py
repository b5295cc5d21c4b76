"""What an agent with action values can be combined with, in one line each."""

import dataclasses
import re

import pytest

from efficientzero.config import ConfigError, load_preset, num_actions_in_slice, validate


def changed(preset="catch", **fields):
    """Return a preset with some fields changed, named ``section__field``."""
    config = load_preset(preset)
    for name, value in fields.items():
        section, _, field = name.partition("__")
        part = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: part})
    return config


Q = {"agent__value_function": "action"}

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
    "network.action_value_hidden_size: got -1, wanted 0 or more": {
        "network__action_value_hidden_size": -1
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


def test_action_values_need_one_more_action_of_each_slice():
    numbers = [num_actions_in_slice(changed(**fields).agent) for fields in ({}, Q)]
    assert numbers == [5, 6]
