"""The page of a grid over games: what is found, what is missing, aggregates, cost; no training."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run_cost
from benchmarks.__main__ import main
from benchmarks.baselines.command import BaselinesCommand, plan, training_path
from benchmarks.baselines.curves import LearningCurve
from benchmarks.baselines.tasks import Point
from benchmarks.games.scores import normalized_aggregates
from benchmarks.grid_cells import read_cells
from benchmarks.run_cost import training_cpu_seconds
from deploy.results.wandb_history import Row
from efficientzero.config.files import load_preset
from efficientzero.runs.run_folder import write_json
from tests.support.fakes import tiny_run

GRID = Path(__file__).parents[3] / "benchmarks" / "minatar-100k.toml"
GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
CATCH = 'preset = "catch"\nenvs = ["Catch-v0"]\nseeds = [3, 4, 5]\n'


def test_the_grid_is_five_games_of_three_seeds_trained_as_much_a_step_as_the_preset():
    cells, preset = read_cells(GRID), load_preset("minatar")
    places = [(cell.config.env.id, cell.config.seed) for cell in cells]
    assert places == [(f"MinAtar/{g}-v1", s) for s in (100, 101, 102) for g in GAMES]
    for config in (cell.config for cell in cells):
        assert config.budget.env_steps == 100_000
        of_preset = preset.budget.train_steps_per_env_step
        assert config.budget.train_steps_per_env_step == pytest.approx(of_preset, rel=0.005)
        decays = [c.learner.lr_decay_steps / c.budget.train_steps for c in (config, preset)]
        assert decays[0] == pytest.approx(decays[1], rel=0.005)


def test_baselines_of_a_grid_have_its_games_budget_and_seeds(tmp_path):
    command = BaselinesCommand(grid=GRID, algorithms=("ppo",), out=tmp_path)
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


def finish(folder: Path, config, **summary) -> None:
    """Write what a run of the cell leaves; ``exit_code`` 0 unless told."""
    run = replace(tiny_run(folder, config), versions={"git_commit": "c0ffee"})
    run.save()
    lines = [
        {"returns": [value], "env_steps": at, "train_steps": at, "wall_s": at, "is_final": at == 20}
        for at, value in ((10, 0.25), (20, 0.75))
    ]
    text = "".join(json.dumps(line | {"weights_version": 0}) + "\n" for line in lines)
    (folder / "evaluations.jsonl").write_text(text)
    values = {"exit_code": 0, "wall_s": 90.0, "cpu_seconds": {"learner": 30.0, "evaluator": 9.0}}
    write_json(folder / "summary.json", values | {"exit_reason": "budget"} | summary)


def test_the_page_has_what_has_finished_and_names_the_rest(tmp_path, capsys):
    grid, out = tmp_path / "grid.toml", tmp_path / "docs" / "page.md"
    runs_dir, baselines = tmp_path / "runs", tmp_path / "baselines"
    grid.write_text(CATCH)
    by_seed = {cell.config.seed: cell.config for cell in read_cells(grid)}
    finish(runs_dir / "good", by_seed[3])
    finish(runs_dir / "bad", by_seed[4], exit_code=1, exit_reason="failed: no such thing")
    baselines.mkdir()
    for algorithm, value in (("dqn", 0.5), ("random", -0.5)):
        point = Point(env_steps=20, return_mean=value, cpu_seconds=7.0)
        training = {"env": "Catch-v0", "preset": "catch", "algorithm": algorithm, "seed": 3}
        path = training_path(baselines, by_seed[3], algorithm)
        write_json(path, {**training, "points": [asdict(point)]})
    places = ("--runs-dir", str(runs_dir), "--baselines", str(baselines), "--out", str(out))
    assert main(["games", str(grid), "--algorithms", "dqn", "random", *places]) == 0
    page = out.read_text()
    assert "| Catch-v0 | 0.75 | 30 | 0.50 | 7 | -0.50 |" in page
    assert "| EfficientZero | 1 | 1.25 | 1.25 | 1.25 | 0.00 |" in page  # (0.75 + 0.5) / 1
    missing = page.partition("## Missing")[2].partition("## Runs")[0].strip().splitlines()
    assert missing == [
        "* Catch-v0 EfficientZero seed 4: not finished, failed: no such thing (bad)",
        "* Catch-v0 EfficientZero seed 5: not run",
        *(f"* Catch-v0 {a} seed {s}: not run" for s in (4, 5) for a in ("dqn", "random")),
    ]
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    ours = [r for r in rows if r["algorithm"] == "EfficientZero"]
    # No metric rows: only the whole run's cost is known, without the evaluator's.
    assert [(r["env_steps"], r["return_mean"], r["cpu_seconds"]) for r in ours] == [
        ("10", "0.25", ""),
        ("20", "0.75", "30.0"),
    ]
    assert len(rows) == 4 and out.with_suffix(".png").stat().st_size > 1_000


def test_the_page_of_a_grid_without_any_run_lists_all_of_it(tmp_path):
    grid, out = tmp_path / "grid.toml", tmp_path / "page.md"
    grid.write_text(CATCH)
    places = ("--runs-dir", str(tmp_path), "--baselines", str(tmp_path), "--out", str(out))
    assert main(["games", str(grid), *places]) == 0
    assert out.read_text().count(": not run") == 3 * (1 + 3)
    assert not out.with_suffix(".png").exists()


def test_cpu_seconds_until_an_evaluation_are_the_sums_less_what_was_spent_later(monkeypatch):
    def row(role, at, share, **more):
        times = {"_timestamp": 1_000.0 + at, f"{role}/wall_s": float(at)}
        return Row(role, 0, {**times, f"{role}/process/cpu_share": share, **more})

    rows = [
        row("actor", 10, 0.5),
        row("actor", 20, 0.5),
        row("actor", 30, 0.25),
        Row("evaluator", 0, {"_timestamp": 1_012.0, "evaluator/wall_s": 12.0}),
        row("evaluator", 20, 1.0),
        row("learner", 10, 1.0, **{"learner/train_steps": 100.0}),
        row("learner", 30, 0.5, **{"learner/train_steps": 300.0}),
    ]
    monkeypatch.setattr(run_cost, "read_rows", lambda directory: rows)
    summary = {"cpu_seconds": {"learner": 25.0, "actor": 14.0, "evaluator": 40.0}}
    spent = training_cpu_seconds(Path(), summary, [100, 200, 300])
    # After train_step 100: the learner's 20 s at 0.5, the actor's 10 s at 0.5 and 10 s at 0.25.
    assert spent.tolist() == [39.0 - 17.5, 39.0 - 7.5, 39.0]
    monkeypatch.setattr(run_cost, "read_rows", lambda directory: [])
    np.testing.assert_equal(training_cpu_seconds(Path(), summary, [1, 2]), [np.nan, 39.0])
    np.testing.assert_equal(training_cpu_seconds(Path(), {}, [1, 2]), [np.nan, np.nan])
