"""The learning page: runs of a grid or of folders, statistics, picture and tables; no training."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.baselines.command import BaselinesCommand, plan
from benchmarks.baselines.curves import LearningCurve, on_common_points, read_curves
from benchmarks.baselines.drawing import COLORS
from benchmarks.learning.collect import find_runs, read_results
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
from benchmarks.learning.scores import normalized_aggregates
from benchmarks.pages.arms import arm_names, read_cells
from efficientzero.config.fields import Config
from efficientzero.config.preset_files import load_preset
from efficientzero.runs.run_folder import write_json
from tests.support.finished_runs import SUMMARY, finish

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
MINATAR_100K = BENCHMARKS / "grids" / "minatar-100k.toml"
GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
CATCH = 'preset = "catch"\nenvs = ["Catch-v0"]\nseeds = [0, 1, 2]\n'


def catch(seed: int, arm: str = "", **learner) -> Config:
    preset = load_preset("catch")
    changed = replace(preset, seed=seed, learner=replace(preset.learner, **learner))
    return replace(changed, tracking=replace(preset.tracking, arm=arm))


@pytest.fixture(autouse=True)
def no_signal_handlers(monkeypatch):
    """Leave the handlers of the test's process as they are."""
    monkeypatch.setattr(
        "benchmarks.learning.command.install_stop_handlers", lambda stop, exit_grace_s: None
    )


def page_of(tmp_path: Path, *arguments: object) -> int:
    return main(["learning", *map(str, arguments), "--out", str(tmp_path / "docs" / "a.md")])


def row_of(page: str, *begin: str) -> str:
    (row,) = (line for line in page.splitlines() if line.startswith("| " + " | ".join(begin)))
    return row


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("**/*.toml")), ids=lambda path: path.stem)
def test_the_cells_of_every_grid_file_are_different_runs(path):
    cells = read_cells(path)
    seeds = {cell.config.seed for cell in cells}
    experiments = {json.dumps(dict(c.overrides) | {"seed": c.config.seed}) for c in cells}
    assert len(experiments) == len(cells) and len(cells) % len(seeds) == 0


def test_the_arms_of_the_search_grid_differ_in_simulations_alone():
    cells = read_cells(BENCHMARKS / "grids" / "catch-search.toml")
    assert {cell.config.search.algorithm for cell in cells} == {"gumbel"}
    names = arm_names([cell.config for cell in cells], "nothing")
    preset = load_preset("catch").search.num_simulations
    assert set(names) == {f"search.num_simulations={m}" for m in (preset, 1)}


def test_arms_are_named_by_what_differs_between_them():
    assert arm_names([catch(0), catch(1)], "agent") == ["agent", "agent"]
    study = [catch(0, "full"), catch(0, "no_x", consistency_coefficient=0.0)]
    assert arm_names(study, "agent") == ["full", "no_x"]
    sizes = [catch(0, "full", batch_size=8), catch(0, "full"), catch(0, "no_x")]
    assert arm_names(sizes, "agent") == [
        "full learner.batch_size=8",
        f"full learner.batch_size={load_preset('catch').learner.batch_size}",
        f"no_x learner.batch_size={load_preset('catch').learner.batch_size}",
    ]


def test_the_grid_is_five_games_of_three_seeds_trained_as_much_a_step_as_the_preset():
    cells, preset = read_cells(MINATAR_100K), load_preset("minatar")
    places = [(cell.config.env.id, cell.config.seed) for cell in cells]
    assert places == [(f"MinAtar/{g}-v1", s) for s in (100, 101, 102) for g in GAMES]
    for config in (cell.config for cell in cells):
        assert config.budget.env_steps == 100_000
        of_preset = preset.budget.train_steps_per_env_step
        assert config.budget.train_steps_per_env_step == pytest.approx(of_preset, rel=0.005)
        decays = [c.learner.lr_decay_steps / c.budget.train_steps for c in (config, preset)]
        assert decays[0] == pytest.approx(decays[1], rel=0.005)


def test_baselines_of_a_grid_have_its_games_budget_and_seeds(tmp_path):
    command = BaselinesCommand(grid=MINATAR_100K, algorithms=("ppo",), out=tmp_path)
    cells = plan(command)
    assert [cell.path.name for cell in cells[:2]] == [
        "MinAtar-Asterix-v1_minatar_100000_ppo_s100.json",
        "MinAtar-Breakout-v1_minatar_100000_ppo_s100.json",
    ]
    assert len({cell.path for cell in cells}) == 15
    with pytest.raises(ValueError, match="got --grid and --seeds"):
        plan(replace(command, seeds=(7,)))


def curves(env_id: str, method: str, *finals: float) -> list[LearningCurve]:
    return [
        LearningCurve(
            env_id=env_id,
            algorithm=method,
            seed=seed,
            env_steps=np.array([5.0, 10.0]),
            returns=np.array([0.0, final]),
            cpu_seconds=np.array([1.0, 2.0]),
        )
        for seed, final in enumerate(finals)
        if not np.isnan(final)
    ]


def test_scores_are_0_at_random_play_and_1_at_the_reference():
    nan = float("nan")
    known = [
        *(*curves("a", "random", 1.0, 1.0), *curves("b", "random", -1.0, -1.0)),
        *(*curves("a", "dqn", 2.0, 4.0), *curves("b", "dqn", 0.0, 2.0)),
        *(*curves("a", "us", 5.0, 3.0), *curves("b", "us", nan, 3.0)),
    ]
    found = normalized_aggregates(known, ["a", "b"], "dqn", samples=200)
    assert found.games == ("a", "b") and not found.left_out
    # Seed 0 of ours has no game b: only seed 1 counts, (3 - 1) / 2 and (3 + 1) / 2.
    assert found.seeds == {"random": (0, 1), "dqn": (0, 1), "us": (1,)}
    assert found.estimates["mean"]["us"].value == pytest.approx(1.5)
    assert found.estimates["mean"]["us"].low is None  # one seed
    assert found.estimates["mean"]["random"].value == 0.0
    dqn = found.estimates["IQM"]["dqn"]
    assert dqn.value == pytest.approx(1.0)
    assert dqn.low == pytest.approx(0.5) and dqn.high == pytest.approx(1.5)


def test_a_game_whose_reference_is_not_above_random_play_counts_for_nobody():
    known = [
        *(*curves("a", "random", 0.0, 0.0), *curves("a", "dqn", 1.0, 1.0)),
        *(*curves("b", "random", 0.0, 0.5), *curves("b", "dqn", 0.4, 0.6)),
        *curves("c", "dqn", 1.0, 1.0),
    ]
    found = normalized_aggregates(known, ["a", "b", "c"], "dqn", samples=20)
    assert found.games == ("a",)
    assert [line.partition(":")[0] for line in found.left_out] == ["b", "c"]
    assert "not clearly above random (0.25)" in found.left_out[0]
    assert found.left_out[1] == "c: no run of random"


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
        return SimpleNamespace(last=SimpleNamespace(mean=reached), alone={"prior": alone})

    # Seeds differ more than what search adds to each.
    gain = gain_of_search([result(1.0, 0.5), result(3.0, 2.0), result(8.0, 7.25)])
    assert (gain.mean, gain.low, gain.high, gain.n) == (0.75, 0.5, 1.0, 3)


def test_an_arm_is_paired_by_seed_with_what_it_is_compared_with():
    def result(seed, value):
        return SimpleNamespace(config=SimpleNamespace(seed=seed), value=value)

    ours = [result(0, 1.0), result(1, 5.0), result(7, 90.0)]
    found = paired_difference(ours, [result(1, 4.5), result(0, 0.0)], lambda r: r.value)
    assert (found.mean, found.low, found.high, found.n) == (0.75, 0.5, 1.0, 2)
    assert paired_difference(ours, [result(2, 0.0)], lambda r: r.value) is None


def test_a_band_is_the_interval_of_each_point():
    values = np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]])
    means, lows, highs = mean_band(values)
    assert (means.tolist(), lows.tolist(), highs.tolist()) == ([2, 20], [1, 10], [3, 30])


def test_curves_are_interpolated_at_every_point_that_all_of_them_cover():
    falling = (np.array([0.0, 10.0, 20.0]), np.array([30.0, 20.0, 10.0]))
    flat = (np.array([5.0, 15.0]), np.array([1.0, 1.0]))
    points, values = on_common_points([falling, flat])
    assert points.tolist() == [5.0, 10.0, 15.0]
    assert values.tolist() == [[25.0, 20.0, 15.0], [1.0, 1.0, 1.0]]


def test_curves_apart_have_no_common_point():
    points, values = on_common_points(
        [(np.array([0.0, 1.0]), np.zeros(2)), (np.array([2.0, 3.0]), np.ones(2))]
    )
    assert points.size == values.size == 0


def test_the_curve_of_seeds_is_known_where_all_of_them_have_evaluations(tmp_path):
    results = [
        read_result(finish(tmp_path / str(seed), catch(seed), returns))
        for seed, returns in enumerate(([0.0, 1.0], [0.2, 0.4, 0.6]))
    ]
    points, means, lows, highs = return_curve(results)
    # Evaluations at 1500 and 3000, and at 1000, 2000 and 3000.
    assert points.tolist() == [1500.0, 2000.0, 3000.0]
    np.testing.assert_allclose(means, [(0.0 + 0.3) / 2, (1 / 3 + 0.4) / 2, (1.0 + 0.6) / 2])
    np.testing.assert_allclose(lows, [0.0, 1 / 3, 0.6])
    np.testing.assert_allclose(highs, [0.3, 0.4, 1.0])


def test_all_env_steps_of_a_curve_weigh_alike(tmp_path):
    folder = finish(tmp_path / "a", catch(0), [0.0, 1.0])
    path = folder / "evaluations.jsonl"
    first, last = map(json.loads, path.read_text().splitlines())
    between = last | {"returns": [1.0], "env_steps": 1600, "is_final": False}
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, between, last)))
    # 100 env_steps of 0.5 on average, 1,400 of 1.
    reached = return_over_training([read_result(folder)])
    assert reached.mean == pytest.approx((50 + 1400) / 1500)
    path.write_text(json.dumps(last) + "\n")
    assert return_over_training([read_result(folder)]).mean == 1.0


def test_of_two_evaluations_at_the_same_env_steps_the_final_one_counts(tmp_path):
    folder = finish(tmp_path / "a", catch(0), [0.0, 1.0])
    path = folder / "evaluations.jsonl"
    first, last = map(json.loads, path.read_text().splitlines())
    before = last | {"returns": [0.1], "is_final": False, "wall_s": 999.0}
    path.write_text("".join(json.dumps(line) + "\n" for line in (last, first, before)))
    env_steps, returns = read_result(folder).curve
    assert (env_steps.tolist(), returns.tolist()) == ([1500.0, 3000.0], [0.0, 1.0])


def test_training_games_are_known_where_every_seed_ended_some(tmp_path):
    games = {0: [(3, 1.0), (10, 3.0), (11, 9.0)], 1: [(10, 4.0)]}
    results = []
    for seed, ended in games.items():
        folder = finish(tmp_path / str(seed), catch(seed), [1.0])
        lines = [json.dumps({"env_steps": e, "return": r}) + "\n" for e, r in ended]
        (folder / "episodes.jsonl").write_text("".join(lines))
        results.append(read_result(folder))
    first, second = training_returns(results, (0, 10, 20))
    assert (first.mean, first.low, first.high, first.n) == (3.0, 2.0, 4.0, 2)
    assert second is None  # seed 1 ended none


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("episodes.jsonl", '{"env_steps": 9}\n', "KeyError: 'return'"),
        ("evaluations.jsonl", '{"env_steps": 3}\n', "KeyError: 'returns'"),
        ("evaluations.jsonl", "", "it has no final evaluation"),
        ("config.json", '{"config": {"gone": 1}}', "config.json"),
        ("summary.json", '{"exit_code": 0, ', "not finished"),
        ("summary.json", '{"exit_code": 130, "exit_reason": "interrupted"}', "interrupted"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path, file, text, message):
    good, bad = (finish(tmp_path / str(seed), catch(seed), [1.0]) for seed in (0, 1))
    (bad / file).write_text(text)
    (result,), (line,) = read_results([good, bad])
    assert result.run.directory == good
    assert line.startswith(f"{bad}: ") and message in line


PLAIN = """env,algorithm,seed,env_steps,return_mean,cpu_seconds
Catch-v0,dqn,7,6000,0.25,3.0
Catch-v0,dqn,7,12000,0.75,7.0
Catch-v0,dqn,7,20000,1,15.0
Catch-v0,dqn,8,12000,0.25,9.0
Catch-v0,random,7,12000,-0.5,0.0
CartPole-v1,dqn,7,12000,90,3.0
"""


def test_plain_baselines_of_the_same_environment_are_in_table_and_picture(tmp_path):
    cost = {"learner": 70, "evaluator": 9}
    for seed in range(3):
        finish(tmp_path / str(seed), catch(seed), [0.0, 1.0], cpu_seconds=cost)
    plain = tmp_path / "plain.csv"
    plain.write_text(PLAIN)
    folders = [tmp_path / str(seed) for seed in range(3)]
    assert page_of(tmp_path, *folders, "--plain", plain) == 0
    page = (tmp_path / "docs" / "a.md").read_text()
    assert "| 3000 | 200 | 1.5 | 70 |" in page
    # At most the preset's 12,000 env_steps; random play is in the runs' own row.
    assert row_of(page, "Catch-v0: ") == (
        "| Catch-v0: DQN | 2 |  | 0.50 [0.25, 0.75] |  |  |  | 12000 |  |  | 8 |"
    )
    assert "CartPole" not in page
    points = (tmp_path / "docs" / "a.csv").read_text().splitlines()
    assert points[1] == "Catch-v0,EfficientZero,0,1500,0,"
    assert points[2] == "Catch-v0,EfficientZero,0,3000,1,70.0"
    assert len(points) == 1 + 3 * 2


def test_the_picture_has_returns_over_env_steps_and_over_cpu_seconds(tmp_path):
    plain_file = tmp_path / "plain.csv"
    plain_file.write_text(PLAIN)
    folder = finish(tmp_path / "a", catch(0), [0.0, 1.0], cpu_seconds={"learner": 70.0})
    result = replace(read_result(folder), alone={"prior": 0.0, "random": 0.0})
    np.testing.assert_equal(result.learning_curve.cpu_seconds, [np.nan, 70.0])
    figure = draw([result], plain=read_curves(plain_file))
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


@pytest.mark.slow
def test_the_page_of_a_grid_has_its_finished_cells_and_names_the_others(tmp_path, capsys):
    grid, runs_dir = tmp_path / "grid.toml", tmp_path / "runs"
    grid.write_text(CATCH + 'components = ["priority"]\n')
    ends = {"full": 0.9, "no_priority": 0.5}
    overrides = ("learner.batch-size=16",)
    for cell in read_cells(grid, overrides):
        arm, seed = cell.config.tracking.arm, cell.config.seed
        end = ends[arm] + 0.05 * seed * (arm == "full")
        folder = finish(runs_dir / f"{arm}{seed}", cell.config, [-0.5, 0.0, end])
        games = [{"env_steps": 9_000, "return": -9.0}, {"env_steps": 11_000, "return": 4.0 + seed}]
        (folder / "episodes.jsonl").write_text("\n".join(map(json.dumps, games)) + "\n")
    stopped = {"exit_code": 1, "exit_reason": "failed: no such thing"}
    write_json(runs_dir / "no_priority2" / "summary.json", SUMMARY | stopped)
    summary = runs_dir / "full0" / "summary.json"
    summary.rename(tmp_path / "finished")
    folders, missing = find_runs([grid], runs_dir, overrides)
    names = ("full1", "full2", "no_priority0", "no_priority1")  # the first arm stays the first
    assert folders == [runs_dir / name for name in names]
    assert missing == [
        "full Catch-v0 s0: not finished, no checkpoint yet (full0)",
        "no_priority Catch-v0 s2: not finished, failed: no such thing (no_priority2)",
    ]
    (tmp_path / "finished").rename(summary)
    options = ("--runs-dir", runs_dir, "--overrides", *overrides)
    assert page_of(tmp_path, grid, *options) == 1
    assert f"missing: {missing[1]}" in capsys.readouterr().err.splitlines()
    page = (tmp_path / "docs" / "a.md").read_text()
    assert f"`python launch.py ablate {grid} --learner.batch-size=16 --runs-dir" in page
    assert f"* {missing[1]}\n" in page and "Arms are compared with full; " in page
    assert row_of(page, "Catch-v0", "3").startswith(
        "| Catch-v0 | 3 | 0.95 [0.90, 1.00] | 0.26 [0.25, 0.27] | -0.50 [-0.50, -0.50] | "
        "yes / yes | 0.69 [0.65, 0.73] | 3000 | 300 | 1.5 |"
    )
    assert row_of(page, "full", "3") == (
        "| full | 3 | 0.95 [0.90, 1.00] | 0.11 [0.10, 0.12] | 5.00 [4.00, 6.00] |  |  |  |"
    )
    assert row_of(page, "no_priority", "2") == (
        "| no_priority | 2 | 0.50 [0.50, 0.50] | 0.00 [0.00, 0.00] | 4.50 [4.00, 5.00] | "
        "yes / yes / no | -0.43 [-0.45, -0.40] (n = 2) | -0.11 [-0.11, -0.10] (n = 2) |"
    )
    assert "| Catch-v0 | full | 2 | 1.00 | 2 | 0.27 | -0.50 | 1.5 |" in page
    assert "| Catch-v0 | no_priority | 1 | 0.50 | 2 |  |  | 1.5 |" in page
    assert "| git_commit | c0ffee |" in page
    assert (tmp_path / "docs" / "a.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "docs" / "a.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5 * 3


@pytest.mark.slow
def test_several_environments_have_aggregate_scores(tmp_path):
    cartpole = load_preset("cartpole")
    folders = [finish(tmp_path / str(seed), catch(seed), [0.5]) for seed in (0, 1)]
    folders += [finish(tmp_path / f"c{s}", replace(cartpole, seed=s), [50.0]) for s in (0, 1)]
    plain = tmp_path / "plain.csv"
    plain.write_text(PLAIN.replace("CartPole-v1,dqn,7,12000,90,3.0", "CartPole-v1,dqn,7,9,100,3"))
    with plain.open("a") as file:
        file.write("CartPole-v1,random,7,9,0,0\n")
    assert page_of(tmp_path, *folders, "--plain", plain) == 0
    page = (tmp_path / "docs" / "a.md").read_text()
    # (0.5 + 0.5) / (0.5 + 0.5) on Catch, 50 / 100 on CartPole: IQM, median, mean, optimality gap.
    same = "0.75 [0.75, 0.75]"
    assert row_of(page, "EfficientZero", "2", same) == (
        f"| EfficientZero | 2 | {same} | {same} | {same} | 0.25 [0.25, 0.25] |"
    )
    assert "Environments: Catch-v0, CartPole-v1 (2 of 2)." in page


def test_runs_of_an_older_version_count_and_forks_do_not(tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text('preset = "catch"\nseeds = [0]\n')
    folder = finish(tmp_path / "runs" / "a", catch(0), [1.0])
    path = folder / "config.json"
    values = json.loads(path.read_text())
    del values["config"]["env"]["action_repeat"]
    path.write_text(json.dumps(values))
    assert find_runs([grid], tmp_path / "runs", ()) == ([folder], [])
    path.write_text(json.dumps(values | {"config_hash": "of a fork"}))
    assert find_runs([grid], tmp_path / "runs", ()) == ([], ["Catch-v0 s0: not run"])


def test_a_stop_while_games_are_played_writes_nothing(tmp_path, monkeypatch, capsys):
    folder = finish(tmp_path / "a", catch(0), [1.0])
    (folder / "baseline-random.json").unlink()
    monkeypatch.setattr(
        "benchmarks.pages.played_games.evaluate", lambda run, policy, **options: None
    )
    assert page_of(tmp_path, folder) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "runs: got 0 with 0 grid files, wanted grid files, or run folders"),
        (("a.toml", "b"), "got 2 with 1 grid files"),
        (("a", "--overrides", "seed=1"), "--overrides: got some without a grid file"),
        (("a", "--plain", "plain.csv"), "not the curves of baselines (KeyError: 'algorithm')"),
        (("a", "--plain", "docs/a.csv"), "whose CSV would replace docs/a.csv"),
        (("a", "--reference", "random"), "--reference: got random"),
        (("a",), "no run has finished, so there is no page"),
        (("grid.toml", "--overrides", "budget.env-steps=0"), "budget.env_steps: got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, monkeypatch, capsys, arguments, message):
    known = BENCHMARKS.parent / "docs" / "results" / "baselines" / "baselines.csv"
    monkeypatch.chdir(tmp_path)
    Path("plain.csv").write_text("env,seed\nCatch-v0,1\n")
    Path("grid.toml").write_text(CATCH)
    plain = () if "--plain" in arguments else ("--plain", known)
    assert page_of(Path(), *arguments, *plain) == 2
    assert message in capsys.readouterr().err
    assert not Path("docs").exists()


@pytest.mark.parametrize("command", ["learning", "cpu", "simulations", "metrics"])
def test_outputs_of_ablate_next_to_run_folders_are_left_out(tmp_path, capsys, command):
    (tmp_path / "a.log").touch()
    options = [
        "--out",
        str(tmp_path / "a.png"),
        *(["--names", "x"] if command == "metrics" else ()),
    ]
    assert main([command, str(tmp_path / "a.log"), *options]) == 2
    left_out, error = capsys.readouterr().err.splitlines()
    assert left_out == "left out: 1 .log files, no run folders"
    assert "a.log" not in error and "wanted" in error


def test_a_seed_that_is_given_twice_is_refused(tmp_path, capsys):
    folders = [finish(tmp_path / name, catch(3), [1.0]) for name in "ab"]
    assert page_of(tmp_path, *folders) == 2
    assert "Catch-v0 EfficientZero: got seeds [3, 3], wanted each once" in capsys.readouterr().err
