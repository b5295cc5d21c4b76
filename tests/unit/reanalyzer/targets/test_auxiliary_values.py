"""Value targets of further horizons: each is what a run with that discount would have."""

import dataclasses

import numpy as np
import pytest

from efficientzero.schema import Ending
from replay.format.batch_codec import batch_spec, decode_batch, encode_batch
from tests.support.cases.target_cases import (
    BATCH,
    SPEC,
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    told_value,
)

AUXILIARY = (0.8, 0.5)


def with_discounts(config, discount, auxiliary=(), value_target="td"):
    agent = dataclasses.replace(config.agent, discount=discount, auxiliary_discounts=auxiliary)
    reanalyzer = dataclasses.replace(config.reanalyzer, value_target=value_target)
    return dataclasses.replace(config, agent=agent, reanalyzer=reanalyzer)


def values_of(observations, horizon):
    """Return what the head of a horizon says: told values, larger for later heads."""
    return np.array([(1 + horizon) * told_value(o) for o in observations], np.float32)


def maker_of(config, horizon=0):
    """Return a maker whose network has one horizon, or all if the config does."""
    maker, search = make_maker(config)
    search.network_values = lambda shown: values_of(shown, horizon)
    search.horizon_values = lambda shown: np.stack([values_of(shown, h) for h in range(3)], 1)
    return maker, search


@pytest.mark.parametrize("value_target", ["td", "td_lambda"])
@pytest.mark.parametrize("block_length", [0, 8])
def test_each_row_is_the_value_target_of_a_run_with_that_discount(value_target, block_length):
    config = make_config(bootstrap="network", ratio=0.0, block_length=block_length)
    _, slices = make_case(config, seed=1)
    several = with_discounts(config, 0.9, AUXILIARY, value_target)
    batch = maker_of(several)[0].make_batch(slices, TARGET_TRAIN_STEP)
    assert batch.auxiliary_values.shape == (BATCH, 2, 6)
    rows = [batch.values, *batch.auxiliary_values.swapaxes(0, 1)]
    for horizon, (discount, row) in enumerate(zip((0.9, *AUXILIARY), rows, strict=True)):
        single = with_discounts(config, discount, (), value_target)
        wanted = maker_of(single, horizon)[0].make_batch(slices, TARGET_TRAIN_STEP)
        np.testing.assert_array_equal(row, wanted.values, err_msg=str(discount))
        assert wanted.auxiliary_values.shape == (BATCH, 0, 6)


def test_with_searched_bootstraps_further_horizons_take_the_networks():
    config = make_config(bootstrap="search", ratio=0.5)
    _, slices = make_case(config, seed=2)
    batch = maker_of(with_discounts(config, 0.9, AUXILIARY))[0].make_batch(
        slices, TARGET_TRAIN_STEP
    )
    plain = maker_of(with_discounts(config, 0.9))[0].make_batch(slices, TARGET_TRAIN_STEP)
    np.testing.assert_array_equal(batch.values, plain.values)
    by_network = make_config(bootstrap="network", ratio=0.5)
    for horizon, discount in enumerate(AUXILIARY, start=1):
        maker, _ = maker_of(with_discounts(by_network, discount), horizon)
        wanted = maker.make_batch(slices, TARGET_TRAIN_STEP).values
        np.testing.assert_array_equal(batch.auxiliary_values[:, horizon - 1], wanted)


def test_two_horizons_by_hand():
    """Rewards 1, 1, 1: 2.71 + .729 * 10 = 10.0 with .9, and 1.75 + .125 * 2 = 2.0 with .5."""
    config = make_config(bootstrap="network", ratio=0.0, td_steps=3, correction=False)
    _, slices = make_case(config, seed=3)
    slices = slices._replace(
        rewards=np.ones_like(slices.rewards),
        steps_left=np.full(BATCH, 9, np.int32),
        endings=np.full(BATCH, Ending.RUNNING, np.uint8),
    )
    maker, search = maker_of(with_discounts(config, 0.9, (0.5,)))
    search.horizon_values = lambda shown: np.full((len(shown), 2), [10.0, 2.0], np.float32)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    np.testing.assert_allclose(batch.values, 10.0, rtol=1e-6)
    np.testing.assert_allclose(batch.auxiliary_values, 2.0, rtol=1e-6)


@pytest.mark.parametrize("auxiliary", [(), AUXILIARY])
def test_the_field_travels_and_is_empty_without_them(auxiliary):
    config = with_discounts(make_config(bootstrap="network", ratio=0.0), 0.9, auxiliary)
    _, slices = make_case(config, seed=4)
    batch = maker_of(config)[0].make_batch(slices, TARGET_TRAIN_STEP)
    spec = batch_spec(SPEC, config)
    assert spec["auxiliary_values"] == ("float32", (BATCH, len(auxiliary), 6))
    again = decode_batch(encode_batch(batch), spec)
    np.testing.assert_array_equal(again.auxiliary_values, batch.auxiliary_values)


def test_priorities_are_those_of_the_value_head():
    config = make_config(bootstrap="network", ratio=0.0)
    _, slices = make_case(config, seed=5)
    errors = [
        maker_of(with_discounts(config, 0.9, auxiliary))[0].value_errors(slices, TARGET_TRAIN_STEP)
        for auxiliary in ((), AUXILIARY)
    ]
    np.testing.assert_array_equal(*errors)
