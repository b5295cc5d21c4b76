"""One run with faults in it: started, hurt at seeded moments, watched, judged."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from deploy.monitor import learner_status
from efficientzero.rpc import run_pb2
from tests.chaos.faults import (
    CHECKPOINT_INTERVAL,
    ENV_STEPS,
    FAKETIME_LIBRARY,
    LAST_TRAIN_STEPS,
    TRAIN_STEPS,
    Fault,
    Site,
    clock_environment,
)
from tests.integration.local_runs import TINY, LocalRun, tmpfs

OPTIONS = (
    *TINY,
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", str(CHECKPOINT_INTERVAL)),
    *("--learner.checkpoints-kept", "3"),
    *("--evaluator.interval-train-steps", "20", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3"),
)
RATIO_TOLERANCE = 0.05
"""Of the replay ratio, as a share of the configured one; the fairness stamp's own."""

_PROOF = 8
"""Train_steps beyond those known: more than batches made before the fault can feed."""
_PATIENCE_S = 300.0


class Skipped(Exception):
    """The machine lacks what the fault needs; the message says what."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of one run."""

    fault: str
    injected: int = 0
    recovered_s: list[float] = field(default_factory=list)
    """From the end of each fault until the run went on."""
    env_steps_lost: int | None = None
    most_lost: int = 0
    """Bound on ``env_steps_lost``."""
    replay_ratio: float | None = None
    """Achieved, as a share of the configured one."""
    outcome: str = "ok"
    """ok, skipped: why, or failed: why."""


def run_case(
    name: str,
    faults: Sequence[Fault],
    folder: Path,
    *,
    seed: int,
    pause_s: float,
) -> Result:
    """Run once with ``faults`` injected one after another, and judge.

    Args:
        name: of the case.
        faults: in the order of injection; each at a random train_step of its share of the run.
        folder: new; for the run and whatever the faults need.
        seed: of the moments, and of the run.
        pause_s: how long a pause takes, seconds.
    """
    result = Result(fault=name, most_lost=sum(fault.lost for fault in faults))
    try:
        with _site(faults, folder, seed=seed, pause_s=pause_s) as site:
            _hurt(site, faults, result)
            _judge(site.run, result)
    except Skipped as reason:
        result.outcome = f"skipped: {reason}"
    except (AssertionError, OSError, ValueError) as error:
        result.outcome = f"failed: {error}"
    return result


@contextmanager
def _site(faults: Sequence[Fault], folder: Path, *, seed: int, pause_s: float) -> Iterator[Site]:
    with ExitStack() as stack:
        disk_bytes = max(fault.disk_bytes for fault in faults)
        if disk_bytes:
            try:
                stack.enter_context(tmpfs(folder, size_bytes=disk_bytes))
            except subprocess.CalledProcessError as error:
                raise Skipped(f"no small disk: {error.stderr.decode().strip()}") from error
        else:
            folder.mkdir()
        env = {}
        if any(fault.needs_faketime for fault in faults):
            if not FAKETIME_LIBRARY.exists():
                raise Skipped("no libfaketime: apt-get install faketime")
            env = clock_environment(folder)
        options = (*OPTIONS, "--seed", str(seed))
        run = stack.enter_context(LocalRun(folder / "runs", *options, env=env))
        yield Site(run=run, folder=folder, chance=random.Random(seed), pause_s=pause_s)


def _hurt(site: Site, faults: Sequence[Fault], result: Result) -> None:
    first, last = CHECKPOINT_INTERVAL + 5, TRAIN_STEPS - 40
    share = (last - first) / len(faults)
    for number, fault in enumerate(faults):
        moment = int(first + share * (number + site.chance.random()))
        status = site.run.wait_for_status(
            f"train_step {moment}", lambda known, at=moment: known.train_steps >= at
        )
        victim = site.run.pid(f"{fault.role}-0") if fault.role else 0
        fault.inject(site)
        ended_at = time.monotonic()
        result.injected += 1
        _wait_for_recovery(site.run, fault, victim, status)
        result.recovered_s.append(round(time.monotonic() - ended_at, 1))


def _wait_for_recovery(run: LocalRun, fault: Fault, victim: int, before: run_pb2.RunStatus) -> None:
    """Return when a successor runs and the run is further than it was, by its work."""
    deadline = time.monotonic() + _PATIENCE_S
    known = before
    has_successor = not victim
    with learner_status(run.config["learner_address"]) as fetch:
        while run.process.poll() is None:
            assert time.monotonic() < deadline, f"no recovery from {fault.name}:\n{run.output}"
            if not has_successor:
                has_successor = any(
                    pid != victim and name == f"{fault.role}-0" for pid, name in run.pids().items()
                )
                known = before
            try:
                status = fetch()
            except grpc.RpcError:
                status = None
            if status is not None and has_successor and _is_further(fault, known, status):
                return
            time.sleep(0.1)


def _is_further(fault: Fault, known: run_pb2.RunStatus, status: run_pb2.RunStatus) -> bool:
    if fault.role == "evaluator":
        return status.last_eval_version > known.last_eval_version
    has_collected = (
        status.env_steps > known.env_steps or status.env_steps == status.env_steps_budget
    )
    return has_collected and status.train_steps >= known.train_steps + _PROOF


def _judge(run: LocalRun, result: Result) -> None:
    code = run.wait()
    assert code == 0, f"exit code {code}:\n{run.output[-3000:]}"
    summary = run.summary
    result.env_steps_lost = summary["env_steps_lost"]
    stamp = summary["fairness"]
    ratio = stamp["replay_ratio"] / stamp["configured_replay_ratio"]
    result.replay_ratio = round(ratio, 3)
    assert summary["exit_reason"] == "budget", summary["exit_reason"]
    assert summary["env_steps"] == ENV_STEPS, f"env_steps: {summary['env_steps']}"
    wanted = TRAIN_STEPS + LAST_TRAIN_STEPS
    assert summary["train_steps"] == wanted, f"train_steps: {summary['train_steps']}"
    assert result.env_steps_lost is not None, "nobody knows how many env_steps were lost"
    assert result.env_steps_lost <= result.most_lost, (
        f"lost {result.env_steps_lost} env_steps, wanted at most {result.most_lost}"
    )
    assert abs(ratio - 1.0) <= RATIO_TOLERANCE, f"replay ratio {ratio:.3f} of the configured one"
    assert summary["eval_is_final"], "the last weights were not evaluated"
    assert run.pids() == {}, f"left behind: {run.pids()}"
    assert "Traceback" not in run.output, run.output[run.output.index("Traceback") :][:2000]
