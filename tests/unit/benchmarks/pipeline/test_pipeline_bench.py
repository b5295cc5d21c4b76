"""The pipeline benchmark's own arithmetic and stand-ins; never how fast this machine is."""

import numpy as np
import pytest

from benchmarks.pipeline.frames import play_game
from benchmarks.pipeline.relay import measure_relay
from benchmarks.pipeline.scaling import Run, fairness_rows, scaling_rows
from benchmarks.pipeline.simulated_actors import RepeatedGame
from replay.service.address import PublicAddress


def run(*, turn_s, env_steps=4_100, in_replay=4_100, ratio=0.25) -> Run:
    return Run(env_steps=env_steps, steps_in_replay=in_replay, ratio=ratio, turn_s=turn_s)


def test_scaling_compares_with_the_first_run_grown_in_line():
    # 8 environments a turn: 16 env_steps/s alone; 16 + 12.8 of 32 with two.
    one, two = scaling_rows((1, 2), [run(turn_s=[0.5]), run(turn_s=[0.5, 0.625])])
    assert (one.value, one.holds) == (pytest.approx(100.0), True)
    assert (two.value, two.holds) == (pytest.approx(90.0), False)


def test_fairness_reports_the_widest_gap_of_ratios_and_the_worst_budget():
    runs = [run(turn_s=[1.0], ratio=r, in_replay=n) for r, n in ((0.25, 4_100), (0.246, 4_097))]
    ratio, budget = fairness_rows((1, 2), runs)
    assert (ratio.value, ratio.holds) == (pytest.approx(100 * (0.25 / 0.246 - 1)), False)
    assert (budget.value, budget.holds) == (3.0, False)
    exact = fairness_rows((1, 2), [run(turn_s=[1.0]), run(turn_s=[1.0], ratio=0.2499)])
    assert [row.holds for row in exact] == [True, True]


def test_a_repeated_game_shows_the_real_frames_and_ends_after_the_last():
    game = play_game("Pong", 3)
    envs = RepeatedGame(game, 2)
    np.testing.assert_array_equal(envs.reset([0, 1]).frames, game.frames[[0, 0]])
    envs.step([1], np.zeros(1, np.int64))
    steps = envs.step([0, 1], np.zeros(2, np.int64))
    np.testing.assert_array_equal(steps.observed.frames, game.frames[[1, 2]])
    last = envs.step([0, 1], np.zeros(2, np.int64))
    assert last.truncated.tolist() == last.game_over.tolist() == [False, True]
    np.testing.assert_array_equal(last.observed.frames, game.frames[[2, 3]])


def test_played_games_are_reproducible_and_their_policies_are_visit_shares():
    one, two = play_game("Breakout", 20), play_game("Breakout", 20)
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.policies, two.policies)
    np.testing.assert_allclose(one.policies.sum(1), 1.0, rtol=1e-6)
    assert one.frames.shape == (21, 3, 96, 96)


@pytest.mark.slow
@pytest.mark.reverb
def test_the_relays_cost_is_a_ratio_of_the_same_work_both_ways():
    rows = measure_relay(num_steps=60, batches=1, rounds=1)
    assert [row.unit for row in rows] == ["x", "x"]
    for row in rows:
        assert row.value > 0
        relayed, direct = (
            float(rate.split()[0].replace(",", "")) for rate in row.note.split(" against ")
        )
        assert row.value == pytest.approx(direct / relayed, rel=0.05)


def test_without_a_place_for_the_relay_its_cost_has_no_value(monkeypatch):
    def refuse(host, *, is_relayed):
        raise PublicAddress(f"{host} is a public address")

    monkeypatch.setattr("benchmarks.pipeline.relay.check_private", refuse)
    (row,) = measure_relay()
    assert (row.value, row.note) == (None, "0.0.0.0 is a public address")
