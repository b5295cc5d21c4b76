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

from deploy.supervising.monitor import learner_status
from efficientzero.rpc.credentials import LOCAL_FOLDER
from efficientzero.rpc.stubs import run_pb2
from tests.chaos.clock_faults import check_clocks
from tests.chaos.returns import compare
from tests.chaos.site import Fault, Site
from tests.chaos.sizes import Size
from tests.chaos.wall_clock import WallClocks
from tests.integration.local_runs import LocalRun, tmpfs

RATIO_TOLERANCE = 0.05
"""Of the replay ratio, as a share of the configured one; the fairness stamp's own."""

_PROOF = 8
"""Train_steps beyond those known: more than batches made before the fault can feed."""
_PATIENCE_S = 600.0


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
    returns: list[float] = field(default_factory=list)
    """Of the final evaluation's episodes."""
    return_mean: float | None = None
    return_noise: float | None = None
    """Bound on the difference to the undisturbed runs' mean, where there were any."""
    outcome: str = "ok"
    """ok, skipped: why, or failed: why."""


def run_case(
    name: str,
    faults: Sequence[Fault],
    folder: Path,
    *,
    size: Size,
    seed: int,
    pause_s: float,
    undisturbed: Sequence[Result] = (),
) -> Result:
    """Run once with ``faults`` injected one after another, and judge.

    Args:
        name: of the case.
        faults: in the order of injection; each at a random train_step of its share of the run.
        folder: new; for the run and whatever the faults need.
        size: of the run.
        seed: of the moments, and of the run.
        pause_s: how long a pause takes, seconds.
        undisturbed: of runs alike; where there are any, the return must be theirs but for noise.
    """
    result = Result(fault=name, most_lost=sum(fault.most_lost(size) for fault in faults))
    try:
        with _site(faults, folder, size=size, seed=seed, pause_s=pause_s) as site:
            _hurt(site, faults, result)
            _judge(site, result)
            if site.clocks is not None:
                check_clocks(site)
        if undisturbed:
            _judge_return(result, [other.returns for other in undisturbed])
    except Skipped as reason:
        result.outcome = f"skipped: {reason}"
    except (AssertionError, OSError, ValueError) as error:
        result.outcome = f"failed: {error}"
    return result


@contextmanager
def _site(
    faults: Sequence[Fault], folder: Path, *, size: Size, seed: int, pause_s: float
) -> Iterator[Site]:
    with ExitStack() as stack:
        disk_bytes = max((fault.disk_bytes for fault in faults), default=0)
        if disk_bytes:
            try:
                stack.enter_context(tmpfs(folder, size_bytes=disk_bytes))
            except subprocess.CalledProcessError as error:
                raise Skipped(f"no small disk: {error.stderr.decode().strip()}") from error
        else:
            folder.mkdir()
        clocks = None
        if any(fault.sets_clocks for fault in faults):
            try:
                clocks = WallClocks(folder / "clocks")
            except (OSError, subprocess.CalledProcessError) as error:
                raise Skipped(f"no C++ compiler for the clocks: {error}") from error
        run = stack.enter_context(
            LocalRun(
                folder / "runs",
                *size.launch_options,
                *("--seed", str(seed)),
                env=clocks.environment if clocks else {},
            )
        )
        yield Site(
            run=run,
            size=size,
            folder=folder,
            chance=random.Random(seed),
            pause_s=pause_s,
            clocks=clocks,
        )


def _hurt(site: Site, faults: Sequence[Fault], result: Result) -> None:
    size = site.size
    first, last = size.checkpoint_interval + 5, size.train_steps - 2 * size.checkpoint_interval
    for number, fault in enumerate(faults):
        share = (last - first) / len(faults)
        moment = int(first + share * (number + site.chance.random()))
        status = site.run.wait_for_status(
            f"train_step {moment}",
            lambda known, at=moment: known.train_steps >= at,
            timeout_s=_PATIENCE_S,
        )
        victim = site.run.pid(f"{fault.role}-0") if fault.role else 0
        fault.inject(site)
        ended_at = time.monotonic()
        result.injected += 1
        _wait_for_recovery(site.run, fault, victim, _newest(site.run, status))
        result.recovered_s.append(round(time.monotonic() - ended_at, 1))


def _newest(run: LocalRun, before: run_pb2.RunStatus) -> run_pb2.RunStatus:
    """Return how far the run is after a fault; ``before``, where the learner has died of it."""
    try:
        with learner_status(run.config["learner_address"], run.directory / LOCAL_FOLDER) as fetch:
            return max(fetch(), before, key=lambda status: status.train_steps)
    except grpc.RpcError:
        return before


def _wait_for_recovery(run: LocalRun, fault: Fault, victim: int, before: run_pb2.RunStatus) -> None:
    """Return when a successor runs and the run is further than it was, by its work."""
    deadline = time.monotonic() + _PATIENCE_S
    known = before
    has_successor = not victim
    with learner_status(run.config["learner_address"], run.directory / LOCAL_FOLDER) as fetch:
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


def _judge(site: Site, result: Result) -> None:
    run, size = site.run, site.size
    code = run.wait(_PATIENCE_S)
    assert code == 0, f"exit code {code}:\n{run.output[-3000:]}"
    summary = run.summary
    result.env_steps_lost = summary["env_steps_lost"]
    result.returns, result.return_mean = summary["eval_returns"], summary["eval_return_mean"]
    stamp = summary["fairness"]
    ratio = stamp["replay_ratio"] / stamp["configured_replay_ratio"]
    result.replay_ratio = round(ratio, 3)
    assert summary["exit_reason"] == "budget", summary["exit_reason"]
    assert summary["env_steps"] == size.env_steps, f"env_steps: {summary['env_steps']}"
    wanted = size.train_steps + size.last_train_steps
    assert summary["train_steps"] == wanted, f"train_steps: {summary['train_steps']}"
    assert result.env_steps_lost is not None, "nobody knows how many env_steps were lost"
    assert result.env_steps_lost <= result.most_lost, (
        f"lost {result.env_steps_lost} env_steps, wanted at most {result.most_lost}"
    )
    assert abs(ratio - 1.0) <= RATIO_TOLERANCE, f"replay ratio {ratio:.3f} of the configured one"
    assert summary["eval_is_final"], "the last weights were not evaluated"
    assert run.pids() == {}, f"left behind: {run.pids()}"
    assert "Traceback" not in run.output, run.output[run.output.index("Traceback") :][:2000]


def _judge_return(result: Result, undisturbed: Sequence[Sequence[float]]) -> None:
    comparison = compare(result.returns, undisturbed)
    result.return_noise = round(comparison.noise, 3)
    assert comparison.is_noise, (
        f"return {result.return_mean}, {comparison.difference:+.3f} from undisturbed runs, "
        f"noise is {comparison.noise:.3f}"
    )
