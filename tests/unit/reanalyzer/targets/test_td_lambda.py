"""Lambda-returns by hand, at their limits, and against the second implementation."""

import dataclasses

import numpy as np
import pytest

from efficientzero.config import ConfigError, config_from_dict, config_hash
from efficientzero.config.derived import most_roots
from efficientzero.config.validation import validate
from efficientzero.schema import Ending
from reanalyzer.targets.slice_targets import slice_ends
from reanalyzer.targets.target_maker import VALUE_TARGETS
from reanalyzer.targets.td_lambda import lambda_returns
from reanalyzer.targets.value_target import Estimates, Sample
from tests.reference.reference_targets import bootstrap_step, lambda_target
from tests.support.cases.target_cases import (
    BATCH,
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_value,
)
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of, rules_of


def with_lambda(config, td_lambda):
    reanalyzer = dataclasses.replace(
        config.reanalyzer, value_target="td_lambda", td_lambda=td_lambda
    )
    return dataclasses.replace(config, reanalyzer=reanalyzer)


def test_three_steps_by_hand():
    """Of .5 * 10 + .25 * 17.2 + .25 * 24.49; 10, 17.2 and 24.49 are the returns of 1, 2, 3 steps.

    The later two positions: 2 steps, .5 * 18 + .5 * 26.1, and one step, 2 + .9 * 30.
    """
    returns = lambda_returns(
        np.array([[1, 0, 2, 0, 0]], np.float32),
        np.array([[5, 10, 20, 30, 0, 0]], np.float32),
        tails=np.array([[30.0, 30, 30]]),
        horizons=np.array([[3, 2, 1]]),
        discount=0.9,
        td_lambda=0.5,
    )
    np.testing.assert_allclose(returns, [[15.4225, 22.05, 29.0]], rtol=1e-12)


CASES = [
    {"td_lambda": 0.95},
    {"td_lambda": 0.5, "unroll": 3, "td_steps": 7, "correction": False},
    {"td_lambda": 0.7, "block_length": 8},
    {"td_lambda": 0.3, "block_length": 2, "transition_age": True},
    {"td_lambda": 0.0},
    {"td_lambda": 1.0},
    {"td_lambda": 0.9, "unroll": 4, "td_steps": 1},
]


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.parametrize("bootstrap", ["network", "search"])
def test_every_target_is_the_average_of_the_episodes_n_step_returns(number, bootstrap):
    options = dict(CASES[number])
    trace = options.pop("td_lambda")
    config = with_lambda(make_config(bootstrap=bootstrap, ratio=0.0, **options), trace)
    origins, slices = make_case(config, seed=number)
    maker, search = make_maker(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    rules, asked = rules_of(config), set()

    def value_of(b, episode, i):
        asked.add((b, i))
        observation = observation_at(episode, i)
        if bootstrap == "search":
            return told_value(observation)
        return float(search.network_values(observation[None])[0])

    if bootstrap == "network":
        origins = origins[:15]
    for b, (episode, t) in enumerate(origins):
        for k in range(config.agent.num_unroll_steps + 1):
            wanted = lambda_target(
                episode,
                t,
                k,
                horizon=horizon_of(config, episode, t, slices),
                trace=trace,
                value_of=lambda i, b=b, e=episode: value_of(b, e, i),
                rules=rules,
            )
            assert batch.values[b, k] == pytest.approx(wanted, abs=1e-4), (b, k)
    if bootstrap == "search":  # each cell was searched once, and no other
        wanted_roots = sorted(observation_at(origins[b][0], i).tobytes() for b, i in asked)
        assert sorted(o.tobytes() for o in search.seen) == wanted_roots
        assert 0 < len(search.seen) <= most_roots(config)


@pytest.mark.parametrize("block_length", [0, 8])
@pytest.mark.parametrize("correction", [True, False])
def test_lambda_one_is_the_n_step_return(block_length, correction):
    config = make_config(block_length=block_length, correction=correction)
    _, slices = make_case(config, seed=11)
    td = make_maker(config)[0].make_batch(slices, TARGET_TRAIN_STEP)
    averaged = make_maker(with_lambda(config, 1.0))[0].make_batch(slices, TARGET_TRAIN_STEP)
    np.testing.assert_allclose(averaged.values, td.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(averaged.policies, td.policies)


def test_lambda_zero_is_the_one_step_return():
    config = make_config(correction=False)
    _, slices = make_case(config, seed=12)
    averaged = make_maker(with_lambda(config, 0.0))[0].make_batch(slices, TARGET_TRAIN_STEP)
    agent = dataclasses.replace(config.agent, td_steps=1)
    maker = make_maker(dataclasses.replace(config, agent=agent))[0]
    short = slices._replace(frames=slices.frames[:, :-4], rewards=slices.rewards[:, :-4])
    short = short._replace(
        root_values=slices.root_values[:, :-4], steps_left=np.minimum(slices.steps_left, 7)
    )
    # An episode that ends just past the shorter window is running there.
    runs = slices.steps_left > agent.num_unroll_steps + agent.td_steps
    short = short._replace(endings=np.where(runs, Ending.RUNNING, slices.endings).astype(np.uint8))
    np.testing.assert_allclose(
        averaged.values, maker.make_batch(short, TARGET_TRAIN_STEP).values, rtol=1e-5, atol=1e-6
    )


def test_it_is_the_value_target_of_generalised_advantage_estimation():
    """V(s) + sum of (discount lambda)^i delta_i, for every position of episodes of all endings."""
    trace, discount = 0.8, 0.9
    config = with_lambda(make_config(bootstrap="network", ratio=0.0), trace)
    origins, slices = make_case(config, seed=13)
    rng = np.random.default_rng(0)
    values = rng.normal(size=slices.root_values.shape).astype(np.float32)
    sample = Sample(
        slices,
        slice_ends(slices, block_length=0),
        np.zeros(BATCH, np.int64),
        TARGET_TRAIN_STEP,
    )
    target = VALUE_TARGETS["td_lambda"](config)
    no_roots = np.zeros((BATCH, 6), np.float32)
    made = target.targets(sample, Estimates(values, no_roots)).values
    for b, (episode, t) in enumerate(origins):
        horizon, rules = horizon_of(config, episode, t, slices), rules_of(config)
        for k in range(6):
            if t + k >= len(episode):
                continue
            end = min(t + k + horizon, len(episode))

            def value(i, b=b, episode=episode, t=t):
                is_worthless = i == len(episode) and episode.ending == Ending.TERMINATED
                return 0.0 if is_worthless else float(values[b, i - t])

            assert (bootstrap_step(episode, t, k, horizon, rules) is None) == (value(end) == 0.0)
            advantage = sum(
                (discount * trace) ** (i - t - k)
                * (float(episode.rewards[i]) + discount * value(i + 1) - value(i))
                for i in range(t + k, end)
            )
            assert made[b, k] == pytest.approx(value(t + k) + advantage, abs=1e-5), (b, k)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_long_episodes_reach_the_roots_that_most_roots_names(ratio):
    config = with_lambda(make_config(ratio=ratio, correction=False), 0.9)
    _, slices = make_case(config, seed=4)
    slices = slices._replace(
        steps_left=np.full(BATCH, 11, np.int32), endings=np.zeros(BATCH, np.uint8)
    )
    maker, search = make_maker(config)
    maker.make_batch(slices, TARGET_TRAIN_STEP)
    # Values at offsets 1 .. 10, and with them the policies' but o[t].
    assert len(search.seen) == most_roots(config) == BATCH * 10 + int(BATCH * ratio)


@pytest.mark.parametrize("td_lambda", [-0.1, 1.1])
def test_lambda_is_a_share(td_lambda):
    wanted = rf"reanalyzer\.td_lambda: got {td_lambda}, wanted 0 to 1"
    with pytest.raises(ConfigError, match=wanted):
        validate(config_from_dict({"reanalyzer": {"td_lambda": td_lambda}}))


def test_lambda_returns_need_state_values():
    values = {"agent": {"value_function": "action"}, "reanalyzer": {"value_target": "td_lambda"}}
    wanted = r"reanalyzer\.value_target: got td_lambda with agent\.value_function action, wanted td"
    with pytest.raises(ConfigError, match=wanted):
        validate(config_from_dict(values))


def test_lambda_is_part_of_an_experiment():
    hashes = {
        config_hash(config_from_dict({"reanalyzer": {"value_target": name, "td_lambda": share}}))
        for name in ("td", "td_lambda")
        for share in (0.95, 0.5)
    }
    assert len(hashes) == 4
