"""Configs: presets, round trip, and what bad ones say."""

import dataclasses
import math
import re
from functools import reduce

import pytest

from efficientzero.config.fields import BudgetConfig, Config
from efficientzero.config.files import (
    ConfigError,
    config_from_dict,
    config_hash,
    config_to_dict,
    flatten,
)
from efficientzero.config.preset_files import PRESETS, load_preset
from efficientzero.config.validation import validate


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_survives_a_round_trip(name):
    config = load_preset(name)
    validate(config)
    assert config_from_dict(config_to_dict(config)) == config


def test_the_reference_preset_is_the_defaults():
    assert load_preset("atari100k") == Config()


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"search\.num_sims.*did you mean 'search.num_simulations'"
    ):
        config_from_dict({"search": {"num_sims": 3}})


def test_a_wrong_type_names_the_field():
    with pytest.raises(ConfigError, match=r"search\.num_simulations: got 'many'"):
        config_from_dict({"search": {"num_simulations": "many"}})


def test_a_removed_field_counts_with_the_value_that_runs_have_by_now_and_says_why_it_went():
    assert config_from_dict({"replay": {"num_shards": 1}}) == Config()
    for value in (2, 0, True, "1"):
        with pytest.raises(ConfigError) as error:
            config_from_dict({"replay": {"num_shards": value}})
        assert str(error.value) == (
            f"replay.num_shards: got {value!r}, wanted 1 or no such field: several replay services "
            "were removed, because one takes 64,000 env_steps/s"
        )
    # An argument of the user's environment may have any name.
    kwargs = config_from_dict({"env": {"kwargs": {"num_shards": 2}}}).env.kwargs
    assert kwargs == {"num_shards": 2}


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'cartpole'"):
        load_preset("cartpol")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"agent": {"value_prefix_horizon": 6}}, "agent.value_prefix_horizon: got 6"),
        ({"actor": {"temperatures": [1.0]}}, "wanted one more"),
        ({"budget": {"warmup_env_steps": 100_000}}, "budget.warmup_env_steps: got 100000"),
        (
            {"budget": {"schedule_train_steps": 99_999}},
            "budget.schedule_train_steps: got 99999, wanted 0 or at least budget.train_steps",
        ),
        ({"budget": {"max_env_steps_ahead": 1}}, "wanted at least cluster.num_actors"),
        ({"learner": {"batch_size": 0}}, "learner.batch_size: got 0, wanted at least 1"),
        (
            {"learner": {"batch_size": 250, "num_devices": 4}},
            r"learner.batch_size: got 250, wanted a multiple of learner.num_devices \(4\)",
        ),
        (
            {"learner": {"num_devices": 2}, "cluster": {"deterministic": True}},
            "learner.num_devices: got 2, wanted 1 with cluster.deterministic",
        ),
        (
            {"learner": {"trust_coefficient": 0.0}},
            "learner.trust_coefficient: got 0.0, wanted more than 0",
        ),
        ({"agent": {"discount": 1.5}}, "agent.discount: got 1.5"),
        (
            {
                "learner": {
                    f"{part}_coefficient": 0.0
                    for part in ("policy", "value", "value_prefix", "consistency")
                }
            },
            "learner: got 0 for all coefficients",
        ),
        ({"seed": -1}, "seed: got -1"),
        (
            {"replay": {"priority_refresh_share": 0.5, "priority_exponent": 0.0}},
            "replay.priority_refresh_share: got 0.5 with replay.priority_exponent 0, wanted 0",
        ),
        (
            {"replay": {"priority_refresh_share": 0.003}},
            r"replay.priority_refresh_share: got 0.003, wanted 0 or at least .* \(0.00391\)",
        ),
        (
            {
                "replay": {"priority_refresh_share": 0.5},
                "budget": {"env_steps": 2**24 + 1},
            },
            "budget.env_steps: got 16777217 with replay.priority_refresh_share, wanted at most",
        ),
        (
            {"replay": {"priority_refresh_share": 0.5}, "cluster": {"deterministic": True}},
            "replay.priority_refresh_share: got 0.5, wanted 0 with cluster.deterministic",
        ),
        (
            {"learner": {"max_batch_staleness": 205}},
            r"learner.max_batch_staleness: got 205, wanted 0 or at least 207",
        ),
        (
            {"learner": {"consistency": "nce", "batch_size": 1}},
            "learner.consistency: got nce with learner.batch_size 1 and agent.num_unroll_steps 5, "
            "wanted at least 8 predictions",
        ),
        (
            {
                "learner": {
                    **{
                        f"{part}_coefficient": 0.0
                        for part in ("policy", "value", "value_prefix", "consistency")
                    },
                    "reconstruction_coefficient": 1.0,
                    "reconstruction_train_steps": 500,
                }
            },
            "learner.reconstruction_train_steps: got 500 with 0 for all other coefficients",
        ),
        ({"learner": {"momentum_tau": 1.5}}, "learner.momentum_tau: got 1.5, wanted 0 to 1"),
        ({"learner": {"momentum_tau": 1.0}}, "learner.momentum_tau: got 1.0, wanted .* less than"),
        (
            {"learner": {"nce_temperature": float("inf")}},
            "learner.nce_temperature: got inf, wanted a finite number",
        ),
        ({"learner": {"consistency": "SPR"}}, "learner.consistency: got 'SPR', wanted"),
        ({"replay": {"capacity": 10}}, "replay.capacity: got 10"),
        (
            {"network": {"support_bins": 51, "categorical_values": False}},
            "network.support_bins: got 51 with network.categorical_values off, wanted 0",
        ),
        ({"network": {"support_bins": 1}}, "network.support_bins: got 1, wanted 0 or at least 2"),
        (
            {"learner": {"huber_delta": 1.0}},
            "learner.huber_delta: got 1.0 with network.categorical_values on, wanted 0",
        ),
        (
            {"search": {"algorithm": "gumbel"}, "compat": {"random_first_child": True}},
            "search.algorithm: got gumbel with compat",
        ),
    ],
)
def test_joint_conditions_say_what_was_got_and_wanted(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(config_from_dict(values))


NUMBERS = [
    key
    for key, value in flatten(config_to_dict(Config())).items()
    if isinstance(value, int | float) and not isinstance(value, bool)
]


@pytest.mark.parametrize("value", [-1, math.nan])
def test_every_number_has_a_range(value):
    for key in NUMBERS:
        *parts, name = key.split(".")
        config = Config()
        object.__setattr__(reduce(getattr, parts, config), name, value)
        with pytest.raises(ConfigError, match=f"^{re.escape(key)}: got {value}, wanted"):
            validate(config)


def test_hash_ignores_seed_and_processes_but_sees_hyperparameters():
    base = Config()
    assert config_hash(dataclasses.replace(base, seed=5)) == config_hash(base)
    more_actors = dataclasses.replace(base.cluster, num_actors=8)
    assert config_hash(dataclasses.replace(base, cluster=more_actors)) == config_hash(base)
    assert config_hash(
        dataclasses.replace(base, budget=BudgetConfig(env_steps=5_000))
    ) != config_hash(base)


MINATAR_OF_OLDER_RUNS = {
    "budget": {"train_steps": 4_000, "last_train_steps": 400},
    "agent": {"td_steps": 10},
    "network": {
        "trunk": "auto",
        "reduced_channels": 4,
        "mlp_latent_size": 64,
        "mlp_hidden_size": 128,
    },
    "search": {"root_policy_temperature": 1.0, "gumbel_q_range": "node"},
    "actor": {"random_action_share": 0.0, "random_action_repeat": False},
    "replay": {"frames_per_block": 8},
    "reanalyzer": {"policy_reanalyze_ratio": 0.25},
    "learner": {
        "learning_rate": 0.003,
        "lr_decay_steps": 3_500,
        "value_coefficient": 0.25,
        "publish_interval": 25,
        "target_interval": 50,
    },
    "evaluator": {"interval_train_steps": 500},
}
"""The preset with which runs were made before env.action_repeat, where it has changed since."""


def test_a_field_added_later_leaves_the_hash_of_older_runs_as_it_was():
    preset = load_preset("minatar")
    older = {
        section: dataclasses.replace(getattr(preset, section), **values)
        for section, values in MINATAR_OF_OLDER_RUNS.items()
    }
    assert config_hash(dataclasses.replace(preset, **older)) == "54575ba6cf54"
    recomputed = dataclasses.replace(preset.compat, recomputed_bounds=True)
    assert config_hash(dataclasses.replace(preset, compat=recomputed)) != config_hash(preset)
    repeated = dataclasses.replace(preset.env, action_repeat=2)
    assert config_hash(dataclasses.replace(preset, env=repeated)) != config_hash(preset)


def test_the_muzero_preset_differs_by_what_efficientzero_added_and_nothing_else():
    muzero, reference = (
        flatten(config_to_dict(load_preset(name))) for name in ("muzero", "atari100k")
    )
    assert {key: muzero[key] for key in muzero if muzero[key] != reference[key]} == {
        "preset": "muzero",
        "agent.value_prefix": False,
        "search.unvisited_q": "zero",
        "reanalyzer.policy_reanalyze_ratio": 0.8,
        "reanalyzer.off_policy_correction": False,
        "learner.consistency_coefficient": 0.0,
        "learner.augmentation": False,
    }
