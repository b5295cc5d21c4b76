"""The league's arithmetic against hand-computed numbers and slow second implementations."""

import json

import numpy as np
import pytest

from learner.weights.league import GameTable, drawing_probabilities, member_to_evict, rate
from tests.reference import reference_league as reference

Z = 1.959964
THREE = np.array([[0, 25, 10], [75, 0, 40], [90, 60, 0]], np.float64)


def test_seven_wins_of_ten_by_hand():
    found = rate(np.array([[0.0, 3.0], [7.0, 0.0]]), prior_points=None)
    # ln(7 / 3) = 0.847298; 400 / ln 10 = 173.7178; error 1 / sqrt(10 * 0.7 * 0.3).
    np.testing.assert_allclose(found.points, [0.0, 147.19], atol=5e-3)
    np.testing.assert_allclose(found.half_widths, [0.0, Z * 119.9], atol=0.1)


def test_twenty_wins_of_twenty_are_held_by_the_prior():
    wins = np.array([[0.0, 0.0], [20.0, 0.0]])
    found = rate(wins)
    np.testing.assert_allclose(found.points, [0.0, 591.6], atol=0.05)
    np.testing.assert_allclose(found.half_widths, [0.0, Z * 193.0], atol=0.1)
    with pytest.raises(ValueError, match=r"always win.*wanted a prior"):
        rate(wins, prior_points=None)


def test_three_players_by_hand_and_in_any_order():
    found = rate(THREE, prior_points=None)
    np.testing.assert_allclose(found.points, [0.0, 225.4, 322.0], atol=0.06)
    swapped = rate(THREE[np.ix_([0, 2, 1], [0, 2, 1])], prior_points=None)
    np.testing.assert_allclose(swapped.points[[0, 2, 1]], found.points, atol=1e-6)
    np.testing.assert_allclose(swapped.half_widths[[0, 2, 1]], found.half_widths, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_ratings_are_those_of_the_search_for_the_largest_posterior(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 5))
    wins = rng.integers(0, 40, (size, size)) / 2.0  # halves: draws
    np.fill_diagonal(wins, 0.0)
    points, half_widths = reference.rate(wins, 400.0)
    found = rate(wins)
    np.testing.assert_allclose(found.points, points, atol=0.01)
    np.testing.assert_allclose(found.half_widths, half_widths, rtol=1e-3)


def test_who_never_played_has_the_prior():
    found = rate(np.zeros((2, 2)))
    np.testing.assert_allclose(found.points, [0.0, 0.0])
    np.testing.assert_allclose(found.half_widths, [0.0, Z * 400.0], rtol=1e-6)


def test_very_lopsided_games_still_have_a_maximum():
    wins = np.array([[0.0, 1.0, 0.0], [10_000.0, 0.0, 1.0], [0.0, 10_000.0, 0.0]])
    found = rate(wins, prior_points=None)
    np.testing.assert_allclose(found.points, [0.0, 1_600.0, 3_200.0], rtol=1e-6)


@pytest.mark.parametrize(
    "wins", [np.zeros((2, 3)), np.eye(2), np.array([[0, -1.0], [1, 0]]), np.full((2, 2), np.nan)]
)
def test_what_is_no_table_of_games_is_refused(wins):
    with pytest.raises(ValueError, match="wanted a square of counts"):
        rate(wins)


@pytest.mark.parametrize(
    ("sampling", "wanted"),
    [
        ("pfsp_hard", [0.0111, 0.2778, 0.7111]),
        ("pfsp_variance", [0.18, 0.50, 0.32]),
        ("uniform", [1 / 3] * 3),
        ("newest", [0.0, 0.0, 1.0]),
    ],
)
def test_drawing_by_hand_and_in_many_draws(sampling, wanted):
    shares = drawing_probabilities([0.9, 0.5, 0.2], sampling, power=2.0)
    np.testing.assert_allclose(shares, wanted, atol=5e-5)
    drawn = np.random.default_rng(0).choice(3, 100_000, p=shares)
    # Five standard errors of a share of 10^5 draws.
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 100_000, wanted, atol=0.008)
    mixed = drawing_probabilities([0.9, 0.5, 0.2], sampling, power=2.0, uniform_share=0.1)
    np.testing.assert_allclose(mixed, 0.1 / 3 + 0.9 * shares)


def test_members_beaten_every_time_are_drawn_alike():
    np.testing.assert_allclose(drawing_probabilities([1.0, 1.0], "pfsp_hard"), [0.5, 0.5])


@pytest.mark.parametrize("estimates", [[], [1.1], [-0.1, 0.5], [float("nan")]])
def test_what_is_no_share_of_games_is_refused(estimates):
    with pytest.raises(ValueError, match="wanted one or more from 0 to 1"):
        drawing_probabilities(estimates, "uniform")


def test_win_estimates_by_hand():
    table = GameTable()
    assert table.estimate("a") == 0.5
    table.add("a", 1.0)
    assert table.estimate("a") == pytest.approx(2 / 3)
    table.add("a", 0.5)  # won 0.99, drawn 1: (0.99 + 0.5 + 1) / (1.99 + 2)
    assert table.estimate("a") == pytest.approx(2.49 / 3.99)
    table.add("b", 0.0)
    assert table.estimate("b") == pytest.approx(1 / 3)
    assert table.estimate("a") == pytest.approx(2.49 / 3.99)  # another's games change nothing
    with pytest.raises(ValueError, match=r"score: got 0\.7"):
        table.add("a", 0.7)


def test_win_estimates_are_those_of_all_games_weighted_by_age():
    scores = np.random.default_rng(0).choice([0.0, 0.5, 1.0], 300)
    table = GameTable()
    for number, score in enumerate(scores, 1):
        table.add("a", score)
        assert table.estimate("a") == pytest.approx(reference.estimate(scores[:number]))


def test_a_table_comes_back_without_members_that_are_gone():
    table, again = GameTable(), GameTable()
    table.add("member_1000", 1.0)
    table.add("member_2000", 0.0)
    again.restore(json.loads(json.dumps(table.state())), known=["random", "member_1000"])
    assert again.estimate("member_1000") == table.estimate("member_1000")
    assert again.estimate("member_2000") == 0.5
    again.add("member_1000", 1.0)
    assert table.state()["member_1000"] == [1.0, 0.0, 0.0]  # the two share nothing


def test_eviction_keeps_the_first_the_newest_and_even_gaps_between():
    kept: list[int] = []
    for train_step in range(1, 101):
        kept.append(train_step)
        if len(kept) > 5:
            wanted = reference.evicted(kept)
            assert kept.pop(member_to_evict(kept)) == wanted
    assert (kept[0], kept[-1], len(kept)) == (1, 100, 5)
    gaps = np.diff(kept)
    assert gaps.max() < 2 * gaps.min()


@pytest.mark.parametrize("seed", range(5))
def test_eviction_is_that_of_the_slow_second_implementation(seed):
    rng = np.random.default_rng(seed)
    members = sorted(rng.choice(1_000, int(rng.integers(3, 12)), replace=False).tolist())
    assert members[member_to_evict(members)] == reference.evicted(members)


@pytest.mark.parametrize("members", [[], [1, 2], [1, 3, 2], [1, 1, 2]])
def test_nobody_is_evicted_of_too_few_or_unordered_members(members):
    with pytest.raises(ValueError, match="wanted three or more, ascending"):
        member_to_evict(members)
