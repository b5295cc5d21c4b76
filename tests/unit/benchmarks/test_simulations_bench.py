"""Return against simulations: pairs, what is kept and played again, page, CSV and picture."""

import csv
import json
from dataclasses import replace

import pytest

from benchmarks.__main__ import main
from benchmarks.pages import played_games, simulations
from benchmarks.pages.simulations import Played, draw, levels
from efficientzero.config.preset_files import load_preset
from efficientzero.runs.run_folder import RunInfo, write_json
from tests.support.fakes import tiny_run


def make_run(folder, seed=0, **search) -> RunInfo:
    preset = load_preset("catch")
    config = replace(preset, seed=seed, search=replace(preset.search, **search))
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint_00000300.pt").touch()
    run = tiny_run(folder, config)
    run.save()
    return run


def outcome(*returns, train_step=300):
    mean = sum(returns) / len(returns)
    return {"returns": [*returns], "return_mean": mean, "train_step": train_step, "seconds": 1.5}


@pytest.fixture
def plays(monkeypatch):
    """Play nothing: a search of M simulations returns M, the policy head -1, in two games."""
    asked = []

    def evaluate(run, policy, *, episodes, simulations=0, stop):
        asked.append((run.config.seed, policy, simulations))
        value = float(simulations) if policy == "search" else -1.0
        return outcome(value + run.config.seed, value + run.config.seed + 1.0)

    monkeypatch.setattr(played_games, "evaluate", evaluate)
    monkeypatch.setattr(simulations, "install_stop_handlers", lambda stop, exit_grace_s: None)
    return asked


def test_each_number_is_compared_with_the_runs_own_in_pairs(tmp_path):
    def played(seed, *returns):
        results = dict(zip((0, 1, 8), map(outcome, returns), strict=True))
        return Played(run=make_run(tmp_path / str(seed), seed), results=results)

    known = levels([played(0, 0.0, 1.0, 2.0), played(1, 4.0, 4.5, 6.0)])
    assert list(known) == [0, 1, 8]  # the preset's search has 8
    reached, difference = known[1]
    assert (reached.mean, reached.low, reached.high, reached.n) == (2.75, 1.0, 4.5, 2)
    assert (difference.mean, difference.low, difference.high) == (-1.25, -1.5, -1.0)
    assert known[8][1].mean == 0.0


def test_a_single_runs_games_are_the_pairs(tmp_path):
    results = {0: outcome(0.0, 0.0), 8: outcome(1.0, 3.0)}
    known = levels([Played(run=make_run(tmp_path), results=results)])
    reached, difference = known[0]
    assert (reached.mean, reached.n) == (0.0, 2)
    assert (difference.mean, difference.low, difference.high) == (-2.0, -3.0, -1.0)


def test_page_csv_and_picture_are_written_and_nothing_is_played_twice(tmp_path, plays, capsys):
    runs = [str(make_run(tmp_path / f"run-{seed}", seed).directory) for seed in (0, 1)]
    out = tmp_path / "docs" / "a.png"
    command = [
        "simulations",
        *runs,
        "--simulations",
        "8",
        "2",
        "--episodes",
        "2",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    assert plays == [
        (seed, policy, count)
        for seed in (0, 1)
        for policy, count in (("prior", 0), ("search", 2), ("search", 8))
    ]
    page = out.with_suffix(".md").read_text()
    assert "| no search | 2 | 0.00 [-0.50, 0.50] | -9.00 [-9.00, -9.00] | 1.5 |" in page
    assert "| 2 | 2 | 3.00 [2.50, 3.50] | -6.00 [-6.00, -6.00] | 1.5 |" in page
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["run"], r["simulations"], r["return_mean"]) for r in rows[:3]] == [
        ("run-0", "0", "-0.5"),
        ("run-0", "2", "2.5"),
        ("run-0", "8", "8.5"),
    ]
    assert len(rows) == 6 and out.read_bytes().startswith(b"\x89PNG")
    del plays[:]
    assert main(command) == 0 and plays == []
    # Other weights, and a result cut short.
    write_json(tmp_path / "run-0" / "evaluation-prior.json", outcome(0.0, 0.0, train_step=200))
    (tmp_path / "run-1" / "evaluation-search-2.json").write_text('{"returns": [')
    assert main(command) == 0
    assert plays == [(0, "prior", 0), (1, "search", 2)]


def test_what_was_played_before_a_stop_is_kept(tmp_path, plays, monkeypatch, capsys):
    run = make_run(tmp_path / "run").directory
    monkeypatch.setattr(
        played_games,
        "evaluate",
        lambda run, policy, **options: outcome(0.0) if policy == "prior" else None,
    )
    options = ("--episodes", "1", "--out", str(tmp_path / "a.png"))
    assert main(["simulations", str(run), *options]) == 130
    assert json.loads((run / "evaluation-prior.json").read_text())["return_mean"] == 0.0
    assert not (tmp_path / "a.png").exists()
    assert "the same command goes on from here" in capsys.readouterr().err


def test_the_picture_has_a_point_for_each_number_and_a_level_without_search(tmp_path):
    results = {0: outcome(-1.0), 1: outcome(0.0), 4: outcome(2.0)}
    (axes,) = draw([Played(run=make_run(tmp_path), results=results)]).axes
    search, prior, own = axes.lines
    assert (search.get_xdata().tolist(), search.get_ydata().tolist()) == ([1, 4], [0.0, 2.0])
    assert set(prior.get_ydata()) == {-1.0} and set(own.get_xdata()) == {8}


def test_runs_that_cannot_be_compared_are_refused(tmp_path, plays, capsys):
    one = make_run(tmp_path / "one").directory
    same = make_run(tmp_path / "same").directory
    other = make_run(tmp_path / "other", 1, num_simulations=4).directory
    new = make_run(tmp_path / "new", 2).directory
    (new / "checkpoints" / "checkpoint_00000300.pt").unlink()
    for runs, said in (
        ((one, same), "wanted one of each"),
        ((one, other), "wanted one task"),
        ((new,), "no checkpoint yet"),
        ((tmp_path / "none",), "none"),
    ):
        assert main(["simulations", *map(str, runs), "--out", str(tmp_path / "a.png")]) == 2
        assert said in capsys.readouterr().err
    assert plays == []
