"""Whole training batches against the second implementation, on thousands of random episodes.

Searches are replaced by one whose answers tell which observation they were given.
"""

import itertools

import numpy as np
import pytest
import torch

from efficientzero.config.derived import most_roots
from efficientzero.config.fields import Config
from efficientzero.networks import make_network
from efficientzero.schema import Ending, SliceBatch
from tests.reference.reference_targets import (
    Rules,
    bootstrap_step,
    is_trained,
    shortened_horizon,
    value_prefix_target,
    value_target,
)
from tests.support.cases.replay_cases import Episode, random_episode, window
from tests.support.cases.target_cases import (
    BATCH,
    SPEC,
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_policy,
    told_value,
)


def rules_of(config: Config) -> Rules:
    agent = config.agent
    return Rules(
        unroll=agent.num_unroll_steps,
        td_steps=agent.td_steps,
        discount=agent.discount,
        prefix_horizon=agent.value_prefix_horizon if agent.value_prefix else 1,
        block_length=config.compat.block_length,
    )


def horizon_of(config: Config, episode: Episode, t: int, slices: SliceBatch) -> int:
    if not config.reanalyzer.off_policy_correction:
        return config.agent.td_steps
    if config.compat.transition_age:
        newest = max(*(int(s) + 1 for s in slices.env_steps), int(slices.table_sizes[0]))
        age = newest - int(episode.env_steps[t])
    else:
        age = TARGET_TRAIN_STEP - int(episode.weights_versions[t])
    return shortened_horizon(age, config.agent.td_steps, 150.0)


SWITCHES = [
    {
        "unroll": unroll,
        "td_steps": td_steps,
        "prefix_horizon": prefix_horizon,
        "block_length": block_length,
        "correction": correction,
        "transition_age": transition_age,
    }
    for (unroll, td_steps, prefix_horizon), block_length, (correction, transition_age) in (
        itertools.product(
            [(5, 5, 5), (3, 7, 2), (4, 1, 1)],
            [0, 1, 8, 13],
            [(True, False), (True, True), (False, False)],
        )
    )
]


@pytest.mark.parametrize("number", range(len(SWITCHES)))
def test_every_target_equals_a_walk_through_the_whole_episode(number):
    config = make_config(**SWITCHES[number])
    rules, steps = rules_of(config), config.agent.num_unroll_steps
    origins, slices = make_case(config, seed=number)
    maker, search = make_maker(config, batch_size=97)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    needed, horizons = set(), set()
    for b, (episode, t) in enumerate(origins):
        horizon = horizon_of(config, episode, t, slices)
        horizons.add(horizon)
        for k in range(steps + 1):
            wanted = value_target(
                episode,
                t,
                k,
                horizon=horizon,
                value_of=lambda i, e=episode: told_value(observation_at(e, i)),
                rules=rules,
            )
            assert batch.values[b, k] == pytest.approx(wanted, abs=1e-4), (b, k)
            if is_trained(episode, t, k, rules):
                policy = told_policy(observation_at(episode, t + k))
                needed.add((b, t + k))
            else:
                policy = np.zeros(2)
            np.testing.assert_allclose(batch.policies[b, k], policy, atol=1e-6)
            last = bootstrap_step(episode, t, k, horizon, rules)
            if last is not None:
                needed.add((b, last))
        for k in range(steps):
            assert batch.action_mask[b, k] == is_trained(episode, t, k, rules)
            if batch.action_mask[b, k]:
                assert batch.actions[b, k] == episode.actions[t + k]
                wanted = value_prefix_target(episode, t, k, rules)
                assert batch.value_prefixes[b, k] == pytest.approx(wanted, abs=1e-5)
    # Each root that a target needs was searched once, and no other.
    wanted_roots = sorted(observation_at(origins[b][0], i).tobytes() for b, i in needed)
    assert sorted(o.tobytes() for o in search.seen) == wanted_roots
    assert len(search.seen) <= most_roots(config)
    assert search.sizes[:-1] == [97] * (len(search.sizes) - 1)
    if config.reanalyzer.off_policy_correction and config.agent.td_steps > 1:
        assert len(horizons) > 1, "the ages of this case must matter"


def test_most_roots_is_reached_by_long_episodes_without_correction():
    config = make_config(correction=False)
    rng = np.random.default_rng(0)
    episode = random_episode(SPEC, rng, number=0, length=30, ending=Ending.TERMINATED)
    columns = window(episode, 3, SPEC, config.agent)
    _, slices = make_case(config, seed=0)
    slices = slices._replace(
        frames=np.stack([columns.frames] * BATCH),
        steps_left=np.full(BATCH, columns.steps_left, np.int32),
        endings=np.zeros(BATCH, np.uint8),
    )
    maker, search = make_maker(config)
    maker.make_batch(slices, TARGET_TRAIN_STEP)
    # Policies at offsets 0..5, values at 5..10: eleven of them.
    assert search.sizes == [BATCH * 11] == [most_roots(config)]


def test_with_network_values_only_policies_are_searched():
    config = make_config(bootstrap="network", ratio=0.5)
    _, slices = make_case(config, seed=1)
    maker, search = make_maker(config)
    maker.make_batch(slices, TARGET_TRAIN_STEP)
    assert 0 < len(search.seen) <= most_roots(config) == BATCH // 2 * 6


def test_values_are_searched_even_where_no_policy_is():
    config = make_config(ratio=0.0)
    origins, slices = make_case(config, seed=2)
    maker, search = make_maker(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    np.testing.assert_array_equal(batch.policies, slices.search_policies)
    assert 0 < len(search.seen) <= most_roots(config) == BATCH * 6
    assert not any("prior" in name for name in maker.diagnostics.take_row())
    del origins


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_what_an_opponent_searched_is_a_policy_target_only_where_it_is_searched_anew(ratio):
    config = make_config(bootstrap="network", ratio=ratio)
    _, slices = make_case(config, seed=1)
    shape = slices.search_policies.shape[:2]
    movers = np.random.default_rng(0).choice([0, 0, 4], size=shape).astype(np.int32)
    before, after = (
        make_maker(config)[0].make_batch(batch, TARGET_TRAIN_STEP)
        for batch in (slices, slices._replace(movers=movers))
    )
    is_stored = (before.policies == slices.search_policies).all(axis=2)
    assert is_stored.all() == (ratio == 0.0)
    is_dropped = is_stored & (movers > 0) & before.policies.any(axis=2)
    assert is_dropped.sum() > BATCH / 2
    assert not after.policies[is_dropped].any()
    np.testing.assert_array_equal(after.policies[~is_dropped], before.policies[~is_dropped])
    for name in set(before._fields) - {"policies"}:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)


def test_without_a_policy_loss_no_policy_is_searched_and_all_else_is_the_same():
    trained, untrained = (
        make_maker(make_config(bootstrap="network", policy_coefficient=coefficient))
        for coefficient in (1.0, 0.0)
    )
    _, slices = make_case(make_config(), seed=1)
    batches = [maker.make_batch(slices, TARGET_TRAIN_STEP) for maker, _ in (trained, untrained)]
    assert len(trained[1].seen) > 0
    assert untrained[1].seen == []
    np.testing.assert_array_equal(batches[1].policies, slices.search_policies)
    for name in batches[0]._fields:
        # Values are computed in other parts, which round otherwise.
        tolerance = 1e-5 if name == "values" else 0.0
        if name != "policies":
            pair = (getattr(batch, name) for batch in batches)
            np.testing.assert_allclose(*pair, rtol=tolerance, atol=tolerance, err_msg=name)


def test_without_a_policy_loss_values_are_searched_all_the_same():
    config = make_config(policy_coefficient=0.0)
    _, slices = make_case(config, seed=2)
    (maker, search), (other, others) = make_maker(config), make_maker(make_config(ratio=0.0))
    batch, wanted = (m.make_batch(slices, TARGET_TRAIN_STEP) for m in (maker, other))
    np.testing.assert_array_equal(batch.values, wanted.values)
    assert 0 < len(search.seen) == len(others.seen) <= most_roots(config) == BATCH * 6


def test_diagnostics_report_what_a_batch_was_made_of():
    config = make_config(transition_age=True)
    origins, slices = make_case(config, seed=3)
    maker, search = make_maker(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    row = maker.diagnostics.take_row()
    horizons = [horizon_of(config, e, t, slices) for e, t in origins]
    rules = rules_of(config)
    bootstraps = [
        bootstrap_step(e, t, k, horizon, rules) is not None
        for (e, t), horizon in zip(origins, horizons, strict=True)
        for k in range(6)
    ]
    versions = np.array([e.weights_versions[t] for e, t in origins])
    newest = max(versions.max(), TARGET_TRAIN_STEP)
    newest_env_step = max(950, slices.env_steps.max() + 1)
    expected = {
        "td_steps": np.mean(horizons),
        "bootstrap_share": np.mean(bootstraps),
        "masked_share": 1 - batch.action_mask.mean(),
        "position": np.mean([t for _, t in origins]),
        "sample_age": np.mean(newest - versions),
        "sample_age_p95": np.percentile(newest - versions, 95),
        "sample_age_env_steps": newest_env_step - slices.env_steps.mean(),
        "target_staleness": newest - TARGET_TRAIN_STEP,
        "search_depth": 1.0,
    }
    for name, value in expected.items():
        assert row[f"reanalyzer/{name}"] == pytest.approx(value), name
    assert maker.diagnostics.take_row() == {}
    rates = maker.search_rates.row(2.0)
    assert rates["reanalyzer/searches_per_s"] == len(search.seen) / 2


def test_newest_step_is_followed_when_the_table_is_full():
    """The table's size stands still once the oldest steps are evicted."""
    config = make_config(transition_age=True)
    _, slices = make_case(config, seed=4)
    maker, _ = make_maker(config)
    newer = slices._replace(env_steps=slices.env_steps + 10_000)
    maker.make_batch(newer, TARGET_TRAIN_STEP)
    maker.diagnostics.take_row()
    maker.make_batch(slices, TARGET_TRAIN_STEP)
    row = maker.diagnostics.take_row()
    expected = (newer.env_steps.max() + 1) - slices.env_steps.mean()
    assert row["reanalyzer/sample_age_env_steps"] == pytest.approx(expected)
    assert row["reanalyzer/td_steps"] == 1.0


def test_targets_depend_on_slices_and_weights_alone_not_on_what_was_made_before():
    config = make_config(bootstrap="network")
    fresh, (worn, worn_search) = make_maker(config)[0], make_maker(config)
    torch.manual_seed(1)
    other = make_network(config, SPEC, training=False)
    own = {k: v.clone() for k, v in worn_search.network.inference_state_dict().items()}
    worn_search.network.load_inference_state_dict(other.inference_state_dict())
    for seed in (5, 6):
        worn.make_batch(make_case(config, seed=seed)[1], TARGET_TRAIN_STEP - 300)
    worn_search.network.load_inference_state_dict(own)
    _, slices = make_case(config, seed=7)
    wanted = fresh.make_batch(slices, TARGET_TRAIN_STEP)
    got = worn.make_batch(slices, TARGET_TRAIN_STEP)
    for name, field in wanted._asdict().items():
        # Where actions are masked any will do: they are drawn.
        mine, its = (
            (f[wanted.action_mask] if name == "actions" else f) for f in (getattr(got, name), field)
        )
        np.testing.assert_array_equal(mine, its, err_msg=name)


def test_two_makers_of_one_batch_each_make_what_one_makes_of_both():
    config = make_config()
    both = [make_case(config, seed=seed)[1] for seed in (8, 9)]
    one = make_maker(config)[0]
    alone = [one.make_batch(slices, TARGET_TRAIN_STEP) for slices in both]
    apart = [make_maker(config)[0].make_batch(slices, TARGET_TRAIN_STEP) for slices in both]
    for single, other in zip(alone, apart, strict=True):
        for name in ("values", "policies", "value_prefixes", "action_mask", "frames"):
            np.testing.assert_array_equal(getattr(single, name), getattr(other, name))


def test_no_frame_is_stored_for_each_unroll_step_of_a_batch():
    config = make_config()
    _, slices = make_case(config, seed=1)
    batch = make_maker(config)[0].make_batch(slices, TARGET_TRAIN_STEP)
    assert batch.frames.shape[1] == SPEC.num_stacked_frames + config.agent.num_unroll_steps
    assert np.shares_memory(batch.frames, slices.frames)
