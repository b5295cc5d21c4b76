"""The learning page of games of two players: matches by opponent, shares over training, bars."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.baselines.curves import LearningCurve
from benchmarks.learning.bars import parse_bar
from benchmarks.learning.picture import draw
from benchmarks.learning.results import read_result
from benchmarks.pages.arms import read_cells
from benchmarks.pages.matches import read_matches
from efficientzero.config.preset_files import load_preset
from efficientzero.runs.run_folder import write_json
from tests.support.finished_runs import finish

GRIDS = Path(__file__).parents[3] / "benchmarks" / "grids"
TICTACTOE = "OpenSpiel/tic_tac_toe"


@pytest.fixture(autouse=True)
def no_signal_handlers(monkeypatch):
    """Leave the handlers of the test's process as they are."""
    monkeypatch.setattr(
        "benchmarks.learning.command.install_stop_handlers", lambda stop, exit_grace_s: None
    )


def scores(**seats):
    """Return the scores of an evaluation: opponent -> (wins, draws, losses) first and second."""
    return [
        {"name": name, "seat": seat, "wins": wins, "draws": draws, "losses": losses}
        for name, of in seats.items()
        for seat, (wins, draws, losses) in enumerate(of)
    ]


def finish_match(folder, config, *evaluations):
    """Finish a run whose evaluations, at even env_steps, have these scores."""
    finish(folder, config, [0.0] * len(evaluations))
    path = folder / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, said in zip(lines, evaluations, strict=True):
        line["scores"] = said
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    alone = json.loads((folder / "baseline-random.json").read_text())
    write_json(
        folder / "baseline-random.json",
        alone | {"scores": scores(minimax=[(0, 2, 48), (0, 0, 50)])},
    )
    return folder


def finish_tictactoe(runs_dir):
    """Finish seeds 0 and 1 of the grid; return what read_cells says."""
    first = scores(minimax=[(0, 10, 40), (0, 0, 50)], random=[(25, 0, 25), (25, 0, 25)])
    ends = [
        scores(minimax=[(0, 50, 0), (0, 46, 4)], random=[(50, 0, 0), (45, 2, 3)]),
        scores(minimax=[(0, 48, 2), (0, 44, 6)], random=[(48, 0, 2), (37, 5, 8)]),
    ]
    cells = read_cells(GRIDS / "tictactoe.toml")
    for cell, end in zip(cells, ends, strict=False):
        finish_match(runs_dir / f"s{cell.config.seed}", cell.config, first, end)
    return cells


def row_of(page: str, *begin: str) -> str:
    (row,) = (line for line in page.splitlines() if line.startswith("| " + " | ".join(begin)))
    return row


def page_of(tmp_path, *arguments):
    out = tmp_path / "docs" / "games.md"
    code = main(["learning", *map(str, arguments), "--out", str(out)])
    return code, out


def test_the_page_has_the_games_of_every_seed_and_names_missing_cells(tmp_path, capsys):
    finish_tictactoe(tmp_path / "runs")
    bars = [f"{TICTACTOE}:minimax:losses=5", f"{TICTACTOE}:random:wins=90", "Pendulum-v1=-250"]
    grids = [GRIDS / f"{name}.toml" for name in ("tictactoe", "connectfour")]
    plain = tmp_path / "plain.csv"
    rows = ["random,0,100000,-0.5,0", "ppo,0,50000,0.25,9", "ppo,0,200000,0.75,99"]
    rows = [f"OpenSpiel/connect_four,{row}" for row in rows]
    plain.write_text("\n".join(["env,algorithm,seed,env_steps,return_mean,cpu_seconds", *rows]))
    options = ("--runs-dir", tmp_path / "runs", "--plain", plain, "--bars", *bars)
    code, out = page_of(tmp_path, *grids, *options)
    assert code == 1
    page = out.read_text()
    assert all(f"`python launch.py ablate {grid} --runs-dir" in page for grid in grids)
    assert f"* {TICTACTOE} s2: not run" in page and "* OpenSpiel/connect_four s0: not run" in page
    # No run of connect four has finished: what is known of it are the plain curves.
    assert "| OpenSpiel/connect_four: random play | 1 |  | -0.50 |  |  |  |  |  |  | 0 |" in page
    assert "| OpenSpiel/connect_four: PPO | 1 |  | 0.25 |  |  |  | 50000 |  |  | 9 |" in page
    assert row_of(page, "minimax", "seed 0").startswith(
        "| minimax | seed 0 | 100 | 0 | 96 | 4 | 0.48 [0.46, 0.49] | 0 / 50 / 0 | 0 / 46 / 4 |"
    )
    assert row_of(page, "minimax", "all seeds") == (
        "| minimax | all seeds | 200 | 0 | 188 | 12 | 0.47 [0.46, 0.48] | "
        "0 / 98 / 2 | 0 / 90 / 10 |"
    )
    assert row_of(page, "minimax", "random play, seeds 0 1").split(" | ")[2:6] == [
        *("200", "0", "4", "196")
    ]
    assert row_of(page, "random", "seed 0").split(" | ")[2:6] == ["100", "95", "2", "3"]
    assert row_of(page, TICTACTOE, "EfficientZero", "losses").endswith(
        "| 5 | 6.00 [4.00, 8.00] (bar missed) | 8.00 (seed 1) | 1 of 2 hold |"
    )
    assert row_of(page, TICTACTOE, "EfficientZero", "wins").endswith(
        "| 90 | 90.00 [85.00, 95.00] (bar holds) | 85.00 (seed 1) | 1 of 2 hold |"
    )
    assert "| Pendulum-v1 |  | mean return | -250 | no run has finished |  |  |" in page
    shares = row_of(page, TICTACTOE, "EfficientZero", "minimax").split(" | ")
    # Of 30,000 env_steps the two evaluations, at 1,500 and 3,000, are before the first column.
    assert len(shares) == 3 + 5
    with (out.parent / "games-matches.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2 * 2
    assert rows[4] == {
        **{"env": TICTACTOE, "arm": "EfficientZero", "seed": "0", "env_steps": "3000"},
        **{"opponent": "minimax", "seat": "0", "wins": "0", "draws": "50", "losses": "0"},
    }
    assert "games-matches.csv" in capsys.readouterr().err


def test_shares_of_points_are_shown_over_training(tmp_path):
    preset = load_preset("tictactoe")
    config = replace(preset, budget=replace(preset.budget, env_steps=3_000))
    first, last = ([(0, 0, 50), (0, 0, 50)], [(0, 50, 0), (0, 50, 0)])
    folder = finish_match(tmp_path / "a", config, scores(minimax=first), scores(minimax=last))
    assert page_of(tmp_path, folder)[0] == 0
    page = (tmp_path / "docs" / "games.md").read_text()
    assert "## Worst seeds" not in page
    shares = row_of(page, TICTACTOE, "EfficientZero", "minimax").strip("| ").split(" | ")
    assert shares[3:] == ["", "", "0.00", "0.25", "0.50"]
    result = replace(read_result(folder), alone={"prior": 0.0, "random": 0.0})
    figure = draw([result], plain=list[LearningCurve]())
    (panel,) = figure.subfigs[-1].axes
    (line,) = panel.lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1_500, 3_000], [0.0, 0.5])
    assert panel.get_legend().get_texts()[0].get_text() == "against minimax"


def test_of_two_evaluations_at_one_number_of_env_steps_the_final_one_counts(tmp_path):
    lines = [
        {"is_final": True, "env_steps": 9, "scores": scores(random=[(9, 0, 0), (0, 0, 9)])},
        {"is_final": False, "env_steps": 9, "scores": scores(random=[(0, 0, 1), (0, 0, 1)])},
        {"is_final": False, "env_steps": 3, "scores": scores(random=[(0, 1, 0), (0, 0, 1)])},
        {"is_final": False, "env_steps": 4},
    ]
    (tmp_path / "evaluations.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    matches = read_matches(tmp_path)
    assert [(m.env_steps, m.score.games, m.score.wins) for m in matches] == [(3, 2, 0), (9, 18, 9)]


def test_a_page_of_one_player_has_no_matches(tmp_path):
    folder = finish(tmp_path / "a", load_preset("catch"), [0.25, 1.0])
    plain = tmp_path / "plain.csv"
    rows = ["dqn,5,9000,2,1", "dqn,5,20000,9,1", "dqn,7,9000,1,1"]
    rows = [f"Catch-v0,{row}" for row in rows]
    plain.write_text("\n".join(["env,algorithm,seed,env_steps,return_mean,cpu_seconds", *rows]))
    code, out = page_of(tmp_path, folder, "--bars", "Catch-v0=1.5", "--plain", plain)
    assert code == 0
    page = out.read_text()
    assert row_of(page, "Catch-v0", "DQN", "mean return").endswith(  # at most the run's env_steps
        "| 1.5 | 1.50 [1.00, 2.00] (bar holds) | 1.00 (seed 7) | 1 of 2 hold |"
    )
    assert "fixed opponents" not in page
    assert not (out.parent / "games-matches.csv").exists()
    assert row_of(page, "Catch-v0", "EfficientZero", "mean return").endswith(
        "| 1.5 | 1.00 (bar missed) | 1.00 (seed 0) | 0 of 1 hold |"
    )


def test_both_kinds_of_random_play_are_shown_where_actions_can_be_illegal(tmp_path):
    folder = finish(tmp_path / "a", load_preset("catch"), [1.0])
    plain = tmp_path / "plain.csv"
    rows = ["env,algorithm,seed,env_steps,return_mean,cpu_seconds"]
    rows += [f"Catch-v0,random,{s},12000,{-3 - s},0" for s in (0, 1)]
    plain.write_text("\n".join([*rows, "Catch-v0,random-legal,0,12000,-1,0"]) + "\n")
    code, out = page_of(tmp_path, folder, "--plain", plain)
    assert code == 0
    page = out.read_text()
    assert "| Catch-v0: random play | 2 |  | -3.50 [-4.00, -3.00] |" in page
    assert "| Catch-v0: random play of legal actions | 1 |  | -1.00 |" in page


@pytest.mark.parametrize(
    "text",
    ["Pendulum-v1", "=3", "a:b=3", "a:b:draws=3", "a:b:return=3", "a::wins=3", "a=many"],
)
def test_a_bar_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="--bars: got '"):
        parse_bar(text)
