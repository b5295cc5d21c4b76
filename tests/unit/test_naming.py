"""Group and run names against names written by hand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efficientzero.naming import group_name, run_name

DEFAULTS = {
    "env.id": "ALE/Pong-v5",
    "search.num_simulations": 50,
    "learner.learning_rate": 0.2,
    "learner.augmentation": True,
    "actor.weights_poll_seconds": 0.5,
    "reanalyzer.weights_poll_seconds": 0.5,
    "actor.temperatures": (1.0, 0.5, 0.25),
}


def test_no_difference_leaves_the_environment() -> None:
    assert group_name("ALE/Pong-v5", DEFAULTS, DEFAULTS) == "ALE-Pong-v5"


def test_the_environment_is_named_once() -> None:
    values = {**DEFAULTS, "env.id": "CartPole-v1"}
    assert group_name("CartPole-v1", values, DEFAULTS) == "CartPole-v1"


def test_differences_are_sorted_by_their_short_names() -> None:
    values = {**DEFAULTS, "search.num_simulations": 16, "learner.learning_rate": 0.1}
    expected = "ALE-Pong-v5_learning_rate=0.1_num_simulations=16"
    assert group_name("ALE/Pong-v5", values, DEFAULTS) == expected
    assert group_name("ALE/Pong-v5", dict(reversed(values.items())), DEFAULTS) == expected


def test_a_name_that_two_hyperparameters_share_keeps_its_parent() -> None:
    values = {**DEFAULTS, "actor.weights_poll_seconds": 2.0}
    assert group_name("Catch-v0", values, DEFAULTS) == "Catch-v0_actor.weights_poll_seconds=2"


def test_values_are_short_and_safe() -> None:
    values = {"a": 1e-5, "b": False, "c": (1.0, 0.5), "d": "x/y z"}
    assert group_name("E", values, {}) == "E_a=1e-05_b=false_c=1+0.5_d=x-y-z"


def test_a_list_read_back_from_json_is_no_difference() -> None:
    values = {**DEFAULTS, "actor.temperatures": [1.0, 0.5, 0.25]}
    assert group_name("Catch-v0", values, DEFAULTS) == "Catch-v0"


def test_values_that_differ_in_the_seventh_digit_differ_in_name() -> None:
    first, second = (group_name("E", {"lr": lr}, {"lr": 0.2}) for lr in (0.12345678, 0.12345679))
    assert first == "E_lr=0.12345678"
    assert first != second


def test_the_suffix_comes_last() -> None:
    values = {**DEFAULTS, "learner.augmentation": False}
    assert group_name("Catch-v0", values, DEFAULTS, "try 2") == "Catch-v0_augmentation=false_try-2"


def test_a_long_name_is_cut_and_told_apart_by_a_hash() -> None:
    first = group_name("E", {f"key_number_{i}": i for i in range(20)}, {}, "suffix")
    second = group_name("E", {f"key_number_{i}": i + (i == 19) for i in range(20)}, {}, "suffix")
    assert len(first) <= 112
    assert re.fullmatch(r"E_key_number_0=0_.*_suffix_[0-9a-f]{8}", first)
    assert first[:-8] == second[:-8]
    assert first != second


def test_a_suffix_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="got 41 characters, wanted at most 40"):
        group_name("E", {}, {}, "x" * 41)


@given(
    env_id=st.text(min_size=1, max_size=200),
    values=st.dictionaries(
        st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12}){0,2}", fullmatch=True),
        st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(max_size=30)),
        max_size=12,
    ),
    suffix=st.text(max_size=40),
)
def test_any_name_is_short_and_fits_a_url(env_id: str, values: dict, suffix: str) -> None:
    name = group_name(env_id, values, {}, suffix)
    assert re.fullmatch(r"[A-Za-z0-9._=+-]{1,112}", name)


def test_a_run_is_named_after_its_group_and_seed() -> None:
    assert run_name("ALE-Pong-v5_lr=0.1", 3) == "ALE-Pong-v5_lr=0.1_s3"
