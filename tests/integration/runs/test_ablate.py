"""A grid for real: every cell a whole run of its own, one of them failing; and the run scripts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from deploy.supervising.child import RUN_MARK
from tests.integration.local_runs import CHECKOUT, PATIENCE_S, TINY

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

BUDGET = (
    *("--budget.env-steps", "300", "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", "60", "--budget.last-train-steps", "6"),
    *("--evaluator.interval-train-steps", "30", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3", "--learner.log-interval", "5"),
)


def ablate(runs_dir, *options):
    return [sys.executable, "launch.py", "ablate", *options, *TINY, "--runs-dir", str(runs_dir)]


def finish(command, **environment):
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )


def summaries(runs_dir):
    return [json.loads(path.read_text()) for path in sorted(runs_dir.glob("*/summary.json"))]


def processes_of(runs_dir):
    """Return the ids of all processes of the runs in ``runs_dir``, their launchers included."""
    marks = []
    for path in runs_dir.glob("*/config.json"):
        marks.append(f"{RUN_MARK}={json.loads(path.read_text())['run_uid']}".encode())
    found = []
    for folder in (entry for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:  # ended meanwhile, or not ours
            continue
        if set(marks) & set(environ) or str(runs_dir).encode() in command:
            found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Two cells that finish, with one and two actors, and two that diverge."""
    runs_dir = tmp_path_factory.mktemp("grid") / "runs"
    rates = ["--vary", "learner.learning_rate=0.003,1e30"]
    command = ablate(runs_dir, "--actors", "1", "2", *rates, *BUDGET)
    return runs_dir, command, finish(command)


def test_the_failed_cells_are_reported_and_the_others_finish(grid):
    runs_dir, _, done = grid
    assert done.returncode == 1, done.stdout + done.stderr
    codes = {}
    for path in runs_dir.glob("*/config.json"):
        config = json.loads(path.read_text())["config"]
        summary = json.loads((path.parent / "summary.json").read_text())
        cell = (config["learner"]["learning_rate"], config["cluster"]["num_actors"])
        codes[cell] = summary["exit_code"]
    assert codes == {(0.003, 1): 0, (0.003, 2): 0, (1e30, 1): 1, (1e30, 2): 1}
    failures = [line for line in done.stderr.splitlines() if "| failed " in line]
    assert len(failures) == 2
    assert all("learner-0 ended with code" in line for line in failures)
    assert all("not finite" in line for line in failures)


def test_every_finished_cell_has_a_stamp_of_its_own(grid):
    finished = [summary for summary in summaries(grid[0]) if summary["exit_code"] == 0]
    for summary in finished:
        stamp = summary["fairness"]
        # 66 batches of 16; the pace leaves collection at most two env_steps per environment ahead.
        assert stamp["slices"] == 66 * 16
        assert stamp["replay_ratio"] == pytest.approx(60 / (300 - 100), rel=0.25)
        assert 0 < stamp["weight_age_mean"] <= stamp["weight_age_p95"] <= 66
        assert 0 < stamp["target_age_mean"] <= stamp["target_age_p95"] <= 66
        assert (stamp["env_steps_lost"], stamp["env_steps_evicted"]) == (0, 0)


def test_scaling_is_measured_from_what_the_roles_recorded(grid):
    runs_dir, _, done = grid
    (table,) = runs_dir.glob("scaling-*0.003.md")
    (picture,) = runs_dir.glob("scaling-*0.003.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines = table.read_text().splitlines()
    assert "env_steps/s" in lines[0]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 1", "| 2"]
    assert " | 1 | 100% | " in lines[2]
    for line in lines[2:]:
        assert all(cell.strip() != "-" for cell in line.strip("|").split("|")), line
    assert lines[0] in done.stdout


def test_started_again_it_skips_what_has_finished(grid):
    runs_dir, command, _ = grid
    done = finish([*command, "--dry-run"])
    states = [line.split()[-2:] for line in done.stdout.splitlines()[1:]]
    assert sum(state == ["to", "run"] for state in states) == 2
    before = len(list(runs_dir.iterdir()))
    only_finished = [option for option in command if not option.startswith("learner.learning_rate")]
    only_finished.insert(only_finished.index("--vary") + 1, "learner.learning_rate=0.003")
    done = finish(only_finished)
    assert done.returncode == 0, done.stderr
    assert "started" not in done.stderr
    assert len(list(runs_dir.iterdir())) == before


def test_the_page_of_a_grid_is_made_from_its_finished_runs(grid, tmp_path):
    runs_dir, _, _ = grid
    out = tmp_path / "docs" / "grid.md"
    assert main(["learning", *map(str, runs_dir.glob("*/")), "--out", str(out)]) == 1
    page = out.read_text()
    results = page.partition("## Runs")[2].partition("## Missing")[0]
    for actors in (1, 2):
        row = rf"\| Catch-v0 \| cluster\.num_actors={actors} \| \d+ \| -?\d\.\d\d \| 3 \|"
        assert len(re.findall(row, results)) == 1
    # Of the first arm, the mean of three games that are won or lost.
    (played,) = runs_dir.glob("*/evaluation-prior.json")
    assert (json.loads(played.read_text())["return_mean"] + 1.0) * 1.5 in range(4)
    assert page.partition("## Missing")[2].count(": not finished, failed: ") == 2
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_after_ctrl_c_nothing_is_left_running_and_the_same_command_goes_on(tmp_path):
    runs_dir = tmp_path / "runs"
    longer = ("--budget.env-steps", "600", "--budget.train-steps", "120")
    command = ablate(runs_dir, *BUDGET, *longer)
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not list(runs_dir.glob("*/evaluations.jsonl")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, output
    (summary,) = summaries(runs_dir)
    assert (summary["exit_reason"], summary["exit_code"]) == ("interrupted", 130)
    assert list(runs_dir.glob("*/checkpoints/*.pt"))
    assert 0 < summary["train_steps"] < 126
    assert processes_of(runs_dir) == []
    done = finish(command)
    assert done.returncode == 0, done.stderr
    assert "resumed" in done.stderr
    (again,) = summaries(runs_dir)
    assert (again["run_id"], again["exit_code"]) == (summary["run_id"], 0)
    assert (again["env_steps"], again["train_steps"]) == (600, 126)
    assert again["fairness"]["slices"] == 126 * 16


def test_a_killed_grid_takes_its_runs_with_it(tmp_path):
    runs_dir = tmp_path / "runs"
    endless = ("--budget.env-steps", "1000000", "--budget.train-steps", "1000000")
    process = subprocess.Popen(
        ablate(runs_dir, *BUDGET, *endless),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not list(runs_dir.glob("*/episodes.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.wait()
    while processes_of(runs_dir) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert processes_of(runs_dir) == []
    (summary,) = summaries(runs_dir)
    assert summary["exit_code"] == 143


def test_scripts_train_and_evaluate(tmp_path):
    scripts, runs_dir = CHECKOUT / "deploy" / "scripts", tmp_path / "runs"
    options = [*TINY, *BUDGET, "--runs-dir", str(runs_dir)]
    done = finish([scripts / "train.sh", "Catch-v0", "3", *options], PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = summaries(runs_dir)
    assert summary["seed"] == 3
    folder = ["--runs-dir", str(runs_dir), "--episodes", "3"]
    done = finish([scripts / "evaluate.sh", "Catch-v0", "3", *folder], PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    (path,) = runs_dir.glob("*/evaluation-search.json")
    result = json.loads(path.read_text())
    # The same weights, environments and greedy search as the run's final evaluation.
    assert result["returns"] == summary["eval_returns"]
    assert result["train_step"] == 66
