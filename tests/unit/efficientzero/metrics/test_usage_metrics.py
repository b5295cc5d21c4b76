"""Processor use, search rates, axes and returns: rows against numbers worked out by hand."""

import csv
import mmap
import time
from pathlib import Path

import numpy as np
import pytest

from actor.evaluator import return_statistics
from efficientzero.envs.atari.scores import (
    atari100k_game,
    atari100k_scores,
    human_normalized,
    published_columns,
)
from efficientzero.metrics.axes import axis_of
from efficientzero.metrics.interval import Interval
from efficientzero.metrics.process_usage import ProcessUsage, resident_bytes
from efficientzero.metrics.search_rates import SearchRates
from replay.info import ReplayCounts
from replay.service.metrics import time_row
from tests.support.metrics_page import read_page


def test_an_interval_has_the_rates_of_its_own_seconds_alone():
    now = [100.0]
    interval = Interval(10.0, clock=lambda: now[0])
    assert not interval.is_over()
    now[0] = 110.0
    assert interval.is_over()
    assert interval.restart(steps=50, bytes=1_000) == (10.0, {"steps": 5.0, "bytes": 100.0})
    assert not interval.is_over()
    now[0] = 112.0
    assert interval.restart(steps=54) == (2.0, {"steps": 2.0})
    assert interval.restart(bytes=1_000) == (1e-9, {"bytes": 0.0})
    interval.restart(steps=1_000)  # counts of a resumed run go on from there
    now[0] = 116.0
    assert interval.restart(steps=1_010) == (4.0, {"steps": 2.5})


def test_processor_share_counts_from_row_to_row():
    clock, cpu = iter([100.0, 104.0, 105.0]), iter([7.0, 13.0, 13.5])
    usage = ProcessUsage("actor", clock=lambda: next(clock), cpu_clock=lambda: next(cpu))
    assert usage.row()["actor/process/cpu_share"] == 1.5
    assert usage.row()["actor/process/cpu_share"] == 0.5


def test_work_is_seen_and_sleep_is_not():
    usage = ProcessUsage("actor")
    time.sleep(0.2)
    asleep = usage.row()["actor/process/cpu_share"]
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert usage.row()["actor/process/cpu_share"] > asleep


def test_resident_memory_grows_by_what_is_touched():
    before = resident_bytes()
    touched = mmap.mmap(-1, 64_000_000)  # the C library might have as much to spare
    touched.write(bytes(len(touched)))
    assert resident_bytes() - before > 0.9 * len(touched)


def test_search_rates_count_roots_and_whole_batches():
    rates = SearchRates("actor", num_simulations=50, batch_size=8)
    rates.add(8)
    rates.add(3)
    row = rates.row(elapsed_s=2.0)
    assert row == {
        "actor/searches_per_s": 5.5,
        "actor/simulations_per_s": 275.0,
        "actor/recurrent_inferences_per_s": 400.0,
    }
    assert set(rates.row(elapsed_s=2.0).values()) == {0.0}


def test_replays_threads_share_their_time():
    before = ReplayCounts(steps_inserted=10, steps_working_ms=4, waiting_ms=1_000)
    after = ReplayCounts(
        steps_inserted=30,
        steps_sampled=20,
        batches_inserted=2,
        batches_taken=2,
        steps_working_ms=204,
        batches_working_ms=100,
        waiting_ms=4_400,
    )
    row = time_row(before, after, elapsed_s=2.0)  # two threads: 4,000 ms
    assert row == pytest.approx(
        {
            "replay/time/steps_ms": 200 / 40,
            "replay/time/steps_share": 0.05,
            "replay/time/batches_ms": 100 / 4,
            "replay/time/batches_share": 0.025,
            "replay/time/wait_clients_share": 0.85,
            "replay/time/wait_share": 0.85,
            "replay/time/other_share": 0.075,
        }
    )


@pytest.mark.parametrize(
    ("metric", "role", "axis"),
    [
        ("learner/loss", "learner", "learner/train_steps"),
        ("learner/train_steps", "learner", "learner/train_steps"),
        ("learner/train_steps_per_s", "learner", "learner/wall_s"),
        ("learner/time/forward_ms", "learner", "learner/wall_s"),
        ("actor/weights_age_s", "actor", "actor/wall_s"),
        ("actor/weights_age_train_steps", "actor", "actor/env_steps"),
        ("replay/queue_fill_share", "replay", "replay/wall_s"),
        ("eval/return_mean", "evaluator", "eval/env_steps"),
        ("evaluator/searches_per_s", "evaluator", "evaluator/wall_s"),
    ],
)
def test_axis_follows_from_the_name(metric, role, axis):
    assert axis_of(metric, role) == axis


def test_the_page_names_the_axis_that_follows_from_each_name():
    ends = {"env_steps": ("env_steps", "steps_inserted"), "wall": ("wall_s",)}
    page = read_page()
    assert len(page) > 150
    for metric in page:
        first = metric.name.partition("/")[0]
        axis = axis_of(metric.name, "evaluator" if first == "eval" else first)
        assert axis.partition("/")[2] in ends.get(metric.axis, (metric.axis,)), metric


def test_returns_are_logged_one_by_one_and_normalised_for_the_26_games():
    row = return_statistics([1.0, 4.0, 25.0], "ALE/Breakout-v5")
    assert row == {
        "eval/return_mean": 10.0,
        "eval/return_median": 4.0,
        "eval/return_min": 1.0,
        "eval/return_max": 25.0,
        "eval/return_episode0": 1.0,
        "eval/return_episode1": 4.0,
        "eval/return_episode2": 25.0,
        "eval/human_normalized_mean": pytest.approx((10.0 - 1.7) / (30.5 - 1.7)),
    }
    assert "eval/human_normalized_mean" not in return_statistics([1.0], "CartPole-v1")


def test_a_game_is_known_by_its_id():
    assert atari100k_game("ALE/Pong-v5") == "Pong"
    assert atari100k_game("ALE/Tennis-v5") is None  # no game of Atari 100k
    assert atari100k_game("CartPole-v1") is None


@pytest.mark.parametrize(
    ("column", "mean", "median"),
    [
        ("MuZero", 0.562, 0.227),
        ("EfficientZero", 1.943, 1.090),
        ("SimPLe", 0.332, 0.134),
        ("SPR", 0.616, 0.396),
        ("BBF", 2.247, 0.917),
    ],
)
def test_columns_have_the_aggregates_that_their_papers_print(column, mean, median):
    scores = atari100k_scores()
    assert len(scores) == 26
    assert column in published_columns()
    normalized = [human_normalized(game, row[column]) for game, row in scores.items()]
    assert np.mean(normalized) == pytest.approx(mean, abs=0.001)
    assert np.median(normalized) == pytest.approx(median, abs=0.001)


def test_every_cell_of_the_score_table_is_filled():
    path = (
        Path(__file__).resolve().parents[4] / "efficientzero" / "envs" / "atari" / "atari100k.csv"
    )
    rows = list(csv.reader(path.read_text().splitlines()))
    assert {len(row) for row in rows} == {15}
    assert all(cell for row in rows for cell in row)
