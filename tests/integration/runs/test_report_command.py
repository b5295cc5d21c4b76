"""``launch.py report`` on run folders whose files a real wandb wrote."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from actor.evaluator import return_statistics
from deploy.report.runs import read_run
from deploy.results.wandb_history import find_runs
from efficientzero.metrics import make_tracker
from efficientzero.process.runtime import StopSignal
from efficientzero.worker.run_tracking import run_tracker
from tests.integration.local_runs import CHECKOUT
from tests.support.cases.config_cases import changed
from tests.support.fakes import tiny_config, tiny_run

pytestmark = pytest.mark.slow

CONFIG = {
    "env": {"id": "ALE/Breakout-v5"},
    "preset": "atari100k",
    "tracking": {"arm": "full"},
    "versions": {"git_commit": "c0ffee" * 6 + "cafe", "torch": "2.0"},
}
SCORES = {1: (1.7, 30.5), 2: (11.7, 59.3)}  # seed -> mean return of the two evaluations


def write_run(directory: Path, seed: int) -> Path:
    """Write what an evaluator and a learner of one run would."""
    for role in ("evaluator", "learner"):
        tracker = make_tracker(
            mode="offline",
            entity="someone",
            project="Some",
            group="ALE-Breakout-v5_lr=0.1",
            seed=seed,
            run_uid="0123abcd",
            role=role,
            index=0,
            config={**CONFIG, "seed": seed},
            directory=directory,
            stop=StopSignal(),
            tags=["full"],
        )
        if role == "evaluator":
            for i, mean in enumerate(SCORES[seed]):
                returns = return_statistics([mean - 1.0, mean + 1.0], CONFIG["env"]["id"])
                progress = {"env_steps": 100 * (i + 1), "train_steps": 50 * i, "is_final": i}
                tracker.log({**{f"eval/{k}": v for k, v in progress.items()}, **returns})
        else:
            shares = {"forward": 0.5, "wait_batch": 0.25, "wait": 0.25, "other": 0.25}
            row = {f"learner/time/{name}_share": share for name, share in shares.items()}
            for train_step in (10, 20):
                losses = {"train_steps": train_step, "total_loss": 30 / train_step}
                tracker.log({**row, **{f"learner/{k}": v for k, v in losses.items()}})
        tracker.close()
    summary = {"fairness": {"replay_ratio": 1.5}} if seed == 1 else {}
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    parent = tmp_path_factory.mktemp("runs")
    return [write_run(parent / f"breakout-s{seed}", seed) for seed in SCORES]


def report(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "launch.py", "report", *map(str, arguments)]
    return subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_run_is_read_as_it_was_logged(run_dirs: list[Path]) -> None:
    run = read_run(run_dirs[0])
    assert (run.env_id, run.method, run.seed) == ("ALE/Breakout-v5", "lr=0.1", 1)
    assert [e.returns for e in run.evaluations] == [(0.7, 2.7), (29.5, 31.5)]
    assert [(e.env_steps, e.train_steps) for e in run.evaluations] == [(100, 0), (200, 50)]
    assert run.last.is_final
    assert run.time_shares == {"learner": {"forward": 0.5, "wait_batch": 0.25, "other": 0.25}}
    assert run.fairness == {"replay_ratio": 1.5}
    assert (run.arm, run.versions["torch"]) == ("full", "2.0")
    x, loss = run.training["total_loss"]
    assert (x.tolist(), loss.tolist()) == ([10.0, 20.0], [3.0, 1.5])


def test_an_arm_is_a_tag_and_in_the_config_of_each_process(tmp_path: Path) -> None:
    config = changed(tiny_config(), {"tracking.arm": "no_value_prefix"})
    run = dataclasses.replace(tiny_run(tmp_path, config), tracking_mode="offline")
    tracker = run_tracker(run, "learner", 0, stop=StopSignal())
    tracker.log({"learner/train_steps": 1.0})
    tracker.close()
    (file,) = find_runs(tmp_path / "wandb")
    assert file.tags == ("no_value_prefix",)
    assert file.config["tracking"]["arm"] == "no_value_prefix"


def test_the_command_writes_the_page(run_dirs: list[Path], tmp_path: Path) -> None:
    done = report(*run_dirs, "--out", tmp_path / "out", "--bootstrap-samples", 50)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {tmp_path / 'out' / 'report.html'}"
    text = (tmp_path / "out" / "report.html").read_text()
    # Human-normalised finals are 1 and 2: the mean and the IQM of two is 1.5.
    assert ">1.500 [1.000, 2.000]</td>" in text
    assert ">44.9 [30.5, 59.3] (n=2)</td>" in text
    assert "2 seeds" in text
    assert ">full</td>" in text
    assert ">c0ffeec0ffee</td>" in text
    assert 'alt="Training: training_0_total_loss"' in text


def test_what_cannot_be_used_is_listed_and_the_rest_reported(
    run_dirs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "some.log").touch()
    torn = tmp_path / "torn" / "wandb" / "offline-run-1" / "run-1.wandb"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"no wandb file")
    given = [*run_dirs, run_dirs[0], *(tmp_path / name for name in ("empty", "some.log", "torn"))]
    done = report(*given, "--out", tmp_path / "out", "--bootstrap-samples", 50)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("left out")] == [
        f"left out  {run_dirs[0]}: given twice",
        f"left out  {tmp_path / 'empty'}: no run folder: it has no config.json",
        f"left out  {tmp_path / 'some.log'}: a file, no run folder",
        f"left out  {tmp_path / 'torn'}: cannot be read as a run "
        f"(ValueError: {torn}: not a .wandb file)",
    ]
    text = (tmp_path / "out" / "report.html").read_text()
    assert "a file, no run folder" in text
    assert "2 seeds" in text


def test_nothing_but_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.log").touch()
    done = report(tmp_path / "some.log", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "launch.py report: error: got no run that can be used, wanted one or more",
        f"  {tmp_path / 'some.log'}: a file, no run folder",
    ]
