"""The tracker with the real wandb, offline: what a process writes is what the file holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from deploy.results.wandb_history import find_runs
from efficientzero.metrics import NullTracker, make_tracker, resolve_mode
from efficientzero.process.runtime import StopSignal

ROLE_PROCESS = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import numpy as np
    from efficientzero.metrics import make_tracker
    from efficientzero.process.runtime import StopSignal, install_stop_handlers

    directory, mode, role, incarnation = sys.argv[1:]
    tracker = make_tracker(
        mode=mode, entity="someone", project="Some", group="Catch-v0_lr=0.1", seed=3,
        run_uid="0123abcd", role=role, index=2, config={"learner": {"learning_rate": 0.1}},
        directory=Path(directory), incarnation=int(incarnation), stop=StopSignal(),
    )
    stop = StopSignal()
    install_stop_handlers(stop)
    for step in range(20):
        count = {"actor/episodes": step} if role == "actor" else {}
        loss = {f"{role}/loss": np.float32(0.5 * step)}
        tracker.log({f"{role}/train_steps": step, **loss, **count})
    tracker.log({f"{role}/odd": "not a number"})
    assert stop.wait(60.0)
    tracker.close(exit_code=0)
    tracker.log({f"{role}/late": 1.0})
    tracker.close()
    """
)


def start(
    directory: Path,
    role: str,
    *,
    mode: str = "offline",
    incarnation: int = 0,
    env: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return subprocess.Popen(
        [sys.executable, "-c", ROLE_PROCESS, str(directory), mode, role, str(incarnation)],
        env={**clean, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_politely(
    process: subprocess.Popen, run_files: str, directory: Path, *, num_files: int = 1
) -> None:
    """Send SIGTERM once wandb has made its offline run, and see the process succeed."""
    deadline = time.monotonic() + 60.0
    while len(list(directory.glob(run_files))) < num_files and process.poll() is None:
        assert time.monotonic() < deadline, f"no {run_files} after 60 s"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


@pytest.mark.slow
def test_after_a_polite_stop_the_file_holds_rows_identity_and_config(tmp_path: Path) -> None:
    # What a parent's run, or a sweep agent, may leave behind.
    inherited = {"WANDB_RUN_ID": "parent", "WANDB_NAME": "parent", "WANDB_RUN_GROUP": "parent"}
    process = start(tmp_path, "learner", env=inherited)
    stop_politely(process, "wandb/offline-run-*/*.wandb", tmp_path)
    (run,) = find_runs(tmp_path)
    assert (run.entity, run.project) == ("someone", "Some")
    assert (run.group, run.job_type) == ("Catch-v0_lr=0.1", "learner")
    assert (run.name, run.run_id) == ("Catch-v0_lr=0.1_s3", "0123abcd-learner-2")
    assert run.config == {
        "learner": {"learning_rate": 0.1},
        "seed": 3,
        "role": "learner",
        "role_index": 2,
        "run_uid": "0123abcd",
        "incarnation": 0,
    }
    assert run.series("learner/train_steps") == list(range(20))
    assert run.series("learner/loss") == [0.5 * step for step in range(20)]
    assert run.keys() == {"learner/train_steps", "learner/loss", "learner/wall_s"}
    assert run.axes["learner/loss"] == "learner/train_steps"
    wall = run.series("learner/wall_s")
    assert len(wall) == 20
    assert wall == sorted(wall)
    assert run.exit_code == 0


@pytest.mark.slow
def test_a_restarted_process_continues_its_run_in_a_second_file(tmp_path: Path) -> None:
    for k in (0, 1):
        process = start(tmp_path, "actor", incarnation=k)
        files = "wandb/offline-run-*-0123abcd-actor-2/*.wandb"
        stop_politely(process, files, tmp_path, num_files=k + 1)
    runs = find_runs(tmp_path)
    assert [run.run_id for run in runs] == ["0123abcd-actor-2"] * 2
    assert [run.config["incarnation"] for run in runs] == [0, 1]
    assert [run.series("actor/train_steps") for run in runs] == [list(range(20))] * 2
    # Its axes, and wandb's own, go on: a curve over any of them never goes back.
    assert runs[1].series("actor/episodes") == list(range(19, 39))
    for axis in ("_step", "actor/wall_s"):
        values = [value for run in runs for value in run.series(axis)]
        assert values == sorted(set(values)), axis
        assert len(values) == 40


@pytest.mark.slow
def test_a_server_that_refuses_leaves_an_offline_run(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        "actor",
        mode="online",
        env={
            "WANDB_BASE_URL": "http://127.0.0.1:9",
            "WANDB_API_KEY": "0" * 40,
            "WANDB__GRAPHQL_RETRY_MAX": "1",
            "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
        },
    )
    stop_politely(process, "wandb/offline-run-*/*.wandb", tmp_path)
    (run,) = [run for run in find_runs(tmp_path) if run.rows]
    assert run.series("actor/loss") == [0.5 * step for step in range(20)]


@pytest.fixture
def newcomer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing is known about wandb on this machine."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_without_credentials_auto_is_offline(newcomer: pytest.MonkeyPatch) -> None:
    decision = resolve_mode("auto")
    assert decision.mode == "offline"
    assert "no wandb credentials" in decision.reason


def test_without_a_server_auto_is_offline(newcomer: pytest.MonkeyPatch, tmp_path: Path) -> None:
    newcomer.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1:9 login user password secret\n")
    decision = resolve_mode("auto")
    assert decision.mode == "offline"
    assert "http://127.0.0.1:9 does not answer" in decision.reason


def test_explicit_mode_beats_the_environment(newcomer: pytest.MonkeyPatch) -> None:
    newcomer.setenv("WANDB_MODE", "disabled")
    assert resolve_mode("offline") == ("offline", "asked for")
    assert resolve_mode("auto") == ("disabled", "WANDB_MODE")


def test_unknown_mode_is_refused(newcomer: pytest.MonkeyPatch) -> None:
    newcomer.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match=r"\(WANDB_MODE\): got 'sometimes'"):
        resolve_mode("auto")


def test_disabled_tracking_writes_nothing(tmp_path: Path) -> None:
    tracker = make(tmp_path, mode="disabled", group="Catch-v0")
    tracker.log({"actor/env_steps": 1})
    tracker.close()
    assert isinstance(tracker, NullTracker)
    assert not list(tmp_path.iterdir())


def test_a_group_the_server_would_refuse_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="group: got 129 characters"):
        make(tmp_path, mode="offline", group="x" * 129)


def make(directory: Path, *, mode: str, group: str):
    return make_tracker(
        mode=mode,
        entity="someone",
        project="Some",
        group=group,
        seed=0,
        run_uid="0123abcd",
        role="actor",
        index=0,
        config={},
        directory=directory,
        stop=StopSignal(),
    )
