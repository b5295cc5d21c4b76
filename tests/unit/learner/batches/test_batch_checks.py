"""Which training batches are refused, and what is said about them."""

import logging
import re

import numpy as np
import pytest

from efficientzero.envs import probe_env_spec
from learner.batches.checks import BadBatch, BatchChecks, TargetsBeyondSupport
from replay.format import BATCH_FIELDS
from tests.support.cases.loss_cases import changed
from tests.support.fakes import tiny_config
from tests.support.training_batches import training_batch

CONFIG = tiny_config()
SPEC = probe_env_spec(CONFIG.env)


def checks(largest_target=35.0):
    return BatchChecks(CONFIG, SPEC, largest_target=largest_target)


def batch_with(name, change):
    batch = training_batch(CONFIG)
    return batch._replace(**{name: change(getattr(batch, name))})


def filled(value, count=2):
    def fill(array):
        array = array.copy()
        array.reshape(-1)[:count] = value
        return array

    return fill


def test_batches_as_reanalyzers_make_them_pass():
    for seed in range(5):
        assert checks().check(training_batch(CONFIG, seed)) == 0.0


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("values", lambda a: a[:0], r"values: got \('float32', \(0, 6\)\), wanted .*\(8, 6\)"),
        ("frames", lambda a: a[:, 1:], r"frames: got \('uint8', \(8, 6, .*wanted .*\(8, 7, "),
        ("actions", lambda a: a.astype(np.int32), r"actions: got \('int32'.*wanted \('int64'"),
        ("values", filled(np.nan), "values: got 2 of 48 numbers that are not finite"),
        ("values", filled(np.inf, 3), "values: got 3 of 48 numbers that are not finite"),
        ("value_prefixes", filled(-np.inf), "value_prefixes: got 2 of 40 numbers"),
        ("policies", filled(np.nan), "policies: got 2 of 144 numbers"),
        ("probabilities", filled(np.nan, 1), "probabilities: got 1 of 8 numbers"),
        ("probabilities", filled(0.0), "probabilities: got 2 out of range, wanted more than 0"),
        ("table_sizes", filled(0), "table_sizes: got 2 out of range, wanted at least 1"),
        ("actions", filled(SPEC.num_actions), "actions: got 2 out of range, wanted 0 to"),
        ("actions", filled(-1, 1), "actions: got 1 out of range"),
        ("action_mask", lambda a: np.full(a.shape, 7, np.uint8).view(bool), "action_mask: got "),
        ("policies", filled(-0.5), "policies: got 2 out of range"),
        ("env_steps", filled(2**62, 1), "env_steps: got 1 out of range"),
        ("weights_versions", filled(-1, 1), "weights_versions: got 1 out of range"),
        ("target_weights_versions", filled(2**62, 1), "target_weights_versions: got 1 out of"),
    ],
)
def test_a_bad_field_is_named_with_what_was_got_and_wanted(name, change, message):
    with pytest.raises(BadBatch, match=f"training batch, {message}"):
        checks().check(batch_with(name, change))


OF_OTHER_RUNS = {"bootstrap_legal_actions", "continuous_actions", "policy_actions", "best_actions"}
"""Fields of size 0 here; see test_continuous_targets.py for those of continuous actions."""


@pytest.mark.parametrize(
    "name", [n for n, field in BATCH_FIELDS.items() if field.range and n not in OF_OTHER_RUNS]
)
def test_no_field_may_lie_outside_its_range(name):
    config = changed(
        CONFIG, replay={"priority_refresh_share": 0.5}, learner={"target_network": "local"}
    )
    tested = BatchChecks(config, SPEC, largest_target=np.inf)
    batch, allowed = training_batch(config), BATCH_FIELDS[name].range
    high = {"last_action": SPEC.num_actions - 1, "last_env_step": config.budget.env_steps + 1}
    high["last_offset"] = config.agent.num_unroll_steps + config.agent.td_steps
    numbers = [allowed.low if allowed.excludes_low else allowed.low - 1]
    if allowed.high is not None:
        numbers.append(high.get(allowed.high, allowed.high) + 1)
    for number in numbers:
        array = getattr(batch, name).copy()
        (array.view(np.int8) if array.dtype == bool else array).flat[0] = number
        message = f"{name}: got 1 out of range, wanted {re.escape(allowed.wanted)}$"
        with pytest.raises(BadBatch, match=message):
            tested.check(batch._replace(**{name: array}))


def test_share_beyond_the_support_counts_real_targets_only_and_is_warned_about_once(caplog):
    batch = training_batch(CONFIG)
    batch.action_mask[:] = True
    batch.action_mask[-1] = False  # one of 8 slices ends at its root: 1 + 7 * 11 targets
    batch.values[-1, 1:] = 1e9
    batch.value_prefixes[-1] = 1e9
    batch.values[0, :3] = (40.0, -40.0, 34.9)
    batch.value_prefixes[1, 0] = 36.0
    tested = checks(35.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert tested.check(batch) == pytest.approx(3 / 78)
    (record,) = caplog.records
    assert "network.support_bound: got 5, which reaches to 35, wanted more" in record.message
    assert "up to 40" in record.message


def test_more_than_half_of_the_targets_beyond_the_support_are_refused():
    batch = batch_with("values", lambda values: values + 1e3)
    batch = batch._replace(value_prefixes=batch.value_prefixes + 1e3)
    with pytest.raises(
        TargetsBeyondSupport, match=r"network\.support_bound: got 5, .*100\.0% of a batch"
    ):
        checks().check(batch)
    assert checks(largest_target=np.inf).check(batch) == 0.0
