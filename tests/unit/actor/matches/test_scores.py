"""Scores and their intervals: the numbers of the literature's formulas."""

import math

import pytest

from actor.matches.scores import Score, wilson


@pytest.mark.parametrize(
    ("wins", "games", "interval"),
    [
        (64, 100, (0.542, 0.727)),
        (95, 100, (0.888, 0.978)),
        (116, 200, (0.511, 0.646)),
        (0, 100, (0.0, 0.037)),
        (60, 100, (0.502, 0.691)),
        (20, 20, (0.839, 1.0)),
    ],
)
def test_wilson(wins, games, interval):
    assert wilson(wins, games) == pytest.approx(interval, abs=5e-4)
    assert Score(wins=wins, losses=games - wins).interval() == wilson(wins, games)


def test_draws_are_half_a_win_and_make_the_interval_narrower():
    score = Score(wins=40, draws=20, losses=40)
    assert (score.games, score.share) == (100, 0.5)
    low, high = score.interval()
    wide_low, wide_high = wilson(50, 100)
    assert wide_low < low < 0.5 < high < wide_high
    # Standard error of a game's points: sqrt(0.8 / 4) / 10.
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.2) / 10, rel=0.05)
    assert Score(draws=9).interval() == (0.5, 0.5)


def test_scores_add_up():
    total = Score.of(1.0) + Score.of(-0.5) + Score.of(0.0)
    assert total == Score(wins=1, draws=1, losses=1)
    assert math.isnan(Score().share)
    assert all(math.isnan(end) for end in Score().interval())
