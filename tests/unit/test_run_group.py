"""The group of whole configs: equal if and only if the experiments are."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from deploy.prepare import run_group
from efficientzero.config import Config
from efficientzero.config_files import PRESETS, config_to_dict, load_preset
from efficientzero.naming import run_name
from tests.config_cases import CHANGES, FIELDS, changed, values_of

# Written out a second time, by hand: all that differs in these is the same experiment.
CANNOT_CHANGE_RESULTS = {
    "seed",
    "preset",
    "search.num_threads",
    "search.inference_backend",
    "actor.pipeline",
    "learner.num_devices",
    "learner.compile",
    "learner.log_interval",
    "learner.checkpoint_interval",
    "learner.checkpoints_kept",
    "tracking.mode",
    "tracking.entity",
    "tracking.project",
    "cluster.deterministic",
    "cluster.evaluator",
    "cluster.bind_host",
    "cluster.replay_host",
    "cluster.replay_port",
    "cluster.learner_port",
    "cluster.device",
    "cluster.max_restarts",
    "cluster.threads_per_process",
    "cluster.metrics_interval_seconds",
    "cluster.env_check_seconds",
}


def experiment(config: Config) -> dict:
    """Return what makes the experiment, by the list above."""
    flat = {}

    def walk(value, prefix):
        for key, inner in value.items():
            if isinstance(inner, dict):
                walk(inner, f"{prefix}{key}.")
            elif prefix + key not in CANNOT_CHANGE_RESULTS:
                flat[prefix + key] = inner

    walk(config_to_dict(config), "")
    return flat


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(preset=st.sampled_from(PRESETS), first=CHANGES, second=CHANGES, start_alike=st.booleans())
def test_groups_are_equal_if_and_only_if_the_experiments_are(preset, first, second, start_alike):
    one = changed(load_preset(preset), first)
    other = changed(one if start_alike else load_preset(preset), second)
    groups = run_group(one), run_group(other)
    assert (groups[0] == groups[1]) == (experiment(one) == experiment(other))
    for config, group in zip((one, other), groups, strict=True):
        # wandb: 128 characters, and what fits a path of a URL.
        assert re.fullmatch(r"[A-Za-z0-9._=+-]{1,128}", run_name(group, config.seed))


@settings(max_examples=100, deadline=None)
@given(
    changes=CHANGES,
    same=st.sampled_from(sorted(CANNOT_CHANGE_RESULTS)).flatmap(
        lambda key: st.tuples(st.just(key), values_of(FIELDS[key], key))
    ),
)
def test_what_cannot_change_results_does_not_change_the_group(changes, same):
    config = changed(Config(), changes)
    assert run_group(changed(config, dict([same]))) == run_group(config)


@settings(max_examples=100, deadline=None)
@given(
    key=st.sampled_from(sorted(FIELDS.keys() - CANNOT_CHANGE_RESULTS)).flatmap(
        lambda key: st.tuples(st.just(key), values_of(FIELDS[key], key))
    )
)
def test_a_single_difference_from_the_defaults_is_named_with_its_value(key):
    name, value = key
    config = changed(Config(), dict([key]))
    group = run_group(config)
    if name in ("env.id", "tracking.group_suffix") or config == Config():
        return
    leaf = name.rpartition(".")[2]
    pattern = rf"ALE-Pong-v5_(?:[a-z]+\.)?{leaf}=\S+" + r"|ALE-Pong-v5_[0-9a-f]{12}"
    assert re.fullmatch(pattern, group), (key, group)
    assert value is not None


def test_numbers_of_actors_and_reanalyzers_are_named():
    counts = {"cluster.num_actors": 8, "cluster.num_reanalyzers": 2}
    config = changed(load_preset("catch"), counts)
    assert run_group(config) == "Catch-v0_catch_num_actors=8_num_reanalyzers=2"


def test_a_field_name_that_two_parts_share_keeps_its_part():
    config = changed(Config(), {"learner.precision": "float32"})
    assert run_group(config) == "ALE-Pong-v5_learner.precision=float32"


def test_environments_that_differ_in_a_replaced_character_are_told_apart():
    groups = [run_group(changed(Config(), {"env.id": env})) for env in ("my:E-v0", "my-E-v0")]
    assert groups[1] == "my-E-v0"
    assert re.fullmatch(r"my-E-v0_[0-9a-f]{12}", groups[0])
