"""A caught error is told as it is: never as the one cause that somebody had in mind.

What cannot be read is here a folder in a file's place: an error of the file system for every user.
"""

import errno
import json
import socket

import grpc
import numpy as np
import pytest
import torch

from actor.tools import saved_run
from deploy.ablate.check import check_cells, read_summary
from deploy.ablate.compare import compare
from deploy.ablate.grid import Grid, expand
from deploy.ablate.runner import CellRun
from deploy.checks.fork import find_fork
from deploy.results.fairness import read_stamp
from deploy.results.summary import summary_lines
from deploy.supervising.monitor import RunMonitor
from efficientzero.config.files import ConfigError
from efficientzero.config.preset_files import load_preset
from efficientzero.metrics.tracker import resolve_mode
from efficientzero.process.liveness import read_life_signs
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import run_pb2
from efficientzero.rpc.weights_codec import OtherNetwork, decode_weights, encode_weights
from efficientzero.runs.checkpoint import UnreadableCheckpoint, newest_checkpoint, save_checkpoint
from efficientzero.runs.results.run_summary import Outcome, summarize
from efficientzero.runs.run_folder import RunInfo
from efficientzero.worker.joining import JoinRefused, _check_retry
from learner.records.saver import CheckpointSaver
from replay.info import connection_problem, wait_until_ready
from replay.service import server
from replay.snapshots.facts import read_snapshot
from replay.snapshots.folder import SnapshotFolder
from replay.snapshots.request import SnapshotFailed
from tests.support.fakes import tiny_config, tiny_run
from tests.support.snapshots_by_hand import write_snapshot


def unreadable(path):
    """Put a folder in the file's place."""
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    return path


def state_of(train_step):
    return {"train_step": train_step, "network": {"w": torch.ones(2)}, "replay_snapshot": "s"}


def test_a_checkpoint_that_cannot_be_read_gives_no_way_to_an_older_one(tmp_path):
    folder = tmp_path / "checkpoints"
    save_checkpoint(folder, 1, state_of(1), keep=2)
    unreadable(save_checkpoint(folder, 2, state_of(2), keep=2))
    with pytest.raises(UnreadableCheckpoint, match=r"00000002\.pt: cannot be read: Is a directory"):
        newest_checkpoint(folder)


def test_a_summary_says_why_it_has_no_digest_of_the_weights(tmp_path):
    run = tiny_run(tmp_path, tiny_config())
    outcome = Outcome(0, "budget")
    lines = summary_lines(run, summarize(run, outcome, status=None, wall_s=1.0))
    assert "weights    none saved" in lines
    path = save_checkpoint(tmp_path / "checkpoints", 1, state_of(1), keep=2)
    path.write_bytes(path.read_bytes()[:-100])
    summary = summarize(run, outcome, status=None, wall_s=1.0)
    assert summary["weights_sha256"] is None
    (line,) = [row for row in summary_lines(run, summary) if row.startswith("weights ")]
    assert "not a readable checkpoint: BadZipFile" in line


def test_a_snapshot_that_cannot_be_read_gives_no_way_to_an_older_one(tmp_path):
    folder = SnapshotFolder(tmp_path, keep=2)
    write_snapshot(folder.live / "2026-01-01", inserted=60, content=b"old")
    folder.keep_newest()
    write_snapshot(folder.live / "2026-01-02", inserted=90, content=b"new")
    folder.keep_newest()
    (newest,) = (tmp_path / "kept").glob("*2026-01-02")
    unreadable(newest / "chunks.tfrecord")
    with pytest.raises(IsADirectoryError):
        folder.prepare()
    with pytest.raises(IsADirectoryError):
        read_snapshot(newest)


def test_a_fork_with_weights_says_what_is_wrong_with_the_checkpoint_that_belongs(tmp_path):
    run = tiny_run(tmp_path / "parent", tiny_config())
    run.save()
    write_snapshot(run.directory / "replay-0" / "kept" / "s", inserted=60, content=b"x")
    path = save_checkpoint(run.directory / "checkpoints", 1, state_of(1), keep=2)
    path.write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"belong to none; .*not a readable checkpoint: BadZip"):
        find_fork(run.directory, is_frozen=True, takes_weights=True)


@pytest.mark.parametrize("text", ["[]", '"x"', "3", "{", "null"])
def test_a_file_that_is_no_runs_is_named_with_what_is_wrong(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: not a run's config\.json: \w+Error"):
        RunInfo.load(path)


def test_a_field_that_this_version_lacks_is_named_with_its_file(tmp_path):
    run = tiny_run(tmp_path, tiny_config())
    run.save()
    values = json.loads(run.config_path.read_text())
    values["config"]["search"]["new_field"] = 1
    run.config_path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"config\.json: unknown key 'search\.new_field'"):
        RunInfo.load(run.config_path)


def test_a_summary_that_cannot_be_read_is_neither_finished_nor_killed(tmp_path, caplog):
    assert read_summary(tmp_path) == {}
    assert read_stamp(tmp_path) is None
    (tmp_path / "summary.json").write_text('{"exit_code": 0')
    assert read_summary(tmp_path) == {"exit_code": None}
    assert "summary.json: not readable: JSONDecodeError" in caplog.text
    with pytest.raises(ValueError, match=r"no fairness stamp can be read \(JSONDecodeError"):
        read_stamp(tmp_path)
    (cell,) = check_cells(expand(Grid(), load_preset("catch")), tmp_path / "runs").cells
    run = CellRun(checked=cell, state="finished", run_dir=tmp_path)
    (line,) = compare([run], tmp_path)
    assert line.startswith("not compared: Catch-v0 s0: ")
    assert "has no fairness stamp" not in line


def test_a_sign_of_life_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    (tmp_path / "torn").write_text("{")
    assert read_life_signs(tmp_path) == []
    unreadable(tmp_path / "actor-0")
    with pytest.raises(IsADirectoryError):
        read_life_signs(tmp_path)


def test_replay_that_is_not_there_is_said_with_the_systems_reason():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"  # bound, and nobody listens
        assert "Connection refused" in connection_problem(address)
        with pytest.raises(TimeoutError, match=r"after 0 s \(.*Connection refused\)"):
            wait_until_ready(address, StopSignal(), timeout_s=0.0)
        held.listen(1)
        assert connection_problem(address) == ""


def test_a_port_lock_that_fails_otherwise_is_no_taken_port(monkeypatch):
    taken = pytest.raises(server.PortTakenError, match="another replay")
    with server._port_to_itself(1), taken, server._port_to_itself(1):
        pass

    class NoUnixSockets(socket.socket):
        def bind(self, address):
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(server.socket, "socket", NoUnixSockets)
    with pytest.raises(PermissionError), server._port_to_itself(1):
        pass


@pytest.mark.parametrize(
    ("error", "has_traceback"), [(SnapshotFailed("disk full"), False), (KeyError("table"), True)]
)
def test_a_checkpoint_without_its_snapshot_shows_an_unknown_cause_whole(
    tmp_path, caplog, error, has_traceback
):
    def snapshot_replay():
        raise error

    saver = CheckpointSaver(tmp_path, keep=2, stop=StopSignal(), snapshot_replay=snapshot_replay)
    saver.save(state_of(1), wait=True)
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) == has_traceback


class Refusal(grpc.RpcError, grpc.Call):
    """What the learner's status call raises."""

    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    def details(self):
        return "wrong token" if self._code is grpc.StatusCode.UNAUTHENTICATED else "CERTIFICATE"

    add_callback = cancel = initial_metadata = is_active = None
    time_remaining = trailing_metadata = None


def test_a_learner_that_refuses_its_status_is_not_taken_for_a_silent_one(tmp_path, caplog):
    codes = [grpc.StatusCode.UNAVAILABLE, *[grpc.StatusCode.UNAUTHENTICATED] * 2]

    def fetch():
        raise Refusal(codes.pop(0))

    monitor = RunMonitor(
        fetch, evaluations_path=tmp_path / "none", show=lambda *_: None, stop=StopSignal()
    )
    monitor.poll()
    assert caplog.text == ""
    monitor.poll()
    monitor.poll()
    (record,) = caplog.records
    assert record.getMessage() == "the learner gives no status: UNAUTHENTICATED: wrong token"


@pytest.mark.parametrize("until_evaluated", [False, True])
def test_a_run_that_has_trained_is_not_yet_evaluated(tmp_path, until_evaluated):
    status, path = run_pb2.RunStatus(phase=run_pb2.FINISHED), tmp_path / "evaluations.jsonl"
    monitor = RunMonitor(
        lambda: status,
        evaluations_path=path,
        show=lambda *_: None,
        stop=StopSignal(),
        until_evaluated=until_evaluated,
    )
    monitor.poll()
    assert not monitor.progress().is_evaluated
    assert monitor.progress().has_finished is not until_evaluated
    path.write_text('{"is_final": true}\n')
    monitor.poll()
    assert monitor.progress() == (True, True, True)


def test_a_refused_certificate_is_reported_with_the_systems_words():
    class Failed(Refusal):
        def details(self):
            return "Hostname Verification Check failed."

    with pytest.raises(JoinRefused, match=r"or not of this host name \(UNAVAILABLE: Hostname"):
        _check_retry(Failed(grpc.StatusCode.UNAVAILABLE), "head:7400")


def test_damaged_weights_are_no_other_network():
    expected = {"w": torch.zeros(2, 2)}
    with pytest.raises(OtherNetwork, match="missing tensor 'w'"):
        decode_weights(encode_weights({"v": torch.zeros(2, 2)}), expected)
    with pytest.raises(ValueError, match="no safetensors") as damaged:
        decode_weights(b"\0" * 20, expected)
    with pytest.raises(ValueError, match="not finite") as infinite:
        decode_weights(encode_weights({"w": torch.full((2, 2), np.inf)}), expected)
    assert not isinstance(damaged.value, OtherNetwork)
    assert not isinstance(infinite.value, OtherNetwork)


@pytest.fixture
def newcomer(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_an_offline_run_says_why_it_is_one(newcomer, tmp_path):
    newcomer.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert resolve_mode().reason == "no wandb credentials (`wandb login` stores them)"
    unreadable(tmp_path / ".netrc")
    assert "; ~/.netrc cannot be read: " in resolve_mode().reason
    (tmp_path / ".netrc").rmdir()
    (tmp_path / ".netrc").write_text("machine 127.0.0.1:9 login user password secret\n")
    assert "does not answer (" in resolve_mode().reason
    assert "Connection refused" in resolve_mode().reason
    newcomer.setenv("WANDB_API_KEY", "k")
    newcomer.setenv("WANDB_BASE_URL", "nonsense")
    assert "nonsense does not answer (unknown url type" in resolve_mode().reason


def test_an_error_in_the_games_is_no_wrong_option(tmp_path, monkeypatch):
    class Broken:
        def run(self, roots, *, exploration_noise):
            raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(saved_run, "make_saved_planner", lambda *_: (Broken(), 1))
    run = tiny_run(tmp_path, tiny_config())
    with pytest.raises(RuntimeError, match="the games ended with an error: operands"):
        saved_run.play(run, "prior", 1, StopSignal())
