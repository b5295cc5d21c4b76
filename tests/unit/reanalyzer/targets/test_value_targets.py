"""Value targets from searches, and mixed with n-step returns by age."""

import dataclasses
from typing import get_args, get_type_hints

import numpy as np
import pytest

from efficientzero.config.derived import most_roots
from efficientzero.config.fields import ReanalyzerConfig
from efficientzero.config.files import ConfigError, config_from_dict
from efficientzero.config.validation import validate
from efficientzero.schema import Ending
from reanalyzer.targets.slice_targets import slice_ends
from reanalyzer.targets.target_maker import VALUE_TARGETS
from reanalyzer.targets.value_target import Estimates, Sample
from tests.reference.reference_targets import block_of, mixed_target, search_target
from tests.support.cases.target_cases import (
    BATCH,
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_value,
)
from tests.unit.reanalyzer.targets.test_target_maker import rules_of

NEWEST = 950
"""Env_steps in replay, by the table's size in ``make_case``."""


def made(config, slices, *, target_train_step=TARGET_TRAIN_STEP):
    maker, search = make_maker(config)
    return maker.make_batch(slices, target_train_step), maker, search


def aged(origins, slices, ages):
    """Return episodes and slices of these ages, at least 1: none is newer than the table."""
    shifted = [
        (dataclasses.replace(e, env_steps=e.env_steps - e.env_steps[t] + NEWEST - age), t)
        for (e, t), age in zip(origins, ages, strict=True)
    ]
    return shifted, slices._replace(env_steps=NEWEST - ages)


def told_at(episode):
    return lambda i: told_value(observation_at(episode, i))


@pytest.mark.parametrize("block_length", [0, 9])
@pytest.mark.parametrize("bootstrap", ["network", "search"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_search_values_are_the_roots_of_their_own_positions(bootstrap, ratio, block_length):
    common = {"bootstrap": bootstrap, "ratio": ratio, "block_length": block_length}
    config = make_config(value_target="search", **common)
    origins, slices = make_case(config, seed=1)
    batch, maker, search = made(config, slices)
    plain = made(make_config(**common), slices)[0]
    rules, ends = rules_of(config), set()
    for b, (episode, t) in enumerate(origins):
        for k in range(6):
            wanted = search_target(episode, t, k, root_value_of=told_at(episode), rules=rules)
            assert batch.values[b, k] == pytest.approx(wanted), (b, k)
            if t + k >= len(episode.actions):
                ends.add((episode.ending.name, t + k == len(episode.actions)))
    assert len(ends) == 4, "both endings, at the end and past it"
    assert len(search.seen) <= most_roots(config) == BATCH * 6
    assert np.isfinite(batch.values).all()
    for name in ("policies", "actions", "value_prefixes", "action_mask"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(plain, name), err_msg=name)
    row = maker.diagnostics.take_row()
    assert row["reanalyzer/search_value_share"] == 1.0
    assert row["reanalyzer/td_steps"] == 0.0
    assert "reanalyzer/search_minus_td" not in row


@pytest.mark.parametrize("block_length", [0, 9])
def test_mixed_takes_all_td_steps_for_new_data_and_searches_for_old(block_length):
    config = make_config(
        value_target="mixed", start=TARGET_TRAIN_STEP, fresh=100, block_length=block_length
    )
    origins, slices = make_case(config, seed=2)
    ages = np.resize([99, 100, 1, 900], BATCH)
    origins, slices = aged(origins, slices, ages)
    # Old enough for a correction, had there been one.
    slices = slices._replace(weights_versions=np.zeros(BATCH, np.int64))
    batch, maker, search = made(config, slices)
    rules, differences = rules_of(config), []
    for b, (episode, t) in enumerate(origins):
        told = told_at(episode)
        for k in range(6):
            wanted = mixed_target(
                episode,
                t,
                k,
                train_step=TARGET_TRAIN_STEP,
                newest_env_step=NEWEST,
                limits=(TARGET_TRAIN_STEP, 100),
                value_of=told,
                root_value_of=told,
                rules=rules,
            )
            if ages[b] < 100 and t + k < block_of(episode, t, rules).end:
                differences.append(told(t + k) - wanted)
            assert batch.values[b, k] == pytest.approx(wanted, abs=1e-4), (b, k)
    assert len(search.seen) <= most_roots(config)
    row = maker.diagnostics.take_row()
    assert row["reanalyzer/search_value_share"] == 0.5
    assert row["reanalyzer/td_steps"] == config.agent.td_steps / 2
    assert row["reanalyzer/search_minus_td"] == pytest.approx(np.mean(differences), abs=1e-4)


def test_a_search_that_says_seven_everywhere_and_the_limits_by_hand():
    """Rewards of 1, discount 0.9, n = 5, no value after the n steps: 1 + 0.9 + ... + 0.9^4."""
    returns, seven = sum(0.9**i for i in range(5)), 7.0
    config = make_config(value_target="mixed", start=TARGET_TRAIN_STEP, fresh=10)
    _, slices = make_case(config, seed=8)
    left = np.full(BATCH, 11, np.int32)  # K + n + 1: the episode goes on
    left[2:4] = 3
    endings = np.zeros(BATCH, np.uint8)
    endings[2], endings[3] = Ending.TERMINATED, Ending.TRUNCATED
    slices = slices._replace(
        rewards=np.ones_like(slices.rewards),
        steps_left=left,
        endings=endings,
        # The age is that of the newest step, 950, minus these: 9 is new, 10 is not.
        env_steps=np.where(np.arange(BATCH) == 0, NEWEST - 9, NEWEST - 10),
    )

    def values(target_train_step):
        target = VALUE_TARGETS["mixed"](config)
        ends = slice_ends(slices, block_length=0)
        sample = Sample(slices, ends, NEWEST - slices.env_steps, target_train_step)
        found = Estimates(np.zeros_like(slices.root_values), np.full((BATCH, 6), seven, np.float32))
        return target.targets(sample, found).values

    late, early = values(TARGET_TRAIN_STEP), values(TARGET_TRAIN_STEP - 1)
    np.testing.assert_allclose(late[0], [returns] * 6, rtol=1e-6)
    np.testing.assert_array_equal(late[1], [seven] * 6)
    np.testing.assert_array_equal(late[2], [seven] * 3 + [0] * 3)
    np.testing.assert_array_equal(late[3], [seven] * 4 + [0] * 2)
    np.testing.assert_allclose(early[:2], [[returns] * 6] * 2, rtol=1e-6)
    np.testing.assert_allclose(early[2], [1 + 0.9 + 0.81, 1.9, 1, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("target_train_step", "share"),
    [(TARGET_TRAIN_STEP - 1, 0.0), (TARGET_TRAIN_STEP, 1.0), (TARGET_TRAIN_STEP + 1, 1.0)],
)
def test_mixed_begins_to_search_when_the_target_weights_are_trained_enough(
    target_train_step, share
):
    config = make_config(value_target="mixed", start=TARGET_TRAIN_STEP, fresh=0)
    _, slices = make_case(config, seed=3)
    batch, maker, _ = made(config, slices, target_train_step=target_train_step)
    row = maker.diagnostics.take_row()
    assert row["reanalyzer/search_value_share"] == share
    other = make_config(
        value_target="search" if share else "td", correction=False, bootstrap="search"
    )
    wanted = made(other, slices, target_train_step=target_train_step)[0]
    np.testing.assert_array_equal(batch.values, wanted.values)


@pytest.mark.parametrize("bootstrap", ["network", "search"])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_as_many_roots_as_most_roots_says_are_reached(bootstrap, ratio):
    """By slices far from any end; early under mixed ones n-step returns may need more."""
    for value_target_, start in (("search", 0), ("mixed", 0), ("mixed", 10_000)):
        config = make_config(
            value_target=value_target_, start=start, bootstrap=bootstrap, ratio=ratio
        )
        _, slices = make_case(config, seed=4)
        steps = config.agent.num_unroll_steps + config.agent.td_steps + 1
        slices = slices._replace(
            steps_left=np.full(BATCH, steps, np.int32), endings=np.zeros(BATCH, np.uint8)
        )
        _, _, search = made(config, slices)
        is_late = start == 0
        td_roots = BATCH * 6 * (bootstrap == "search") + int(BATCH * ratio) * (
            5 if bootstrap == "search" else 6
        )
        assert len(search.seen) == (BATCH * 6 if is_late else td_roots)
        searched = BATCH * 6 if value_target_ == "search" else max(BATCH * 6, td_roots)
        assert most_roots(config) == searched


def test_priorities_of_stored_steps_stay_those_of_n_step_returns():
    plain, searched = (make_config(value_target=name) for name in ("td", "search"))
    _, slices = make_case(plain, seed=5)
    errors = [make_maker(c)[0].value_errors(slices, TARGET_TRAIN_STEP) for c in (plain, searched)]
    np.testing.assert_array_equal(*errors)


def test_td_reports_what_a_search_would_have_said():
    config = make_config(bootstrap="network", ratio=0.5)
    _, slices = make_case(config, seed=6)
    _, maker, _ = made(config, slices)
    row = maker.diagnostics.take_row()
    assert row["reanalyzer/search_value_share"] == 0.0
    assert np.isfinite(row["reanalyzer/search_minus_td"])


def test_there_is_one_for_each_name_of_the_config():
    names = get_args(get_type_hints(ReanalyzerConfig)["value_target"])
    assert tuple(VALUE_TARGETS) == names


@pytest.mark.parametrize("name", VALUE_TARGETS)
def test_no_value_is_read_that_was_not_asked_for(name):
    config = make_config(value_target=name, fresh=500)
    _, slices = make_case(config, seed=7)
    ages = NEWEST - slices.env_steps
    sample = Sample(slices, slice_ends(slices, block_length=0), ages, TARGET_TRAIN_STEP)
    target = VALUE_TARGETS[name](config)
    needs = target.needs(sample)
    values, roots = (np.where(cells, np.float32(1), np.float32(np.nan)) for cells in needs[:2])
    found = Estimates(values, roots)
    if needs.policies is not None:
        policies = np.where(needs.policies[..., None], np.float32(0.5), np.float32(np.nan))
        found = found._replace(policies=np.repeat(policies, 2, axis=2))
    if needs.action_values is not None:
        action_values = np.where(needs.action_values[..., None], np.float32(1), np.float32(np.nan))
        found = found._replace(action_values=np.repeat(action_values, 2, axis=2))
    made = target.targets(sample, found)
    assert (made.values.dtype, made.values.shape) == (np.float32, (BATCH, 6))
    assert np.isfinite(made.values).all()
    assert made.bootstraps.any()


ONE = {"num_simulations": 1, "algorithm": "gumbel"}
MIXED = {"value_target": "mixed", "mixed_start_train_steps": 10, "mixed_fresh_env_steps": 10}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"reanalyzer": {"value_target": "search"}, "search": ONE},
            r"reanalyzer.value_target: got search with search.num_simulations 1, wanted td or at",
        ),
        (
            {
                "reanalyzer": {"value_target": "search", "search_simulations": 1},
                "search": {"algorithm": "gumbel"},
            },
            r"reanalyzer.value_target: got search with reanalyzer.search_simulations 1, wanted td",
        ),
        (
            {"reanalyzer": MIXED, "search": ONE},
            r"reanalyzer.value_target: got mixed with search.num_simulations 1, wanted td or at",
        ),
        (
            {"reanalyzer": MIXED, "agent": {"auxiliary_discounts": [0.9]}},
            r"agent.auxiliary_discounts: got 0.9 with reanalyzer.value_target mixed, wanted td or",
        ),
        (
            {
                "reanalyzer": MIXED,
                "agent": {"value_distribution": "categorical"},
                "learner": {"target_network": "local"},
            },
            r"learner.target_network: got local with reanalyzer.value_target mixed, wanted "
            r"reanalyzer, or reanalyzer.value_target td: the learner completes td's targets alone",
        ),
        (
            {
                "reanalyzer": {**MIXED, "policy_reanalyze_ratio": 0.0},
                "agent": {"value_function": "action"},
                "search": {"num_simulations": 0},
                "actor": {"action_rule": "epsilon_greedy"},
            },
            r"reanalyzer.value_target: got mixed with agent.value_function action, wanted one that",
        ),
        (
            {"reanalyzer": MIXED, "learner": {"value_prefix_coefficient": 0.0}},
            r"reanalyzer.value_target: got mixed with learner.value_prefix_coefficient 0, wanted",
        ),
        (
            {"reanalyzer": {**MIXED, "mixed_start_train_steps": 120_000}},
            r"reanalyzer.mixed_start_train_steps: got 120000, wanted less than the run's 120000 tr",
        ),
        (
            {"reanalyzer": {**MIXED, "mixed_fresh_env_steps": 100_000}},
            r"reanalyzer.mixed_fresh_env_steps: got 100000, wanted less than the run's 100000 env_",
        ),
    ],
)
def test_value_targets_that_cannot_be_learned_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(config_from_dict(values))
    for value_target_ in ("td", "search", "mixed"):
        validate(config_from_dict({"reanalyzer": {**MIXED, "value_target": value_target_}}))
