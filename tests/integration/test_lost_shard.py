"""A shard of replay killed in the middle of whole runs of ``launch.py --local``, which go on."""

import json
import subprocess
import sys

import pytest

from tests.integration.local_runs import CHECKOUT, TINY, LocalRun

pytestmark = [pytest.mark.reverb, pytest.mark.slow]

ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 701, 120, 10
BUDGET = (
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "200"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", "20", "--replay.num-shards", "2"),
    *("--replay.priority-refresh-share", "0.25"),
    *("--evaluator.interval-train-steps", "1000", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "2"),
)


def shards_of(run):
    """Return replay's rows of ``launch.py status``."""
    command = [sys.executable, "launch.py", "status", str(run.directory), "--json"]
    told = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True, timeout=120)
    processes = json.loads(told.stdout)["processes"]
    return [process for process in processes if process["role"] == "replay"]


def test_run_reaches_its_budget_without_a_shard_that_is_gone_for_good(tmp_path):
    options = (*TINY, *BUDGET, "--cluster.max-restarts", "0")
    with LocalRun(tmp_path / "runs", *options) as run:
        run.wait_for_status("training", lambda status: status.train_steps > 25)
        assert [(row["index"], row["state"]) for row in shards_of(run)] == [
            (0, "alive"),
            (1, "alive"),
        ]
        run.kill("replay-1")
        assert run.wait() == 0, run.output
        output, summary = run.output, run.summary
    assert summary["exit_reason"] == "budget"
    assert summary["env_steps"] == ENV_STEPS
    assert summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert "replay-1 was killed by SIGKILL" in output
    assert "the run goes on without it" in output
    for role in ("learner-0", "reanalyzer-0", "actor-0"):
        said = [line for line in output.splitlines() if line.startswith(role) and "is away" in line]
        assert len([line for line in said if "replay shard 1 at" in line]) == 1
    # What it held is lost: of the 200 of the warm-up at least a quarter, a half in the mean.
    assert 50 <= summary["env_steps_lost"] <= ENV_STEPS // 2
    assert "checkpoint without a snapshot of replay: replay at" in output
    assert "Traceback" not in output


def test_shard_that_is_started_again_goes_on_from_its_snapshot_and_so_does_the_resumed_run(
    tmp_path,
):
    with LocalRun(tmp_path / "runs", *TINY, *BUDGET) as run:
        run.wait_for_status("a checkpoint", lambda status: status.train_steps > 25)
        run.kill("replay-1")
        run.wait_for_output("restored snapshot")
        run.wait_for_status("more training", lambda status: status.train_steps > 45)
        run.process.terminate()
        assert run.wait() == 143, run.output
        assert "replay-1 was killed by SIGKILL" in run.output
        assert "Traceback" not in run.output
    other = [sys.executable, "launch.py", "--local", "--resume", str(run.directory)]
    refused = subprocess.run(
        [*other, "--replay.num-shards", "3"],
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "--replay.num_shards: got 3, but the run was started with 2" in refused.stderr
    with LocalRun(tmp_path / "runs", resume=True) as again:
        assert again.wait() == 0, again.output
        restored = [line for line in again.output.splitlines() if "restored snapshot" in line]
        assert sorted(line.split()[0] for line in restored) == ["replay-0", "replay-1"]
        assert again.summary["env_steps"] == ENV_STEPS
        assert again.summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
        assert "Traceback" not in again.output
