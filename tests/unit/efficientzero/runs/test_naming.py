"""Group and run names against names written by hand."""

import re

import pytest

from efficientzero.runs.naming import Treatment, group_name, run_name

DEFAULTS = {
    "env.id": "ALE/Pong-v5",
    "search.num_simulations": 50,
    "learner.learning_rate": 0.2,
    "learner.augmentation": True,
    "actor.weights_poll_seconds": 0.5,
    "reanalyzer.weights_poll_seconds": 0.5,
    "actor.temperatures": (1.0, 0.5, 0.25),
}
PRESETS = {"reference": DEFAULTS}
NOTHING: dict[str, dict] = {"reference": {}}


def test_no_difference_leaves_the_environment() -> None:
    assert group_name("ALE/Pong-v5", DEFAULTS, PRESETS) == "ALE-Pong-v5"


def test_the_environment_is_named_once() -> None:
    values = {**DEFAULTS, "env.id": "CartPole-v1"}
    assert group_name("CartPole-v1", values, PRESETS) == "CartPole-v1"


def test_differences_are_sorted_by_their_short_names() -> None:
    values = {**DEFAULTS, "search.num_simulations": 16, "learner.learning_rate": 0.1}
    expected = "ALE-Pong-v5_learning_rate=0.1_num_simulations=16"
    assert group_name("ALE/Pong-v5", values, PRESETS) == expected
    assert group_name("ALE/Pong-v5", dict(reversed(values.items())), PRESETS) == expected


def test_a_name_that_two_hyperparameters_share_keeps_its_parent() -> None:
    values = {**DEFAULTS, "actor.weights_poll_seconds": 2.0}
    assert group_name("Catch-v0", values, PRESETS) == "Catch-v0_actor.weights_poll_seconds=2"


def test_values_are_short_and_safe() -> None:
    values = {"a": 1e-5, "b": False, "c": (1.0, 0.5), "d": "mean_q", "e": 3e20}
    assert group_name("E", values, NOTHING) == "E_a=1e-05_b=false_c=1+0.5_d=mean-q_e=3e20"


def test_a_list_read_back_from_json_is_no_difference() -> None:
    values = {**DEFAULTS, "actor.temperatures": [1.0, 0.5, 0.25]}
    assert group_name("Catch-v0", values, PRESETS) == "Catch-v0"


def test_values_that_differ_in_the_seventh_digit_differ_in_name() -> None:
    first, second = (group_name("E", {"lr": lr}, NOTHING) for lr in (0.12345678, 0.12345679))
    assert first == "E_lr=0.12345678"
    assert first != second


def test_the_suffix_comes_last() -> None:
    values = {**DEFAULTS, "learner.augmentation": False}
    assert group_name("Catch-v0", values, PRESETS, "try_2") == "Catch-v0_augmentation=false_try_2"


def test_the_preset_with_the_fewest_differences_is_named_unless_it_is_the_first() -> None:
    presets = {"reference": {"a": 1, "b": 1, "c": 1}, "small": {"a": 2, "b": 2, "c": 1}}
    assert group_name("E", {"a": 1, "b": 1, "c": 9}, presets) == "E_c=9"
    assert group_name("E", {"a": 2, "b": 2, "c": 9}, presets) == "E_small_c=9"
    assert group_name("E", {"a": 2, "b": 1, "c": 1}, presets) == "E_a=2"


def test_a_long_name_is_cut_between_parts_and_made_unique_by_a_digest() -> None:
    many = {f"key_number_{i}": i for i in range(20)}
    first = group_name("E", many, NOTHING, "suffix")
    second = group_name("E", {**many, "key_number_19": 20}, NOTHING, "suffix")
    assert len(first) <= 106
    assert re.fullmatch(r"E(_key_number_\d+=\d+){5}_15-more_suffix_[0-9a-f]{12}", first)
    assert first[:-12] == second[:-12]
    assert first != second


MANY = {f"section.field_number_{i:02}": 2 for i in range(12)}
FEW = {"section.learning_rate": 0.123456789, "section.long_name_of_it": 12345678, "a.b_c": True}


def test_a_long_name_has_the_treatment_first_then_the_most_important_fields() -> None:
    important = sorted(MANY, reverse=True)
    named = group_name("E", MANY, NOTHING, importance=important)
    assert named.startswith("E_field_number_11=2_field_number_10=2_field_number_09=2_")
    treated = Treatment(varied=["section.field_number_00", "section.field_number_05"])
    other = group_name("E", MANY, NOTHING, importance=important, treatment=treated)
    assert other.startswith("E_field_number_00=2_field_number_05=2_field_number_11=2_")
    assert "_8-more_" in named
    assert named[-12:] == other[-12:]  # the digest is the experiment's


def test_a_long_name_has_the_treatment_even_where_it_is_the_presets() -> None:
    presets = {"reference": {"section.field_number_05": 2}}
    treated = Treatment(varied=["section.field_number_05"])
    assert "field_number_05" not in group_name("E", MANY, presets)
    assert group_name("E", MANY, presets, treatment=treated).startswith("E_field_number_05=2_")


def test_a_long_name_has_the_arm_where_the_treatment_does_not_fit() -> None:
    presets = {"reference": dict.fromkeys(MANY, 2)}
    values = {**MANY, "section.field_number_03": 0, **{f"other.n{i:02}": 9 for i in range(30)}}
    treated = Treatment(arm="no_third", ablated=list(MANY))
    name = group_name("E", values, presets, treatment=treated)
    assert name.startswith("E_arm=no_third_field_number_03=0_n00=9_")


def test_a_part_that_does_not_fit_hides_no_shorter_one_after_it() -> None:
    values = {f"a.word{i}_of_it": "x" * 40 for i in range(3)} | {"b.learning_rate": 0.1}
    treated = Treatment(arm="no_third", varied=list(values))
    name = group_name("Catch-v0", {**MANY, **values}, NOTHING, treatment=treated)
    assert "_lr=0.1_" in name
    assert "_arm=no_thir_" in name
    assert re.search(r"_14-more_[0-9a-f]{12}$", name), name


def test_preset_environment_and_suffix_give_way_to_what_is_varied() -> None:
    presets = {"reference": {}, "a_preset": dict.fromkeys(MANY, 2)}
    values = {**MANY, **{f"s.part_{c}_word": "y" * 12 for c in "abcd"}}
    treated = Treatment(varied=list(values)[-4:])
    env, suffix = "ALE/MontezumaRevenge-v5", "first_try_of_mine"
    name = group_name(env, values, presets, suffix, treatment=treated)
    varied = "_".join(f"p{c}w={'y' * 12}" for c in "abcd")
    assert name[:-12] == f"Montez.._{varied}_first_.._"


def test_a_long_name_has_shorter_names_and_rounded_values_before_it_is_cut() -> None:
    name = group_name("E" * 56, FEW, NOTHING)
    assert name[56:-12] == "_learning=0.123_long=1.23e7_b=true_"


def test_a_value_is_not_rounded_to_the_presets() -> None:
    presets = {"reference": {"section.learning_rate": 0.123}}
    name = group_name("E" * 50, FEW, presets)
    assert name[50:-12] == "_learning=0.123456789_long=1.23e7_b=true_"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ALE/Pong-v5", {}, ""), ("ALE-Pong-v5", {}, "")),
        (("my:Env-v0", {}, ""), ("my-Env-v0", {}, "")),
        (("E", {"a": 1}, ""), ("E", {}, "a=1")),
        (("E", {}, "x/y"), ("E", {}, "x-y")),
        (("E", {}, "x"), ("E_x", {}, "")),
        (("E", {}, "s3"), ("E_s3", {}, "")),
        (("E", {"a": 0.1 + 0.2}, ""), ("E", {"a": 0.3}, "")),
        (("E", {"a": ()}, ""), ("E", {}, "")),
        (("E", {"a": "x_b=2"}, ""), ("E", {"a": "x", "b": 2}, "")),
        (("E", {}, "small"), ("E", {"p": 1, "q": 1}, "")),
    ],
)
def test_names_that_read_alike_stay_different(one: tuple, other: tuple) -> None:
    presets = {"reference": {}, "small": {"p": 1, "q": 1}}
    names = [group_name(env, values, presets, suffix) for env, values, suffix in (one, other)]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"[A-Za-z0-9._=+-]{1,106}", name) for name in names)


def test_a_suffix_that_is_another_names_digest_stays_different() -> None:
    digested = group_name("E", {}, NOTHING, "x/y")
    assert group_name("E", {}, NOTHING, digested.removeprefix("E_")) != digested


def test_whole_numbers_and_their_floats_are_the_same_value() -> None:
    names = {group_name("E", {"a": value}, NOTHING) for value in (1, 1.0, 1e0)}
    assert names == {"E_a=1"}
    assert group_name("E", {"a": -0.0}, {"reference": {"a": 0}}) == "E"


def test_a_suffix_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="got 41 characters, wanted at most 40"):
        group_name("E", {}, NOTHING, "x" * 41)


def test_a_run_is_named_after_its_group_and_seed() -> None:
    assert run_name("ALE-Pong-v5_lr=0.1", 3) == "ALE-Pong-v5_lr=0.1_s3"
