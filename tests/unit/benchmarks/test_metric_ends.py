"""Metrics at the end of training: by arm, in pairs, and what is refused."""

import csv
import dataclasses
import json

import pytest

from benchmarks.pages import metric_ends
from benchmarks.pages.metric_ends import MetricsCommand, write_metrics
from deploy.results.wandb_history import Row
from tests.support.fakes import tiny_config, tiny_run

GAP = "learner/value_eval_gap"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a maker of run folders, whose metric rows are what the test says."""
    rows = {}
    monkeypatch.setattr(metric_ends, "read_rows", lambda directory: rows[directory])

    def folder(name, seed, values, *, batch_size=4, result=1.0, cost=None):
        directory = tmp_path / name
        directory.mkdir()
        learner = dataclasses.replace(tiny_config().learner, batch_size=batch_size)
        run = tiny_run(directory, dataclasses.replace(tiny_config(), seed=seed, learner=learner))
        (directory / "config.json").write_text(run.to_json())
        summary = {"eval_return_mean": result, "cpu_seconds": cost or {}}
        (directory / "summary.json").write_text(json.dumps(summary))
        rows[directory] = [Row("learner", 0, {GAP: value}) for value in values]
        rows[directory].append(Row("actor", 0, {"actor/other": 9.0}))
        return directory

    return folder


def page_of(tmp_path, *runs, **options):
    out = tmp_path / "pages" / "gap.md"
    write_metrics(MetricsCommand(runs=runs, names=(GAP,), out=out, **options), ["metrics", "x"])
    return out.read_text(), list(csv.reader(out.with_suffix(".csv").open()))


def test_last_values_count_and_seeds_are_pairs(make, tmp_path):
    runs = [
        make("a0", 0, [9.0, 0.1, 0.3], result=1.0, cost={"learner": 3.0, "actor": 1.0}),
        make("a1", 1, [9.0, 0.5, 0.7], result=0.5, cost={"learner": 5.0}),
        make("b1", 1, [0.1], batch_size=2, result=0.75, cost={"learner": 7.0}),
        make("b0", 0, [0.1], batch_size=2, result=0.75, cost={"learner": 2.0}),
    ]
    text, lines = page_of(tmp_path, *runs, last=2)
    assert "| learner.batch_size=4 | 2 | 0, 1 | 0.40 [0.20, 0.60] | 0.75 [0.50, 1.00] |" in text
    assert "| learner.batch_size=2 | 2 | -0.30 [-0.50, -0.10] | 0.00 [-0.25, 0.25] |" in text
    assert "Made by `python -m benchmarks metrics x`" in text
    assert lines == [
        ["arm", "seed", GAP, "return", "CPU-s"],
        ["learner.batch_size=4", "0", "0.2", "1", "4"],
        ["learner.batch_size=4", "1", "0.6", "0.5", "5"],
        ["learner.batch_size=2", "0", "0.1", "0.75", "2"],
        ["learner.batch_size=2", "1", "0.1", "0.75", "7"],
    ]


def test_one_arm_is_named_by_its_task_and_has_no_pairs(make, tmp_path):
    text, lines = page_of(tmp_path, make("a", 3, [0.5]))
    assert "in pairs" not in text
    assert lines[1][1:3] == ["3", "0.5"]
    assert text.splitlines()[-1].endswith("| 0.50 | 1.00 |  |")  # it kept no CPU-seconds


@pytest.mark.parametrize("what", ["no metric", "twice", "unfinished", "nothing"])
def test_refusals_say_what_was_wanted(make, tmp_path, what):
    runs = {
        "no metric": lambda: [make("a", 0, [])],
        "twice": lambda: [make("a", 0, [1.0]), make("b", 0, [1.0])],
        "unfinished": lambda: [make("a", 0, [1.0], result=None)],
        "nothing": list,
    }[what]()
    message = {
        "no metric": f"no value of {GAP}, wanted",
        "twice": "got seed 0 of .* twice",
        "unfinished": "no final evaluation, wanted",
        "nothing": "runs: got none",
    }[what]
    with pytest.raises(ValueError, match=message):
        page_of(tmp_path, *runs)
    assert not (tmp_path / "pages").exists()
