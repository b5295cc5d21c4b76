"""When the alarm of a collapse speaks: against hand-made rows, real ones, and a slow second one."""

import csv
from pathlib import Path

import numpy as np
import pytest

from efficientzero.config import load_preset
from learner.training.collapse import CollapseAlarm
from tests.reference.reference_collapse import first_alarms
from tests.support.cases.config_cases import changed

CATCH = load_preset("catch")
HEALTHY_CATCH = Path(__file__).parent / "healthy_catch_rows.csv"
GOOD = {
    "policy_entropy_share": 0.6,
    "policy_error_k0": 0.1,
    "value_std_ratio": 0.9,
    "target_value_std": 0.5,
    "latent_rank": 12.0,
    "dormant_share": 0.1,
}
BAD = {
    "policy": {"policy_entropy_share": 0.0199, "policy_error_k0": 0.501},
    "value": {"value_std_ratio": 0.0499, "target_value_std": 0.0011},
    "latent": {"latent_rank": 1.49},
    "units": {"dormant_share": 0.91},
}
ALMOST_BAD = [
    {"policy_entropy_share": 0.02, "policy_error_k0": 5.0},
    {"policy_entropy_share": 0.0, "policy_error_k0": 0.5},  # sure, and right to be
    {"value_std_ratio": 0.05},
    {"value_std_ratio": 0.0, "target_value_std": 0.001},  # there is nothing to tell apart
    {"latent_rank": 1.5},
    {"dormant_share": 0.9},
]


def row(number, values, *, interval=100):
    named = {f"learner/{name}": value for name, value in {**GOOD, **values}.items()}
    return {"learner/train_steps": number * interval, **named}


def alarms_of(rows, config=CATCH):
    """Return (number of the row, counted from 1; kind) of each alarm."""
    alarm = CollapseAlarm(config)
    return [
        (number, found.kind) for number, each in enumerate(rows, 1) for found in alarm.add(each)
    ]


@pytest.mark.parametrize("kind", BAD)
def test_rows_that_are_bad_from_the_start_are_noticed_at_the_30th_and_only_once(kind):
    rows = [row(number, BAD[kind]) for number in range(1, 80)]
    assert alarms_of(rows[:29]) == []
    assert alarms_of(rows) == [(30, kind)]


@pytest.mark.parametrize("kind", BAD)
def test_one_good_row_starts_the_count_again(kind):
    bad = [BAD[kind]] * 9
    rows = [row(i, values) for i, values in enumerate([*[{}] * 40, *bad, {}, *bad, {}, *bad], 1)]
    assert alarms_of(rows) == []
    assert alarms_of([*rows, row(100, BAD[kind])]) == [(len(rows) + 1, kind)]


@pytest.mark.parametrize("values", ALMOST_BAD)
def test_a_limit_itself_is_healthy(values):
    assert alarms_of([row(number, values) for number in range(1, 80)]) == []


def test_a_metric_that_a_row_lacks_is_no_symptom():
    rows = [{"learner/train_steps": 100 * number} for number in range(1, 80)]
    assert alarms_of(rows) == []
    partly = [row(number, BAD["value"]) for number in range(1, 80)]
    for each in partly:
        del each["learner/target_value_std"]
    assert alarms_of(partly) == []


def test_rows_close_together_do_not_shorten_the_start():
    rows = [row(number, BAD["value"], interval=10) for number in range(1, 200)]
    # The first that counts is of train_step 1,010: row 101.
    assert alarms_of(rows) == [(110, "value")]


def test_no_row_counts_in_the_warm_up_of_the_learning_rate():
    fields = {"learner.lr_warmup_fraction": 0.5, "budget.train_steps": 10_000}
    rows = [row(number, BAD["latent"]) for number in range(1, 100)]
    assert alarms_of(rows, changed(CATCH, fields)) == [(60, "latent")]


def test_what_an_agent_does_not_train_raises_no_alarm():
    rows = [row(i, {name: v for bad in BAD.values() for name, v in bad.items()}) for i in range(60)]
    assert {kind for _, kind in alarms_of(rows)} == set(BAD)
    for fields, silent in (
        ({"learner.policy_coefficient": 0.0}, "policy"),
        ({"learner.value_coefficient": 0.0}, "value"),
        ({"learner.batch_size": 15}, "latent"),
    ):
        assert {kind for _, kind in alarms_of(rows, changed(CATCH, fields))} == {*BAD} - {silent}
    assert "policy" not in {kind for _, kind in alarms_of(rows, load_preset("catch-q"))}


def test_the_alarm_is_one_line_with_numbers_limits_what_is_healthy_and_what_to_try():
    alarm = CollapseAlarm(CATCH)
    found = [each for number in range(1, 31) for each in alarm.add(row(number, BAD["policy"]))]
    (collapse,) = found
    assert (collapse.kind, collapse.train_steps) == ("policy", 3_000)
    assert collapse.numbers == {
        "learner/policy_entropy_share": 0.0199,
        "learner/policy_error_k0": 0.501,
    }
    assert "\n" not in collapse.message
    for text in (
        "train_step 3,000: the policy has collapsed",
        "learner/policy_entropy_share 0.0199, below 0.02",
        "learner/policy_error_k0 0.501, above 0.5",
        "in 10 rows in a row; healthy:",
        "try a lower learner.learning_rate",
    ):
        assert text in collapse.message


def healthy_rows():
    """Return the rows of a run of the preset catch (seed 0) with ``learner.log_interval`` 25."""
    with HEALTHY_CATCH.open() as file:
        return [
            {f"learner/{name}": float(v) for name, v in line.items() if v}
            for line in csv.DictReader(file)
        ]


def test_a_run_that_learned_raises_no_alarm():
    rows = healthy_rows()
    assert len(rows) > 90
    assert alarms_of(rows) == []
    # It is not for want of looking: the same rows with dead values would have been noticed.
    flat = [{**each, "learner/value_std_ratio": 0.0} for each in rows]
    assert [kind for _, kind in alarms_of(flat)] == ["value"]


@pytest.mark.parametrize("seed", range(20))
def test_alarms_are_those_of_the_slow_second_implementation(seed):
    rng = np.random.default_rng(seed)
    interval = int(rng.integers(10, 200))
    fields = {"learner.lr_warmup_fraction": float(rng.random() * 0.5)}
    config = changed(CATCH, {**fields, "budget.train_steps": 5_000})
    rows = []
    for number in range(1, 150):
        values = {}
        for bad in BAD.values():  # mostly bad, so that windows of ten happen
            values |= bad if rng.random() < 0.9 else {}
        each = row(number, values, interval=interval)
        rows.append({k: v for k, v in each.items() if "steps" in k or rng.random() < 0.99})
    warmup = int(fields["learner.lr_warmup_fraction"] * 5_000)
    wanted = first_alarms(rows, warmup_train_steps=warmup)
    found = alarms_of(rows, config)
    assert {kind: number for number, kind in found} == wanted
    assert len(found) == len(wanted) and (wanted or seed)
