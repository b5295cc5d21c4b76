"""A run whose workers come by one address, die, and are followed by others: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from efficientzero.process.free_ports import free_port
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from tests.integration.local_runs import PATIENCE_S, TINY

pytestmark = [pytest.mark.reverb, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
WANDB_KEY = "0123456789abcdef" * 2 + "fedcba98"
BUDGET = (
    *("--budget.env-steps", "900", "--budget.warmup-env-steps", "200"),
    *("--budget.train-steps", "200", "--budget.last-train-steps", "2"),
    *("--evaluator.interval-train-steps", "1000", "--evaluator.final-num-episodes", "2"),
)


class Cluster:
    """Processes of one run, each started as a person would on a host of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        credentials = folder / "credentials"
        subprocess.run([ROOT / "deploy/scripts/make_certs.sh", credentials], check=True, timeout=60)
        self.token = (credentials / "token").read_text().strip()
        self.environment = {
            **os.environ,
            CREDENTIALS_VARIABLE: str(credentials),
            "WANDB_API_KEY": WANDB_KEY,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        places = ("--runs-dir", str(self.folder / "runs"), "--run-id", "run")
        port = ("--cluster.learner-port", str(self.port))
        return self.start("head", "launch.py", "--serve", *places, *TINY, *BUDGET, *port)

    def join(self, name: str, module: str) -> subprocess.Popen[bytes]:
        runs_dir = ("--runs-dir", str(self.folder / f"host-{name}"))
        return self.start(name, "-m", module, "--join", self.address, *runs_dir)

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")

    def outputs(self) -> str:
        names = sorted(path.stem for path in self.folder.glob("*.out"))
        return "\n".join(f"== {name}\n{self.output(name)}" for name in names)

    def status(self) -> dict[str, Any]:
        """Return what ``launch.py status`` prints; empty while the learner does not answer."""
        done = subprocess.run(
            [sys.executable, "launch.py", "status", self.address, "--json"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def wait_for(self, what: str, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first status that is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status = self.status()
            if status and is_reached(status):
                return status
            assert self.processes["head"].poll() is None, self.outputs()
            assert time.monotonic() < deadline, f"{what}: {status}\n{self.outputs()}"
            time.sleep(0.2)

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(60.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(60.0)


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def seats(status: dict[str, Any], role: str) -> dict[int, dict[str, Any]]:
    return {p["pid"]: p for p in status["processes"] if p["role"] == role}


def reanalyzers(status: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return seats(status, "reanalyzer")


def test_actors_come_die_and_are_followed_by_others_until_the_budget_is_spent(cluster):
    head = cluster.serve()
    # Workers may be there before the learner is.
    reanalyzer = cluster.join("reanalyzer", "reanalyzer")
    evaluator = cluster.join("evaluator", "actor.evaluator")
    alone = cluster.wait_for("the missing actor to be named", lambda s: "no actor" in s["cause"])
    assert alone["env_steps"] == 0
    assert "python -m actor --join" in alone["cause"]

    first = cluster.join("first", "actor")
    played = cluster.wait_for("env_steps of the first actor", lambda s: s["env_steps"] > 0)
    assert seats(played, "actor")[first.pid]["index"] == 0
    first.send_signal(signal.SIGKILL)
    first.wait()

    others = [cluster.join("second", "actor"), cluster.join("third", "actor")]
    pids = {process.pid for process in others}
    both = cluster.wait_for("two other actors", lambda s: pids <= seats(s, "actor").keys())
    known = seats(played, "actor") | seats(both, "actor")
    living = [seats(both, "actor")[pid]["index"] for pid in pids]
    assert len(set(living)) == 2
    seeds = {(seat["index"], seat["incarnation"]) for seat in known.values()}
    assert len(seeds) == 3  # no two processes ever had the same ones

    assert head.wait(PATIENCE_S) == 0, cluster.output("head")
    for process in (reanalyzer, evaluator, *others):
        assert process.wait(60.0) == 0
    summary = json.loads((cluster.folder / "runs/run/summary.json").read_text())
    assert (summary["env_steps"], summary["train_steps"]) == (900, 202)
    assert summary["eval_is_final"]
    assert_no_secrets(cluster)

    # Again with the same command, as a container would: there is nothing left to do.
    assert cluster.serve().wait(PATIENCE_S) == 0
    assert "run is complete" in cluster.output("head")


def test_learner_and_replay_on_their_own_survive_the_learners_death(cluster):
    places = ("--runs-dir", str(cluster.folder / "runs"), "--run-id", "run")
    ports = (
        *("--cluster.learner-port", str(cluster.port)),
        *("--cluster.replay-host", "127.0.0.1", "--cluster.replay-port", str(free_port())),
    )
    prepare = cluster.start("head", "launch.py", "--prepare", *places, *TINY, *BUDGET, *ports)
    config = ("--config", str(cluster.folder / "runs/run/config.json"), "--config-wait", "300")
    replay = cluster.start("replay", "-m", "replay", *config)
    learner = cluster.start("learner", "-m", "learner", *config)
    workers = [cluster.join("actor", "actor"), cluster.join("reanalyzer", "reanalyzer")]
    workers.append(cluster.join("evaluator", "actor.evaluator"))
    assert prepare.wait(PATIENCE_S) == 0, cluster.output("head")

    cluster.processes["head"] = learner  # whose end would end the waiting
    before = cluster.wait_for("a few train_steps", lambda s: s["train_steps"] > 0)
    learner.send_signal(signal.SIGKILL)
    learner.wait()
    again = cluster.start("learner-again", "-m", "learner", *config)
    cluster.processes["head"] = again
    maker = workers[1].pid
    after = cluster.wait_for("the reanalyzer", lambda s: maker in seats(s, "reanalyzer"))
    places = [
        (s[maker]["index"], s[maker]["incarnation"]) for s in map(reanalyzers, (before, after))
    ]
    assert places[0] == places[1]
    (restarted,) = seats(after, "learner").values()
    assert restarted["incarnation"] == 1

    assert again.wait(PATIENCE_S) == 0, cluster.output("learner-again")
    for process in workers:
        assert process.wait(60.0) == 0
    replay.terminate()
    assert replay.wait(60.0) == 0
    lines = (cluster.folder / "runs/run/evaluations.jsonl").read_text().splitlines()
    final = json.loads(lines[-1])
    assert (final["is_final"], final["train_steps"], final["env_steps"]) == (True, 202, 900)


def assert_no_secrets(cluster: Cluster) -> None:
    """Look for the token and wandb's key in all that the run has written and printed."""
    files = [
        path
        for path in cluster.folder.rglob("*")
        if path.is_file() and path.parent.name != "credentials"
    ]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        for secret in (cluster.token, WANDB_KEY):
            assert secret.encode() not in content, path


def test_secrets_are_in_no_command_line(cluster):
    cluster.serve()
    cluster.join("first", "actor")
    cluster.wait_for("the actor", lambda s: len(seats(s, "actor")) == 1)
    lines = [command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    mine = [line for line in lines if str(cluster.port).encode() in line]
    assert len(mine) >= 2
    for line in lines:
        assert cluster.token.encode() not in line
        assert WANDB_KEY.encode() not in line


def command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b""
