"""The scaling of actors: rates, waits, speed-up and returns by hand, and the picture."""

import dataclasses
import json

import pytest

from deploy.results import scaling
from deploy.results.scaling import (
    ScalingRun,
    mean_curve,
    read_scaling_run,
    scaling_points,
    scaling_table,
)
from deploy.results.scaling_figure import draw_scaling
from deploy.results.wandb_history import Row
from tests.support.fakes import tiny_config, tiny_run


def measured(actors, speed, *, seed=0, returns=((100, 0.0), (300, 1.0)), **waits):
    return ScalingRun(
        actors=actors,
        seed=seed,
        env_steps_per_s=speed,
        train_steps_per_s=speed / 2,
        wait_shares=waits,
        stamp=None,
        returns=returns,
    )


def test_speed_up_and_efficiency_are_over_the_fewest_actors():
    runs = [measured(8, 48.0), measured(2, 20.0, seed=1), measured(2, 10.0)]
    two, eight = scaling_points(runs)
    assert (two.actors, two.seeds, two.env_steps_per_s) == (2, 2, 15.0)
    assert (two.speed_up, two.efficiency) == (1.0, 1.0)
    assert eight.speed_up == pytest.approx(48 / 15)
    assert eight.efficiency == pytest.approx(48 / 15 / 4)  # four times the actors
    assert eight.train_steps_per_s == 24.0


def test_waits_are_means_over_seeds_and_unknown_ones_stay_unknown():
    runs = [measured(1, 1.0, actor=0.2, learner=0.5), measured(1, 1.0, seed=1, actor=0.4)]
    (point,) = scaling_points(runs)
    assert point.wait_shares["actor"] == pytest.approx(0.3)
    assert point.wait_shares["learner"] == 0.5
    assert "| - |" in scaling_table([point])


def test_large_numbers_are_written_in_full():
    assert "| 1,794 |" in scaling_table(scaling_points([measured(1, 1793.6)]))


def test_returns_are_compared_at_env_steps_that_all_have_reached():
    runs = [
        measured(1, 1.0, returns=((100, 0.0), (300, 1.0))),
        measured(2, 1.0, returns=((100, 0.0), (200, 0.8))),
    ]
    one, two = scaling_points(runs)
    assert (one.final_return, two.final_return) == (0.5, 0.8)
    assert "return at 200 env_steps" in scaling_table([one, two])


def test_curves_are_averaged_between_evaluations_from_where_all_have_begun():
    curves = [[(0, 0.0), (100, 1.0)], [(50, 0.0), (150, 1.0)]]
    assert mean_curve(curves, 100) == ((50, 0.25), (100, 0.75))
    assert mean_curve([], 100) == ()


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run of 100 env_steps; learner rows at 10, 20 and 40 s, the last one after collection."""
    config = tiny_config()
    cluster = dataclasses.replace(config.cluster, num_actors=3)
    tiny_run(tmp_path, dataclasses.replace(config, cluster=cluster, seed=4)).save()
    evaluations = [(50, -1.0), (100, 0.25), (100, 0.75)]
    (tmp_path / "evaluations.jsonl").write_text(
        "".join(json.dumps({"env_steps": e, "return_mean": r}) + "\n" for e, r in evaluations)
    )

    def row(role, index, seconds, **values):
        named = {name.replace("__", "/"): value for name, value in values.items()}
        share = {f"{role}/time/wait_share": named.pop("wait")}
        return Row(role, index, {"_timestamp": 1e9 + seconds, **share, **named})

    rows = [
        row("actor", 0, 9.0, wait=1.0),  # before: start-up
        row("actor", 0, 15.0, wait=0.2),
        row("actor", 1, 16.0, wait=0.6),
        row("actor", 1, 30.0, wait=1.0),  # four seconds of it before collection's end
        row("actor", 1, 35.0, wait=0.0),  # after
        row("reanalyzer", 0, 45.0, wait=0.7),  # its only row, which tells of all the time
        row("learner", 0, 10.0, learner__env_steps=20, learner__train_steps=2, wait=0.9),
        row("learner", 0, 20.0, learner__env_steps=70, learner__train_steps=12, wait=0.5),
        row("learner", 0, 40.0, learner__env_steps=100, learner__train_steps=24, wait=0.0),
    ]
    monkeypatch.setattr(scaling, "read_rows", lambda directory: rows)
    return tmp_path


def test_a_run_is_measured_from_its_first_row_to_the_end_of_collection(run_dir):
    run = read_scaling_run(run_dir)
    assert (run.actors, run.seed) == (3, 4)
    assert run.env_steps_per_s == pytest.approx(5.0)
    assert run.train_steps_per_s == pytest.approx(1.0)
    actors = (5 * 0.2 + 6 * 0.6 + 4 * 1.0) / 15  # by the seconds in the window
    assert run.wait_shares == pytest.approx({"actor": actors, "learner": 0.5, "reanalyzer": 0.7})
    assert run.returns == ((50, -1.0), (100, 0.75))
    assert run.stamp is None


def test_an_untracked_run_has_no_rates(run_dir, monkeypatch):
    monkeypatch.setattr(scaling, "read_rows", lambda directory: [])
    run = read_scaling_run(run_dir)
    assert (run.env_steps_per_s, run.train_steps_per_s, run.wait_shares) == (None, None, {})
    (point,) = scaling_points([run])
    assert "| 3 | 1 | - | - | - | - |" in scaling_table([point])


def test_picture_is_a_png_even_with_gaps(tmp_path):
    points = scaling_points([measured(1, 10.0, actor=0.5), measured(2, 18.0, returns=())])
    draw_scaling(points, title="Catch-v0", out=tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
