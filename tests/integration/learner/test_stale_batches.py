"""A run whose reanalyzer hangs for a while: stale batches are dropped, the budget is kept."""

import os
import signal

import pytest

from deploy.results.wandb_history import find_runs
from tests.integration.local_runs import TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 1_601, 400, 10
# Target weights every 10 train_steps; 2 batches queued, 3 read ahead, 4 with the reanalyzers.
BOUND = 10 + 2 + 3 + 4
OPTIONS = (
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--evaluator.interval-train-steps", "1000", "--evaluator.final-num-episodes", "2"),
    *("--learner.max-batch-staleness", str(BOUND), "--replay.priority-refresh-share", "0.25"),
    *("--reanalyzers", "2"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run in which one of two reanalyzers stood still for three times the bound."""
    with LocalRun(tmp_path_factory.mktemp("stale") / "runs", *TINY, *OPTIONS) as run:
        before = run.wait_for_status("training", lambda status: status.train_steps > 15)
        (pid,) = [pid for pid, name in run.pids().items() if name == "reanalyzer-1"]
        os.kill(pid, signal.SIGSTOP)
        enough = before.train_steps + 3 * BOUND
        run.wait_for_status("the hang's end", lambda status: status.train_steps > enough)
        os.kill(pid, signal.SIGCONT)
        run.exit_code = run.wait()
        yield run


def learner_rows(run, name):
    (learner,) = [r for r in find_runs(run.directory / "wandb") if r.job_type == "learner"]
    return [row[name] for row in learner.rows if name in row]


def test_budget_is_kept_exactly_although_batches_were_refused(finished):
    assert finished.exit_code == 0, finished.output
    assert finished.summary["env_steps"] == ENV_STEPS
    assert finished.summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert sum(learner_rows(finished, "learner/stale_batches")) >= 1
    assert "target weights" in finished.output
    assert "this and other older ones are dropped" in finished.output


def test_no_batch_older_than_the_bound_was_trained_on(finished):
    # Logged with the train_steps made, one more than when the batch was taken.
    ages = learner_rows(finished, "learner/target_weights_staleness_mean")
    assert 0 < max(ages) <= BOUND + 1
    assert finished.summary["fairness"]["target_age_p95"] <= BOUND + 1


def test_priorities_of_stored_steps_were_refreshed_and_their_age_is_reported(finished):
    assert sum(learner_rows(finished, "learner/priorities_refreshed")) > 100
    ages = learner_rows(finished, "learner/priority_age_p95")
    assert len(ages) == (TRAIN_STEPS + LAST_TRAIN_STEPS) // 10
    assert 0 < ages[-1] <= TRAIN_STEPS + LAST_TRAIN_STEPS
