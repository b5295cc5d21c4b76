"""The learning bench for real: Catch on a tiny budget, interrupted, finished, then skipped."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.supervising.child import RUN_MARK
from tests.integration.local_runs import CHECKOUT, PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

OVERRIDES = (
    *("tracking.mode=disabled", "search.num-simulations=4", "learner.batch-size=16"),
    *("network.channels=4", "network.reduced-channels=2", "learner.publish-interval=5"),
    *("budget.env-steps=400", "budget.warmup-env-steps=100", "budget.train-steps=60"),
    *("budget.last-train-steps=6", "evaluator.interval-train-steps=20"),
    *("evaluator.num-episodes=2", "evaluator.final-num-episodes=8"),
)


def command(folder: Path, *options: str) -> list[str]:
    places = ("--runs-dir", str(folder / "runs"), "--out", str(folder / "docs" / "learning.png"))
    cells = ("--tasks", "catch", "--seeds", "3", "--variants", "--json")
    return [sys.executable, "-m", "benchmarks", "learning", *cells, *places, *options]


def run_bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )


def processes_of(run_folder: Path) -> list[int]:
    """Return the ids of the run's processes."""
    run_uid = json.loads((run_folder / "config.json").read_text())["run_uid"]
    mark = f"{RUN_MARK}={run_uid}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile, or not ours
            continue
    return found


def interrupt_once_it_trains(folder: Path) -> int:
    """Start the bench, press Ctrl-C while its run is going, return the exit code."""
    bench = subprocess.Popen(
        command(folder, "--overrides", *OVERRIDES), cwd=CHECKOUT, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        run_folder = folder / "runs" / "catch-full-s3"
        while not (run_folder / "logs" / "learner-0.log").exists():
            assert bench.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        bench.send_signal(signal.SIGINT)
        exit_code = bench.wait(PATIENCE_S)
    finally:
        bench.kill()
        bench.wait()
    assert processes_of(run_folder) == []
    return exit_code


def test_an_interrupted_bench_goes_on_and_a_finished_one_runs_nothing(tmp_path):
    assert interrupt_once_it_trains(tmp_path) == 130
    assert not (tmp_path / "docs").exists()

    done = run_bench(tmp_path, "--overrides", *OVERRIDES)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 runs to make" in done.stderr
    (result,) = map(json.loads, done.stdout.splitlines())
    assert Path(result["run"]).name == "catch-full-s3-2"
    assert (result["task"], result["variant"], result["seed"]) == ("catch", "full", 3)
    assert (result["env_steps"], result["train_steps"], result["episodes"]) == (400, 66, 8)
    assert result["curve"]["env_steps"][-1] == 400
    for policy in ("return_without_search", "return_random"):
        # The mean of eight games that are won or lost.
        assert (result[policy] + 1.0) * 4.0 in range(9)
    page = (tmp_path / "docs" / "learning.md").read_text()
    assert re.search(r"\| catch \| full \| 3 \| -?\d\.\d\d \| 8 \|", page)
    assert result["config_hash"] in page and result["versions"]["git_commit"][:12] in page
    assert (tmp_path / "docs" / "learning.png").read_bytes().startswith(b"\x89PNG")

    again = run_bench(tmp_path, "--overrides", *OVERRIDES)
    assert again.returncode == 0, again.stderr
    assert "0 of 1 runs to make" in again.stderr
    assert json.loads(again.stdout) == result


def test_a_task_that_cannot_start_is_refused_before_any_run(tmp_path):
    done = run_bench(tmp_path, "--overrides", "env.id=NoSuchThing-v0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("benchmarks: error: env.id=NoSuchThing-v0: there is no such environment")
    assert not (tmp_path / "runs").exists()
