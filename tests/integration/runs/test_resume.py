"""Runs that lose processes, or everything, and go on: launch.py with real roles and services."""

import json
import signal

import pytest

from deploy.results.wandb_history import find_runs
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint
from tests.integration.local_runs import TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

LEARNING_RATE = 0.003  # the preset's
ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 903, 160, 10
BUDGET = (
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.lr-warmup-fraction", "0.1"),
    *("--learner.checkpoint-interval", "20", "--learner.checkpoints-kept", "3"),
    *("--evaluator.interval-train-steps", "50", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3"),
)


def newest_step(run):
    return load_checkpoint(list_checkpoints(run.directory / "checkpoints")[-1])["train_step"]


def learning_rates(run):
    """Return the learners' metric rows that tell the learning rate."""
    learners = [r for r in find_runs(run.directory / "wandb") if r.job_type == "learner"]
    return [row for learner in learners for row in learner.rows if "learner/lr" in row]


def warm_up_rows(run):
    return [row for row in learning_rates(run) if row["learner/lr"] < LEARNING_RATE]


@pytest.fixture(scope="module")
def tossed(tmp_path_factory):
    """Learner killed, replay killed, Ctrl-C, newest checkpoint damaged, resumed to the end."""
    runs_dir = tmp_path_factory.mktemp("resume") / "runs"
    with LocalRun(runs_dir, *TINY, *BUDGET, "--seed", "3") as run:
        run.wait_for_status("a checkpoint", lambda status: status.train_steps > 25)
        # wandb's service writes rows some time after they are logged, or never if its learner dies.
        run.wait_for("a row of the warm-up", lambda: warm_up_rows(run))
        run.kill("learner-0")
        run.wait_for_output("resumed at train_step")
        run.wait_for_status("more training", lambda status: status.train_steps > 45)
        run.kill("replay-0")
        run.wait_for_output("restored snapshot")
        run.wait_for_status("more training", lambda status: status.train_steps > 65)
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130
        first = run.output
        saved_step = newest_step(run)
        summary = run.summary
    damaged = list_checkpoints(run.directory / "checkpoints")[-1]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    resumed_step = newest_step_below(run, saved_step)
    with LocalRun(runs_dir, "--actors", "2", resume=True) as again:
        assert again.wait() == 0, again.output
        again.first, again.first_summary = first, summary
        again.resumed_step = resumed_step
        yield again


def newest_step_below(run, step):
    paths = list_checkpoints(run.directory / "checkpoints")
    return max(int(p.stem.split("_")[1]) for p in paths if int(p.stem.split("_")[1]) < step)


def test_run_reaches_its_budget_exactly_whatever_was_killed(tossed):
    summary = tossed.summary
    assert summary["exit_reason"] == "budget"
    assert summary["env_steps"] == ENV_STEPS
    assert summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert summary["eval_is_final"]


def test_killed_processes_are_named_and_go_on_from_their_own_state(tossed):
    for name in ("learner-0", "replay-0"):
        assert f"{name} was killed by SIGKILL" in tossed.first
    assert "restored snapshot" in tossed.first
    assert "Traceback" not in tossed.first + tossed.output


def test_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tossed):
    assert "trying the one before" in tossed.output
    assert f"resumed at train_step {tossed.resumed_step} " in tossed.output


def test_env_steps_lost_are_stated_and_bounded_by_what_one_snapshot_misses(tossed):
    # Between two snapshots lie 20 train_steps, each paid by 903 / 160 env_steps; add what actors
    # hold: 12 environments with a window of K + n steps, a block and the slack.
    in_flight = 12 * (5 + 5 + 8 + 2)
    interval = 20 * ENV_STEPS // TRAIN_STEPS
    assert 0 <= tossed.summary["env_steps_lost"] <= 2 * (interval + in_flight)
    lost = tossed.summary["env_steps_lost"]
    assert (f"{lost:,} env_steps were lost" in tossed.output) == (lost > 0)


def test_results_are_one_line_each_without_those_of_train_steps_that_were_undone(tossed):
    versions = [line["weights_version"] for line in tossed.lines("evaluations.jsonl")]
    assert versions == sorted(set(versions))
    assert versions[-1] == TRAIN_STEPS + LAST_TRAIN_STEPS
    env_steps = [line["env_steps"] for line in tossed.lines("episodes.jsonl")]
    assert env_steps == sorted(env_steps)


def test_wandb_runs_are_the_same_ones_and_the_learning_rate_does_not_warm_up_again(tossed):
    learners = [r for r in find_runs(tossed.directory / "wandb") if r.job_type == "learner"]
    learners = [run for run in learners if run.run_id]
    assert len(learners) >= 2
    assert {run.run_id for run in learners} == {f"{tossed.config['run_uid']}-learner-0"}
    for row in learning_rates(tossed):
        warmed_up = min(1.0, row["learner/train_steps"] / (0.1 * TRAIN_STEPS))
        assert row["learner/lr"] == pytest.approx(LEARNING_RATE * warmed_up)
    assert warm_up_rows(tossed)  # there was one warm-up
    assert learners[-1].series("learner/train_steps")[0] > tossed.resumed_step


@pytest.mark.parametrize("role", ["actor", "replay", "learner", "reanalyzer", "evaluator"])
def test_no_axis_of_a_process_goes_back_when_it_starts_again(tossed, role):
    files = [r for r in find_runs(tossed.directory / "wandb") if r.run_id.endswith(f"-{role}-0")]
    assert len(files) >= 2
    own = {"actor": "actor/env_steps", "replay": "replay/steps_inserted"}
    for axis in ("_step", f"{role}/wall_s", *filter(None, [own.get(role)])):
        values = [value for file in files for value in file.series(axis)]
        assert len(values) >= 2
        assert values == sorted(values), axis
    if role == "actor":
        assert files[-1].series("actor/env_steps")[0] > 0


def test_complete_run_is_not_resumed(tossed):
    with LocalRun(tossed.directory.parent, resume=True) as run:
        assert run.wait() == 2
        assert "is complete" in run.output


def test_resume_refuses_to_change_what_is_learned(tossed):
    with LocalRun(tossed.directory.parent, "--learner.learning-rate", "0.5", resume=True) as run:
        assert run.wait() == 2
        (line,) = run.output.splitlines()
        assert "learner.learning_rate: got 0.5, but the run was started with" in line


def test_config_counts_its_resumes(tossed):
    stored = json.loads((tossed.directory / "config.json").read_text())
    assert stored["num_resumes"] == 1
