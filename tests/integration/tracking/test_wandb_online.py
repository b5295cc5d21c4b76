"""The real wandb client, online, against a stand-in of its server on loopback.

A process logs its rows and says so before the test lets the server answer: whatever the server
does, logging has not waited for it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.results.wandb_history import find_runs, read_rows
from tests.integration.local_runs import TINY, LocalRun
from tests.support.wandb_server import ServerRun, WandbServer

pytestmark = pytest.mark.slow

NUM_ROWS = 300
STEPS = list(range(NUM_ROWS))
KEY = ("someone", "Some", "0123abcd-learner-2")

ROLE_PROCESS = textwrap.dedent(
    """
    import logging, sys
    from pathlib import Path
    from efficientzero.metrics import make_tracker
    from efficientzero.process.runtime import StopSignal

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    directory, half = Path(sys.argv[1]), int(sys.argv[2])
    tracker = make_tracker(
        mode="online", entity="someone", project="Some", group="Catch-v0_lr=0.1", seed=3,
        run_uid="0123abcd", role="learner", index=2, config={"learner": {"learning_rate": 0.1}},
        directory=directory,
        stop=StopSignal(),
    )
    def log(steps):
        for step in steps:
            tracker.log({"learner/train_steps": step, "learner/loss": 0.5 * step,
                         "learner/time/forward_ms": 2.0})
        print("logged", flush=True)
    log(range(half))
    input()
    log(range(half, 2 * half))
    input()
    tracker.close(exit_code=0)
    print("closed", flush=True)
    """
)


class RoleProcess:
    """One process that tracks online; what it prints is kept."""

    def __init__(self, directory: Path, server: WandbServer, **env: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        self.environment = {**clean, **server.environment, **env}
        self.printed: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", ROLE_PROCESS, str(directory), str(NUM_ROWS // 2)],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, start: str) -> None:
        """Wait for a further line that begins with ``start``."""
        assert self.process.stdout
        for printed in self.process.stdout:
            self.printed.append(printed.rstrip("\n"))
            if self.printed[-1].startswith(start):
                return
        raise AssertionError(f"no {start!r} in {self.printed}")

    def wait_for_run(self) -> None:
        """Wait until wandb has made a run: importing it alone may take its time."""
        if not any("files in" in line for line in self.printed):
            self.wait_for("wandb o")
            self.wait_for_run()

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def command_to_upload(self) -> list[str]:
        """Return the one command that the process printed, for this interpreter."""
        (line,) = [line for line in self.printed if line.startswith("not uploaded: ")]
        program, *arguments = shlex.split(line.removeprefix("not uploaded: "))
        assert program == "wandb"
        return [sys.executable, "-m", "wandb", *arguments]


@contextmanager
def role_process(directory: Path, server: WandbServer, **env: str) -> Iterator[RoleProcess]:
    role = RoleProcess(directory, server, **env)
    try:
        yield role
    finally:
        if role.process.poll() is None:
            role.process.kill()
        role.process.communicate(timeout=60)


def play(role: RoleProcess) -> None:
    """Let the process log everything and leave."""
    role.wait_for("logged")
    play_second_half(role)


def play_second_half(role: RoleProcess) -> None:
    role.go_on()
    role.wait_for("logged")
    role.wait_for_run()
    role.go_on()
    role.wait_for("closed")
    assert role.process.wait(60) == 0


def check_history(run: ServerRun) -> None:
    assert [row["learner/train_steps"] for row in run.rows] == STEPS
    assert [row["learner/loss"] for row in run.rows] == [0.5 * step for step in STEPS]


def rows_on_disk(directory: Path) -> list[float]:
    return [row.values["learner/train_steps"] for row in read_rows(directory)]


def upload(role: RoleProcess, server: WandbServer) -> None:
    """Run the command that the process printed, with the server back."""
    environment = {**role.environment, **server.environment}
    done = subprocess.run(
        role.command_to_upload(),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_gets_identity_config_axes_and_every_row(tmp_path: Path) -> None:
    with WandbServer() as server:
        with role_process(tmp_path, server) as role:
            play(role)
        assert server.runs.keys() == {KEY}
    run = server.runs[KEY]
    assert (run.group, run.job_type, run.name) == (
        "Catch-v0_lr=0.1",
        "learner",
        "Catch-v0_lr=0.1_s3",
    )
    told = run.config.pop("_wandb")
    assert run.config == {
        "learner": {"learning_rate": 0.1},
        "seed": 3,
        "role": "learner",
        "role_index": 2,
        "run_uid": "0123abcd",
        "incarnation": 0,
    }
    # What the web page draws with: 1 the metric, 5 the place of its axis in this list, from 1.
    names = [metric["1"] for metric in told["m"]]
    axes = {m["1"]: names[m["5"] - 1] if "5" in m else None for m in told["m"]}
    assert axes["learner/loss"] == "learner/train_steps"
    assert axes["learner/time/forward_ms"] == "learner/wall_s"
    check_history(run)
    wall = [row["learner/wall_s"] for row in run.rows]
    assert wall == sorted(wall)
    assert run.exit_code == 0
    assert not any("not uploaded" in line for line in role.printed)
    assert rows_on_disk(tmp_path) == STEPS


def test_a_server_that_takes_no_rows_for_a_while_holds_nobody_up(tmp_path: Path) -> None:
    with WandbServer() as server:
        server.held_back = {"stream"}
        server.open_gate.clear()
        with role_process(tmp_path, server) as role:
            role.wait_for("logged")
            server.wait_for("stream")
            assert server.runs[KEY].rows == []
            role.go_on()
            role.wait_for("logged")  # all of them, and the server has answered none
            server.open_gate.set()
            role.go_on()
            role.wait_for("closed")
        check_history(server.runs[KEY])


@pytest.mark.parametrize("status", [403, 503])
def test_a_server_that_refuses_the_run_leaves_it_on_disk(tmp_path: Path, status: int) -> None:
    with WandbServer() as server:
        server.refuse = {"UpsertBucket": status}
        fewer = {"WANDB__GRAPHQL_RETRY_MAX": "1", "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1"}
        with role_process(tmp_path, server, **fewer) as role:
            play(role)
        assert server.runs == {}
        assert rows_on_disk(tmp_path) == STEPS
        server.refuse = {}
        upload(role, server)
        (run,) = server.runs.values()
    assert run.group == "Catch-v0_lr=0.1"
    check_history(run)


def test_a_process_that_leaves_before_the_server_answered_leaves_its_rows_on_disk(
    tmp_path: Path,
) -> None:
    with WandbServer() as server:
        server.held_back = {"UpsertBucket"}
        server.open_gate.clear()
        with role_process(tmp_path, server) as role:
            role.wait_for("logged")
            role.go_on()
            role.wait_for("logged")
            server.wait_for("UpsertBucket")
            role.go_on()
            role.wait_for("closed")
            # wandb's own process writes them, and may be some rows behind.
            deadline = time.monotonic() + 60.0
            while len(rows_on_disk(tmp_path)) < NUM_ROWS and time.monotonic() < deadline:
                time.sleep(0.1)
        assert rows_on_disk(tmp_path) == STEPS
        server.open_gate.set()
        server.held_back = set()
        upload(role, server)
    check_history(server.runs["someone", "Some", "0123abcd-learner-2-offline"])


def test_a_server_that_goes_away_in_the_middle_costs_no_row(tmp_path: Path) -> None:
    with WandbServer() as server:
        often = {"WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1"}
        with role_process(tmp_path, server, **often) as role:
            role.wait_for("logged")
            server.wait_for("stream")
            server.go_away()
            play_second_half(role)
    got = len(server.runs[KEY].rows)
    assert got < NUM_ROWS
    assert rows_on_disk(tmp_path) == STEPS
    (told,) = (tmp_path / "wandb" / "not-uploaded").read_text().splitlines()
    # Relative to the list: the run folder may be moved before the upload.
    assert tmp_path / "wandb" / told in {run.path.parent for run in find_runs(tmp_path)}
    assert not Path(told).is_absolute()
    with WandbServer() as again:
        again.runs = server.runs
        upload(role, again)
    check_history(again.runs[KEY])


@pytest.mark.reverb
def test_a_run_whose_server_goes_away_trains_to_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = ("--budget.env-steps", "300", "--budget.warmup-env-steps", "100")
    steps = ("--budget.train-steps", "30", "--budget.last-train-steps", "4")
    names = ("--entity", "someone", "--project", "Some", "--tracking.mode", "online")
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with LocalRun(tmp_path / "runs", *TINY, *budget, *steps, *names) as run:
            run.wait_for_status("training", lambda status: status.train_steps > 0)
            server.wait_for_runs(5)
            server.go_away()
            assert run.wait() == 0, run.output
            command = f"(cd {run.directory}/wandb && xargs -d '\\n' -n 1 wandb sync < not-uploaded)"
            assert f"not everything was uploaded; upload it with: {command}" in run.output
            uid, group = run.config["run_uid"], run.config["group"]
            assert run.summary["train_steps"] == 34
    roles = ("actor", "evaluator", "learner", "reanalyzer", "replay")
    assert server.runs.keys() == {("someone", "Some", f"{uid}-{role}-0") for role in roles}
    for (_, _, run_id), told in server.runs.items():
        assert (told.group, told.name) == (group, f"{group}_s0")
        assert told.job_type == run_id.split("-")[1]
        assert told.config["config_hash"] == run.config["config_hash"]
    told_of = (run.directory / "wandb" / "not-uploaded").read_text().splitlines()
    # A process that had left before the server did has uploaded everything.
    told = {Path(line).name.split("-", 2)[2] for line in told_of}
    assert f"{uid}-learner-0" in told
    assert told <= {f"{uid}-{role}-0" for role in roles}
    steps_on_disk = [
        row.values["learner/train_steps"]
        for row in read_rows(run.directory)
        if "learner/train_steps" in row.values
    ]
    assert steps_on_disk == [10, 20, 30]
