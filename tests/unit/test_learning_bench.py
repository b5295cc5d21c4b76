"""The learning bench: plans, what is skipped, statistics, picture and page; no training."""

import itertools
import json
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.baselines.curves import read_curves
from benchmarks.baselines.drawing import COLORS
from benchmarks.learning import cell_runner
from benchmarks.learning.cell_runner import finished_runs, run_cells
from benchmarks.learning.cells import CHANGES, FULL, TASKS, VARIANTS, Cell, make_plan
from benchmarks.learning.command import plan_lines
from benchmarks.learning.intervals import Interval, mean_band, mean_interval
from benchmarks.learning.picture import draw
from benchmarks.learning.results import (
    gain_of_search,
    paired_difference,
    read_result,
    return_curve,
    return_over_training,
    training_returns,
)
from efficientzero.config_files import config_to_dict, flatten, load_preset
from efficientzero.run_folder import write_json
from efficientzero.runtime import StopSignal
from tests.fakes import tiny_run

SUMMARY = {"exit_code": 0, "eval_is_final": True, "wall_s": 90.0}


def catch_plan(*, seeds=(0, 1, 2), variants=()) -> list[Cell]:
    return make_plan(tasks=("catch",), seeds=seeds, variants=variants, variant_task="catch")


def finish(cell: Cell, runs_dir: Path, returns: list[float], **summary) -> Path:
    """Write what a finished run of the cell leaves behind; ``returns`` at even env_steps."""
    run = replace(tiny_run(runs_dir / cell.name, cell.config), versions={"git_commit": "c0ffee"})
    run.save()
    lines = []
    for index, value in enumerate(returns, start=1):
        evaluation = {
            "returns": [value - 0.5, value + 0.5],
            "env_steps": 3000 * index // len(returns),
            "train_steps": 100 * index,
            "wall_s": 60.0 * index,
            "is_final": index == len(returns),
        }
        lines.append(json.dumps(evaluation) + "\n")
    (run.directory / "evaluations.jsonl").write_text("".join(lines))
    values = SUMMARY | {"config_hash": run.config_hash, "seed": cell.seed, "versions": run.versions}
    write_json(run.directory / "summary.json", values | summary)
    if cell.variant == FULL:
        for policy, value in (("prior", 0.25 + 0.01 * cell.seed), ("random", -0.5)):
            write_json(run.directory / f"baseline-{policy}.json", {"return_mean": value})
    return run.directory


@pytest.fixture
def no_signal_handlers(monkeypatch):
    """Leave the handlers of the test's process as they are."""
    monkeypatch.setattr(
        "benchmarks.learning.command.install_stop_handlers", lambda stop, exit_grace_s: None
    )


def test_the_plan_is_every_task_then_the_variants_each_with_every_seed():
    plan = make_plan(
        tasks=("catch", "cartpole"),
        seeds=(5, 7),
        variants=("no-priority", "no-reanalyze"),
        variant_task="catch",
    )
    assert [cell.name for cell in plan] == [
        *("catch-full-s5", "catch-full-s7", "cartpole-full-s5", "cartpole-full-s7"),
        *("catch-no-priority-s5", "catch-no-priority-s7"),
        *("catch-no-reanalyze-s5", "catch-no-reanalyze-s7"),
    ]
    assert [cell.config.seed for cell in plan] == [5, 7] * 4


def test_variants_of_another_task_bring_what_they_are_compared_with():
    plan = make_plan(
        tasks=("catch",), seeds=(0,), variants=("no-priority",), variant_task="minatar"
    )
    assert [cell.name for cell in plan] == [
        "catch-full-s0",
        "minatar-full-s0",
        "minatar-no-priority-s0",
    ]


@pytest.mark.parametrize(
    "variant, wanted",
    [
        ("no-consistency", {"learner.consistency_coefficient": 0.0}),
        ("no-value-prefix", {"agent.value_prefix": False}),
        ("no-off-policy-correction", {"reanalyzer.off_policy_correction": False}),
        ("no-reanalyze", {"reanalyzer.policy_reanalyze_ratio": 0.0}),
        ("no-priority", {"replay.priority_exponent": 0.0}),
        ("gumbel", {"search.algorithm": "gumbel"}),
        ("no-search", {"search.algorithm": "gumbel", "search.num_simulations": 1}),
    ],
)
def test_a_variant_changes_its_part_and_nothing_else(variant, wanted):
    (cell,) = (c for c in catch_plan(seeds=(0,), variants=(variant,)) if c.variant == variant)
    preset = flatten(config_to_dict(load_preset("catch")))
    changed = {k: v for k, v in flatten(config_to_dict(cell.config)).items() if v != preset[k]}
    assert changed == wanted


def test_every_variant_is_tested_above():
    assert set(CHANGES) == set(VARIANTS) and len(VARIANTS) == 7


@pytest.mark.slow
def test_all_cells_of_the_whole_plan_differ_in_config_or_seed():
    plan = make_plan(tasks=TASKS, seeds=(0, 1, 2), variants=VARIANTS, variant_task="minatar")
    # minatar's search is Gumbel's, so that the variant gumbel is the preset.
    assert len({cell.key for cell in plan}) == len(plan) == 3 * (len(TASKS) + len(VARIANTS) - 1)


def test_play_without_a_tree_is_compared_with_the_same_search_with_one():
    names = [cell.name for cell in catch_plan(seeds=(0,), variants=("no-search",))]
    assert names == ["catch-full-s0", "catch-gumbel-s0", "catch-no-search-s0"]
    gumbel, without = (
        flatten(config_to_dict(cell.config))
        for cell in catch_plan(seeds=(0,), variants=("no-search",))[1:]
    )
    assert [key for key in gumbel if gumbel[key] != without[key]] == ["search.num_simulations"]
    of_minatar = make_plan(
        tasks=(), seeds=(0,), variants=("no-search", "gumbel"), variant_task="minatar"
    )
    assert [cell.name for cell in of_minatar] == ["minatar-full-s0", "minatar-no-search-s0"]


def test_the_page_names_what_play_without_a_tree_is_compared_with(tmp_path, no_signal_handlers):
    returns = {FULL: [0.2, 0.9], "gumbel": [-0.4, 0.1], "no-search": [-0.4, 0.1]}
    for cell in catch_plan(variants=("no-search",)):
        noise = 0.05 * (cell.seed - 1)
        finish(cell, tmp_path / "runs", [value + noise for value in returns[cell.variant]])
    options = ("--variant-task", "catch", "--variants", "no-search")
    assert report(tmp_path, *options) == 0
    page = (tmp_path / "docs" / "a.md").read_text()
    (gumbel,) = (line for line in page.splitlines() if line.startswith("| gumbel |"))
    (without,) = (line for line in page.splitlines() if line.startswith("| no-search |"))
    assert "| yes / yes / - | -0.80 [-0.80, -0.80] (n = 3) |" in gumbel
    assert "| gumbel: no / no / - | 0.00 [0.00, 0.00] (n = 3) |" in without


def test_overrides_reach_every_cell():
    plan = make_plan(
        tasks=("catch",),
        seeds=(0,),
        variants=("no-priority",),
        variant_task="catch",
        overrides=("budget.env-steps=700", "learner.no-augmentation"),
    )
    assert [cell.config.budget.env_steps for cell in plan] == [700, 700]
    assert [cell.config.replay.priority_exponent for cell in plan] == [0.6, 0.0]


def test_a_cell_has_the_network_that_the_launcher_gives_its_images():
    (cell,) = make_plan(
        tasks=("atari-small",),
        seeds=(0,),
        variants=(),
        variant_task="catch",
        overrides=("env.atari.image-size=32",),
    )
    assert cell.config.network.downsample == 8


def test_only_runs_at_budget_with_the_same_config_and_seed_count_as_finished(tmp_path):
    cells = catch_plan(seeds=(0, 1, 2, 3, 4))
    directory = finish(cells[0], tmp_path, [1.0])
    finish(cells[1], tmp_path, [1.0], exit_code=130)
    finish(cells[2], tmp_path, [1.0], eval_is_final=False)
    (tmp_path / cells[3].name).mkdir()
    (tmp_path / cells[3].name / "summary.json").write_text('{"exit_code": 0, ')
    (finish(cells[4], tmp_path, [1.0]) / "config.json").write_text('{"config": {"gone": 1}}')
    assert finished_runs(tmp_path) == {cells[0].key: directory}
    (other,) = make_plan(
        tasks=("catch",),
        seeds=(0,),
        variants=(),
        variant_task="catch",
        overrides=("learner.batch-size=16",),
    )
    assert other.key not in finished_runs(tmp_path)


def test_the_plan_is_printed_with_seeds_and_time(tmp_path):
    cells = catch_plan(variants=("no-priority",))
    finish(cells[1], tmp_path, [1.0])
    lines = plan_lines(cells, finished_runs(tmp_path), jobs=1)
    assert lines[1].split() == ["catch", "full", "1", "0", "2", "8"]  # minutes, two runs
    assert lines[2].split() == ["catch", "no-priority", "0", "1", "2", "12"]
    assert lines[3].startswith("5 of 6 runs to make, 1 at a time: about 0.3 h")


def test_a_dry_run_prints_the_plan_and_leaves_nothing(tmp_path, capsys):
    runs_dir, out = tmp_path / "runs", tmp_path / "docs" / "a.png"
    options = ("--dry-run", "--runs-dir", str(runs_dir), "--out", str(out))
    assert main(["learning", *options]) == 0
    assert "30 of 30 runs to make" in capsys.readouterr().err
    assert not runs_dir.exists() and not out.parent.exists()


@pytest.fixture
def fake_launch(tmp_path, monkeypatch):
    """Put a launch.py in the runner's place that says who it is, and sleeps or fails if told."""
    script = """
import pathlib, signal, sys, time
name = next(a for a in sys.argv if a.startswith("--run-id")).partition("=")[2]
folder = pathlib.Path(next(a for a in sys.argv if a.startswith("--runs-dir")).partition("=")[2])
with (folder / "started").open("a") as file:
    file.write(f"{name}\\n")
if "s1" in name:
    sys.exit("no such thing")
if "s2" in name:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (folder / "sleeps").touch()
    time.sleep(120)
"""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "launch.py").write_text(script)
    monkeypatch.setattr(cell_runner, "CHECKOUT", checkout)
    return tmp_path / "runs"


def run_them(runs_dir, cells, *, stop=None, limit_s=60.0, jobs=1, after=lambda cell, path: None):
    notes: list[str] = []
    outcomes = run_cells(
        cells,
        after,
        runs_dir=runs_dir,
        jobs=jobs,
        limit_s=limit_s,
        stop=stop or StopSignal(),
        note=notes.append,
    )
    return outcomes, notes


def test_a_failed_cell_is_reported_and_the_others_go_on(fake_launch):
    outcomes, notes = run_them(fake_launch, catch_plan(seeds=(0, 1, 3)))
    assert [outcome.directory for outcome in outcomes] == [
        fake_launch / "catch-full-s0",
        None,
        fake_launch / "catch-full-s3",
    ]
    assert outcomes[1].problem == "failed with exit code 1: no such thing"
    assert "[2/3] catch full seed 1: failed with exit code 1" in " ".join(notes)
    assert (fake_launch / "started").read_text().split() == [
        f"catch-full-s{seed}" for seed in (0, 1, 3)
    ]


def test_a_cell_whose_baselines_fail_has_failed(fake_launch):
    def fail(cell, directory):
        raise ValueError("no checkpoint yet")

    ((outcome,), _) = run_them(fake_launch, catch_plan(seeds=(0,)), after=fail)
    assert (outcome.directory, outcome.problem) == (None, "no checkpoint yet")


def test_a_run_that_takes_too_long_is_ended(fake_launch):
    ((outcome,), _) = run_them(fake_launch, catch_plan(seeds=(2,)), limit_s=1e-3)
    assert outcome.directory is None
    assert "still running after" in outcome.problem


def test_a_stop_ends_the_running_cell_and_starts_no_other(fake_launch):
    stop = StopSignal()
    sleeps = fake_launch / "sleeps"

    def stop_once_it_sleeps():
        while not sleeps.exists() and not stop.wait(0.05):
            pass
        stop.set(signal.Signals.SIGINT.name)

    watcher = threading.Thread(target=stop_once_it_sleeps)
    watcher.start()
    outcomes, _ = run_them(fake_launch, catch_plan(seeds=(2, 0)), stop=stop)
    watcher.join()
    assert [outcome.problem for outcome in outcomes] == ["stopped (SIGINT)", "not started"]
    assert (fake_launch / "started").read_text().split() == ["catch-full-s2"]


def test_a_cell_that_was_interrupted_starts_again_in_a_folder_of_its_own(fake_launch):
    cells = catch_plan(seeds=(0,))
    (fake_launch / "catch-full-s0").mkdir(parents=True)
    (fake_launch / "catch-full-s0-2.log").touch()  # ended before it had a folder
    ((outcome,), _) = run_them(fake_launch, cells)
    assert outcome.directory == fake_launch / "catch-full-s0-3"


def test_a_mean_has_the_percentile_interval_of_all_resamples():
    values = [1.0, 2.0, 6.0, 7.0]
    means = sorted(np.mean(chosen) for chosen in itertools.product(values, repeat=4))
    interval = mean_interval(values)
    assert (interval.mean, interval.n) == (4.0, 4)
    # All 256 resamples, against 9,999 drawn ones: they take steps of 0.25 here.
    low, high = np.percentile(means, (2.5, 97.5))
    assert interval.low == pytest.approx(low, abs=0.26)
    assert interval.high == pytest.approx(high, abs=0.26)
    assert mean_interval(values) == interval


def test_with_three_seeds_the_interval_is_the_smallest_to_the_largest():
    interval = mean_interval([3.0, 1.0, 2.0])
    assert (interval.low, interval.mean, interval.high) == (1.0, 2.0, 3.0)
    same = mean_interval([500.0] * 3)
    assert (same.low, same.high) == (500.0, 500.0)


def test_one_seed_has_no_interval_and_is_apart_from_nothing():
    one, many = mean_interval([9.0]), mean_interval([1.0, 2.0, 3.0])
    assert (one.mean, one.n) == (9.0, 1)
    assert np.isnan([one.low, one.high]).all()
    assert not one.is_apart_from(many) and not many.is_apart_from(one)


def test_intervals_that_touch_are_not_apart():
    low = Interval(mean=1.0, low=0.0, high=2.0, n=3)
    assert low.is_apart_from(replace(low, low=2.5, high=3.0))
    assert replace(low, low=2.5, high=3.0).is_apart_from(low)
    assert not low.is_apart_from(replace(low, low=2.0, high=3.0))


def test_gain_of_search_is_the_mean_of_pairs():
    def result(reached, alone):
        return SimpleNamespace(
            run=SimpleNamespace(last=SimpleNamespace(mean=reached)), baselines={"prior": alone}
        )

    # Seeds differ more than what search adds to each.
    gain = gain_of_search([result(1.0, 0.5), result(3.0, 2.0), result(8.0, 7.25)])
    assert (gain.mean, gain.low, gain.high, gain.n) == (0.75, 0.5, 1.0, 3)


def test_a_variant_is_paired_by_seed_with_what_it_is_compared_with():
    def result(seed, value):
        return SimpleNamespace(cell=SimpleNamespace(seed=seed), value=value)

    ours = [result(0, 1.0), result(1, 5.0), result(7, 90.0)]
    found = paired_difference(ours, [result(1, 4.5), result(0, 0.0)], lambda r: r.value)
    assert (found.mean, found.low, found.high, found.n) == (0.75, 0.5, 1.0, 2)
    assert paired_difference(ours, [result(2, 0.0)], lambda r: r.value) is None


def test_a_band_is_the_interval_of_each_point():
    values = np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]])
    means, lows, highs = mean_band(values)
    assert (means.tolist(), lows.tolist(), highs.tolist()) == ([2, 20], [1, 10], [3, 30])


def test_the_curve_of_seeds_is_told_where_all_of_them_have_evaluations(tmp_path):
    cells = catch_plan(seeds=(0, 1))
    results = [
        read_result(cell, finish(cell, tmp_path, returns))
        for cell, returns in zip(cells, ([0.0, 1.0], [0.2, 0.4, 0.6]), strict=True)
    ]
    points, means, lows, highs = return_curve(results)
    # Evaluations at 1500 and 3000, and at 1000, 2000 and 3000.
    assert points.tolist() == [1500.0, 2000.0, 3000.0]
    np.testing.assert_allclose(means, [(0.0 + 0.3) / 2, (1 / 3 + 0.4) / 2, (1.0 + 0.6) / 2])
    np.testing.assert_allclose(lows, [0.0, 1 / 3, 0.6])
    np.testing.assert_allclose(highs, [0.3, 0.4, 1.0])


def test_all_env_steps_of_a_curve_weigh_alike(tmp_path):
    (cell,) = catch_plan(seeds=(0,))
    directory = finish(cell, tmp_path, [0.0, 1.0])
    path = directory / "evaluations.jsonl"
    first, last = map(json.loads, path.read_text().splitlines())
    between = last | {"returns": [1.0], "env_steps": 1600, "is_final": False}
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, between, last)))
    result = read_result(cell, directory)
    # 100 env_steps of 0.5 on average, 1,400 of 1.
    assert return_over_training([result]).mean == pytest.approx((50 + 1400) / 1500)
    path.write_text(json.dumps(last) + "\n")
    assert return_over_training([read_result(cell, directory)]).mean == 1.0


def test_training_games_are_told_where_every_seed_ended_some(tmp_path):
    games = {0: [(3, 1.0), (10, 3.0), (11, 9.0)], 1: [(10, 4.0)]}
    results = []
    for cell in catch_plan(seeds=(0, 1), variants=()):
        directory = finish(cell, tmp_path, [1.0])
        lines = [json.dumps({"env_steps": e, "return": r}) + "\n" for e, r in games[cell.seed]]
        (directory / "episodes.jsonl").write_text("".join(lines))
        results.append(read_result(cell, directory))
    first, second = training_returns(results, (0, 10, 20))
    assert (first.mean, first.low, first.high, first.n) == (3.0, 2.0, 4.0, 2)
    assert second is None  # seed 1 ended none


def test_training_games_without_a_return_are_refused_with_their_folder(tmp_path):
    (cell,) = catch_plan(seeds=(0,), variants=())
    directory = finish(cell, tmp_path, [1.0])
    (directory / "episodes.jsonl").write_text('{"env_steps": 9}\n')
    with pytest.raises(ValueError, match=f"{cell.name}: KeyError: 'return'"):
        read_result(cell, directory)


def test_of_two_evaluations_at_the_same_env_steps_the_later_one_counts(tmp_path):
    (cell,) = catch_plan(seeds=(0,))
    directory = finish(cell, tmp_path, [0.0, 1.0])
    path = directory / "evaluations.jsonl"
    first, last = map(json.loads, path.read_text().splitlines())
    before = last | {"returns": [0.1], "is_final": False, "wall_s": 61.0}
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, before, last)))
    env_steps, returns = read_result(cell, directory).curve
    assert (env_steps.tolist(), returns.tolist()) == ([1500.0, 3000.0], [0.0, 1.0])


def report(tmp_path, *options: str) -> int:
    places = ("--runs-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "docs" / "a.png"))
    return main(["learning", "--jobs", "0", "--tasks", "catch", *options, *places])


PLAIN = """env,algorithm,seed,env_steps,return_mean,cpu_seconds
Catch-v0,dqn,7,6000,0.25,3.0
Catch-v0,dqn,7,12000,0.75,7.0
Catch-v0,dqn,7,20000,1,15.0
Catch-v0,dqn,8,12000,0.25,9.0
Catch-v0,random,7,12000,-0.5,0.0
CartPole-v1,dqn,7,12000,90,3.0
"""


def test_plain_baselines_of_the_same_environment_are_in_table_and_picture(
    tmp_path, no_signal_handlers
):
    for cell in catch_plan():
        finish(cell, tmp_path / "runs", [0.0, 1.0], cpu_seconds={"learner": 70, "evaluator": 9})
    plain = tmp_path / "plain.csv"
    plain.write_text(PLAIN)
    assert report(tmp_path, "--variants", "--plain", str(plain)) == 0
    page = (tmp_path / "docs" / "a.md").read_text()
    assert "| 3000 | 200 | 1.5 | 70 |" in page
    # At most the preset's 12,000 env_steps; random play is in the runs' own row.
    (row,) = (line for line in page.splitlines() if line.startswith("| Catch-v0: "))
    assert row == ("| Catch-v0: DQN | 2 |  | 0.50 [0.25, 0.75] |  |  |  | 12000 |  |  | 8 |")
    assert "CartPole" not in page
    points = (tmp_path / "docs" / "a.csv").read_text().splitlines()
    assert points[1:3] == ["Catch-v0,full,0,1500,0,", "Catch-v0,full,0,3000,1,70.0"]
    assert len(points) == 1 + 3 * 2


def test_the_picture_has_returns_over_env_steps_and_over_cpu_seconds(tmp_path):
    plain_file = tmp_path / "plain.csv"
    plain_file.write_text(PLAIN)
    (cell,) = catch_plan(seeds=(0,))
    directory = finish(cell, tmp_path, [0.0, 1.0], cpu_seconds={"learner": 70.0})
    result = read_result(cell, directory)
    assert result.as_json()["curve"]["cpu_seconds"] == [None, 70.0]
    figure = draw([result], plain=read_curves(plain_file), variant_task="catch")
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("env_steps", "CPU-seconds of training")
    dqn = [line for line in left.lines if line.get_color() == COLORS["dqn"]]
    assert [line.get_xdata().tolist() for line in dqn] == [[12_000.0]]  # where both seeds are
    agent, dqn = right.lines
    assert (agent.get_xdata().tolist(), agent.get_ydata().tolist()) == ([70.0], [1.0])
    assert dqn.get_color() == COLORS["dqn"]
    # No number of CPU-seconds lies in both seeds' curves.
    assert (dqn.get_xdata().tolist(), dqn.get_ydata().tolist()) == ([7.0, 9.0], [0.75, 0.25])
    names = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert "DQN" in names


def test_curves_that_are_none_are_refused_before_anything_starts(tmp_path, capsys):
    plain = tmp_path / "plain.csv"
    plain.write_text("env,seed\nCatch-v0,1\n")
    assert report(tmp_path, "--plain", str(plain)) == 2
    assert "not the curves of baselines (KeyError: 'algorithm')" in capsys.readouterr().err


def test_runs_from_before_a_field_was_added_count_and_forks_do_not(tmp_path):
    (cell,) = catch_plan(seeds=(0,))
    directory = finish(cell, tmp_path, [1.0], config_hash="of an older version")
    path = directory / "config.json"
    values = json.loads(path.read_text())
    del values["config"]["env"]["action_repeat"]
    path.write_text(json.dumps(values))
    assert finished_runs(tmp_path) == {cell.key: directory}
    path.write_text(json.dumps(values | {"lineage": {"any": "thing"}}))
    assert finished_runs(tmp_path) == {}


@pytest.mark.slow
def test_finished_cells_are_reported_in_picture_page_and_objects(
    tmp_path, capsys, no_signal_handlers
):
    variants = ("no-priority",)
    for cell in catch_plan(variants=variants):
        end = 0.9 + 0.05 * cell.seed if cell.variant == FULL else 0.5
        directory = finish(cell, tmp_path / "runs", [-0.5, 0.0, end])
        if cell.variant == FULL:
            games = [{"env_steps": 9_000, "return": -9.0}, {"env_steps": 11_000, "return": 4.0}]
            games[1]["return"] += cell.seed
            (directory / "episodes.jsonl").write_text("\n".join(map(json.dumps, games)) + "\n")
    assert report(tmp_path, "--variant-task", "catch", "--variants", *variants, "--json") == 0
    picture = tmp_path / "docs" / "a.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    page = picture.with_suffix(".md").read_text()
    wanted = "| Catch-v0 | 3 | 0.95 [0.90, 1.00] | 0.26 [0.25, 0.27] | -0.50 [-0.50, -0.50] |"
    assert f"{wanted} yes / yes | 0.69 [0.65, 0.73] | 3000 | 300 | 1.5 |" in page
    assert "| full |  | 3 | 0.95 [0.90, 1.00] | 0.11 [0.10, 0.12] | 5.00 [4.00, 6.00] |  |" in page
    changed = "`--replay.priority-exponent=0` | 3 | 0.50 [0.50, 0.50] | 0.00 [0.00, 0.00] |  |"
    assert f"| no-priority | {changed} yes / yes / - |" in page
    assert "| catch | full | 2 | 1.00 | 2 | 0.27 | -0.50 | 1.5 |" in page
    assert "| git_commit | c0ffee |" in page
    assert "python -m benchmarks learning --jobs 0" in page
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(o["task"], o["variant"], o["seed"]) for o in objects] == [
        ("catch", variant, seed) for variant in (FULL, "no-priority") for seed in (0, 1, 2)
    ]
    assert objects[1]["return_mean"] == pytest.approx(0.95)
    assert objects[1]["return_without_search"] == 0.26
    assert objects[4]["return_without_search"] is None
    assert objects[0]["mean_over_training"] == pytest.approx(0.1)
    assert [o["last_training_games"] for o in objects[:4]] == [4.0, 5.0, 6.0, None]
    assert objects[0]["curve"]["env_steps"] == [1000.0, 2000.0, 3000.0]
    assert objects[0]["curve"]["return_mean"] == pytest.approx([-0.5, 0.0, 0.9])


@pytest.mark.slow
def test_cells_without_a_result_are_named_and_the_exit_code_tells(
    tmp_path, capsys, no_signal_handlers
):
    first, second, _ = catch_plan()
    finish(first, tmp_path / "runs", [0.0, 1.0])
    (finish(second, tmp_path / "runs", [0.0, 1.0]) / "evaluations.jsonl").write_text("")
    assert report(tmp_path, "--variants") == 1
    page = (tmp_path / "docs" / "a.md").read_text()
    assert "| Catch-v0 | 1 | 1.00 | 0.25 | -0.50 | no / no |" in page
    assert "* catch full seed 2: not run" in page
    assert "missing: catch full seed 1: " in capsys.readouterr().err


@pytest.mark.slow
def test_without_any_result_no_page_is_written(tmp_path, capsys, no_signal_handlers):
    assert report(tmp_path, "--variants") == 2
    assert (
        "no run of full has finished, so there is no page: catch full seed 0: not run"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--jobs", "-1"), "--jobs: got -1"),
        (("--out", "a.pdf"), "--out: got a.pdf, wanted a .png"),
        (("--seeds",), "got none"),
        (
            ("--out", "docs/results/baselines/baselines.png"),
            "whose CSV would replace docs/results/baselines/baselines.csv",
        ),
        (("--limit-minutes", "0"), "--limit-minutes: got 0.0"),
        (("--overrides", "budget.env-steps=0"), "budget.env_steps: got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(tmp_path, capsys, options, message):
    assert main(["learning", "--runs-dir", str(tmp_path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmarks: error: ") and message in line
