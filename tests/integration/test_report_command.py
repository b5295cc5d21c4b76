"""``launch.py report`` on run folders whose files a real wandb wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actor.evaluator import return_statistics
from deploy.report.runs import read_run
from efficientzero.metrics import make_tracker
from efficientzero.runtime import StopSignal
from tests.integration.local_runs import CHECKOUT

pytestmark = pytest.mark.slow

CONFIG = {"env": {"id": "ALE/Breakout-v5"}, "preset": "atari100k"}
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
        )
        if role == "evaluator":
            for i, mean in enumerate(SCORES[seed]):
                returns = return_statistics([mean - 1.0, mean + 1.0], CONFIG["env"]["id"])
                progress = {"env_steps": 100 * (i + 1), "train_steps": 50 * i, "is_final": i}
                tracker.log({**{f"eval/{k}": v for k, v in progress.items()}, **returns})
        else:
            shares = {"forward": 0.5, "wait_batch": 0.25, "wait": 0.25, "other": 0.25}
            tracker.log({f"learner/time/{name}_share": share for name, share in shares.items()})
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


def test_the_command_writes_the_page(run_dirs: list[Path], tmp_path: Path) -> None:
    done = report(*run_dirs, "--out", tmp_path / "out", "--bootstrap-samples", 50)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {tmp_path / 'out' / 'report.html'}"
    text = (tmp_path / "out" / "report.html").read_text()
    # Human-normalised finals are 1 and 2: the mean and the IQM of two is 1.5.
    assert "<td>1.500 [1.000, 2.000]</td>" in text
    assert "<td>44.9 [30.5, 59.3] (n=2)</td>" in text
    assert "2 seeds" in text


def test_a_folder_without_evaluations_is_named(run_dirs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = report(*run_dirs, tmp_path / "empty", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"report: error: {tmp_path / 'empty'}: got no evaluation in its wandb files, "
        "wanted one or more"
    ]


def test_a_seed_given_twice_is_refused(run_dirs: list[Path], tmp_path: Path) -> None:
    done = report(run_dirs[0], run_dirs[0], "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "are both seed 1 of ALE-Breakout-v5_lr=0.1" in done.stderr
