"""Sampling of deterministic runs: the formula of prioritised replay, and the seed's draws."""

import numpy as np
import pytest

from replay.steps.step_pool import StepPool

PRIORITIES = [0.5, 2.0, 0.0625, 1.0]
ALPHA = 0.6


def make_pool(*, capacity=10, alpha=ALPHA, seed=0, priorities=PRIORITIES):
    pool = StepPool[str](capacity, alpha, np.random.default_rng(seed))
    for number, priority in enumerate(priorities):
        pool.add(f"item {number}", priority)
    return pool


def test_every_item_is_drawn_as_often_as_its_priority_says():
    powers = [p**ALPHA for p in PRIORITIES]
    wanted = [power / sum(powers) for power in powers]
    num = 20_000
    draws = make_pool(seed=1).draw(num)
    for key, probability in enumerate(wanted):
        drawn = [draw for draw in draws if draw.key == key]
        deviation = (num * probability * (1 - probability)) ** 0.5
        assert abs(len(drawn) - num * probability) < 4 * deviation
        assert drawn[0].item == f"item {key}"
        assert drawn[0].probability == pytest.approx(probability, rel=1e-12)
        assert drawn[0].priority == PRIORITIES[key]
        assert drawn[0].table_size == len(PRIORITIES)


def test_draws_of_one_batch_are_independent():
    draws = make_pool(alpha=0.0, seed=2).draw(40_000)
    pairs = list(zip(draws[::2], draws[1::2], strict=True))
    same = sum(a.key == b.key for a, b in pairs)
    deviation = (len(pairs) * 0.25 * 0.75) ** 0.5
    assert abs(same - len(pairs) / 4) < 4 * deviation  # with replacement, one in four


def test_one_seed_draws_the_same_and_another_does_not():
    first, again, other = (make_pool(seed=seed).draw(50) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_new_priorities_count_from_the_next_draw_and_the_last_of_one_key_wins():
    pool = make_pool(seed=5)
    pool.update([0, 1, 2, 3, 2], [1e-6, 1e-6, 9.0, 1e-6, 1e6])
    draws = pool.draw(200)
    assert [draw.key for draw in draws].count(2) >= 199
    assert pool.draw(1)[0].probability == pytest.approx(1.0, abs=1e-6)


def test_oldest_item_goes_first_and_its_priority_with_it():
    pool = make_pool(capacity=3, alpha=1.0, priorities=[1.0] * 3)
    pool.add("item 3", 1.0)
    pool.add("item 4", 1.0)
    pool.update([0, 1], [1e6, 1e6])  # gone: their places belong to others
    draws = pool.draw(3_000)
    assert {(draw.key, draw.item) for draw in draws} == {(k, f"item {k}") for k in (2, 3, 4)}
    assert {draw.probability for draw in draws} == {1 / 3}
    assert {draw.table_size for draw in draws} == {3}


def test_many_items_keep_their_priorities():
    pool = make_pool(capacity=5_000, alpha=1.0, priorities=[float(k + 1) for k in range(7_000)])
    for draw in pool.draw(500):
        assert draw.item == f"item {draw.key}"
        assert draw.priority == draw.key + 1
        assert draw.table_size == 5_000


def test_empty_pool_is_an_error():
    with pytest.raises(ValueError, match="got 2 from an empty pool"):
        make_pool(priorities=[]).draw(2)
