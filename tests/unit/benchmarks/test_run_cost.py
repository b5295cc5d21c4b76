"""What a run had spent when its evaluations were made."""

from pathlib import Path

import numpy as np

from benchmarks.pages import run_cost
from benchmarks.pages.run_cost import training_cpu_seconds
from deploy.results.wandb_history import Row


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
