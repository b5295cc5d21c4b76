"""Actors and reanalyzers that come and go while a run goes on: real processes, no restart of it."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest

from deploy.results.fairness import TOLERANCE
from deploy.supervising.child import child_environment
from tests.integration.local_runs import CHECKOUT, PATIENCE_S, TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 1203, 120, 5
EPISODE_LENGTH = 9
BUDGET = (
    *("--tracking.mode", "disabled"),
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--evaluator.num-episodes", "2", "--evaluator.final-num-episodes", "3"),
)


@contextmanager
def joined(run, module, *, index, incarnation=0):
    """Start one more process of a running run, as a person would: nobody supervises it."""
    config = str(run.directory / "config.json")
    options = ("--config", config, "--index", str(index), "--incarnation", str(incarnation))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=CHECKOUT,
        env=child_environment(
            os.environ, run_uid=run.config["run_uid"], launch="joined", threads=1
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def send(run, name, signum):
    (pid,) = [pid for pid, known in run.pids().items() if known == name]
    os.kill(pid, signum)


def wait_for_games_of(run, actor):
    """Wait until ``actor`` has reported a game."""

    def has_played(status):
        return status.episodes and any(
            line["actor"] == actor for line in run.lines("episodes.jsonl")
        )

    return run.wait_for_status(f"a game of actor {actor}", has_played)


@pytest.fixture(scope="module")
def elastic(tmp_path_factory):
    """One actor and one reanalyzer; two join, all four are killed or leave, two come back.

    The first two are halted meanwhile, so that nothing here depends on who is quicker.
    """
    runs_dir = tmp_path_factory.mktemp("elastic") / "runs"
    with LocalRun(runs_dir, *TINY, *BUDGET) as run, ExitStack() as stack:
        run.wait_for_status("training", lambda status: status.train_steps > 2)
        for name in ("actor-0", "reanalyzer-0"):
            send(run, name, signal.SIGSTOP)
        second = stack.enter_context(joined(run, "actor", index=1))
        helper = stack.enter_context(joined(run, "reanalyzer", index=1))
        run.at_join = wait_for_games_of(run, 1)
        more = run.at_join.train_steps + 5
        run.wait_for_status("training with the two", lambda status: status.train_steps > more)
        second.kill()  # in the middle of what it was granted
        second.wait(PATIENCE_S)
        run.kill("actor-0")
        after = run.wait_for_status("any answer", lambda status: True).env_steps + 50
        run.wait_for_status("actor-0's successor to play", lambda status: status.env_steps > after)
        helper.send_signal(signal.SIGTERM)
        run.helper_code = helper.wait(PATIENCE_S)
        run.at_leave = run.wait_for_status("any answer", lambda status: True)
        run.kill("reanalyzer-0")
        stack.enter_context(joined(run, "actor", index=1, incarnation=1))
        assert run.wait() == 0, run.output
        yield run


def test_env_steps_end_exactly_at_the_budget(elastic):
    summary = elastic.summary
    assert summary["exit_reason"] == "budget"
    assert summary["env_steps"] == ENV_STEPS
    assert summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    # All of it in mid-run.
    assert 100 < elastic.at_join.env_steps < elastic.at_leave.env_steps < ENV_STEPS


def test_achieved_replay_ratio_is_the_configured_one_within_its_tolerance(elastic):
    fairness = elastic.summary["fairness"]
    wanted = TRAIN_STEPS / (ENV_STEPS - 100)  # the warm-up earns none
    assert fairness["configured_replay_ratio"] == pytest.approx(wanted)
    assert fairness["replay_ratio"] == pytest.approx(wanted, rel=TOLERANCE.ratio)


def test_killed_ones_are_started_again_and_joined_ones_are_not(elastic):
    for name in ("actor-0", "reanalyzer-0"):
        assert f"{name} was killed by SIGKILL" in elastic.output
    assert "actor-1 is here" in elastic.output
    launched = [line for line in elastic.output.splitlines() if line.startswith("launcher")]
    assert not [line for line in launched if "actor-1" in line]
    assert elastic.helper_code == 0
    assert "Traceback" not in elastic.output


def test_what_killed_actors_held_was_played_by_others(elastic):
    # Each of the two killed ones lost at most the running episodes of 8 environments.
    assert 0 <= elastic.summary["env_steps_lost"] <= 2 * 8 * EPISODE_LENGTH
    assert "env_steps it held are free" in elastic.output
