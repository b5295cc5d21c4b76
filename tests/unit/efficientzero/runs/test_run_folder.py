"""A run is in the folder it is given: moved, copied, on file systems without locks or links."""

import dataclasses
import errno
import fcntl
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from actor.tools.evaluate import main as evaluate
from actor.tools.saved_run import load_network
from actor.tools.show_search import Options, show_search
from deploy.checks.fork import find_fork
from deploy.checks.preflight import PreflightError
from deploy.launching.plan import find_run
from deploy.launching.prepare import prepare_resume
from deploy.launching.run_lock import run_lock
from deploy.launching.serve import existing_run
from efficientzero.config.files import ConfigError
from efficientzero.networks import make_network
from efficientzero.process.devices import NoSuchDevice, setup_torch, with_usable_device
from efficientzero.runs.checkpoint import list_checkpoints, save_checkpoint
from efficientzero.runs.run_folder import RunInfo
from learner.training.ranks import RankGroup, meeting_point
from replay.snapshots.folder import SnapshotFolder
from tests.support.cases.loss_cases import changed
from tests.support.fakes import tiny_config, tiny_run
from tests.support.snapshots_by_hand import write_snapshot

ODD = "it's $HOME; a #1 b"


def save_network(run: RunInfo, train_step: int) -> None:
    network = make_network(run.config, run.env_spec, training=False)
    state = {"train_step": train_step, "network": network.state_dict()}
    save_checkpoint(run.directory / "checkpoints", train_step, state, keep=9)


@pytest.fixture
def original(tmp_path) -> RunInfo:
    """Return a run with checkpoints 10 and 20, in a folder of its own."""
    run = tiny_run(tmp_path / "original", tiny_config())
    run.directory.mkdir()
    run.save()
    for train_step in (10, 20):
        save_network(run, train_step)
    return run


@pytest.fixture
def copy(original, tmp_path):
    """Return a copy of its folder, without checkpoint 20."""
    folder = tmp_path / ODD
    shutil.copytree(original.directory, folder)
    (folder / "checkpoints" / "checkpoint_00000020.pt").unlink()
    return folder


@pytest.fixture(autouse=True)
def no_signal_handlers(monkeypatch):
    """Leave the handlers of the test's process as they are."""
    monkeypatch.setattr("actor.tools.evaluate.install_stop_handlers", lambda stop: None)


def test_a_run_is_where_its_file_is_read(original, copy, monkeypatch):
    assert RunInfo.load(copy / "config.json").directory == copy
    assert RunInfo.load(original.directory / "config.json").directory == original.directory
    monkeypatch.chdir(copy.parent)
    assert RunInfo.load(f"{ODD}/config.json").directory == copy


def test_a_run_of_a_version_that_could_have_several_replay_services_is_read(original):
    older = json.loads(original.config_path.read_text())
    older["config"]["replay"]["num_shards"] = 1
    older["more_replay_addresses"] = []
    original.config_path.write_text(json.dumps(older))
    assert RunInfo.load(original.config_path) == original
    older["config"]["replay"]["num_shards"] = 2
    older["more_replay_addresses"] = ["127.0.0.1:7402"]
    original.config_path.write_text(json.dumps(older))
    with pytest.raises(ValueError, match=r"num_shards: got 2, wanted 1 .* services were removed"):
        RunInfo.load(original.config_path)


def test_a_copy_is_evaluated_by_its_own_weights_and_keeps_the_result(original, copy, capsys):
    assert evaluate([str(copy), "--episodes", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{ODD}: policy search, train_step 10: ")
    assert (copy / "evaluation-search.json").exists()
    assert not list(original.directory.glob("evaluation-*"))


def test_a_moved_run_is_evaluated_and_shown(original, tmp_path, capsys):
    moved = original.directory.rename(tmp_path / "elsewhere")
    assert evaluate([str(moved), "--episodes", "1"]) == 0
    show_search(Options(run=moved, env_step=1, out=tmp_path / "x.png"))
    assert "weights of train_step 20" in capsys.readouterr().out
    assert not original.directory.exists()


def test_every_command_that_takes_a_run_takes_the_folder_it_is_given(original, copy, tmp_path):
    shutil.rmtree(original.directory)
    assert find_run(["--resume", str(copy)]).directory == copy
    write_snapshot(copy / "replay-0" / "kept" / "000001-2026")
    for is_frozen in (False, True):
        fork = find_fork(copy, is_frozen=is_frozen, takes_weights=False)
        assert fork.parent.directory == copy and fork.snapshot.is_relative_to(copy)
    named = copy.rename(tmp_path / "served")
    served = existing_run(tmp_path, "served", original.config)
    assert served is not None and served.directory == named


def test_resume_writes_into_the_folder_it_is_given(original, copy):
    before = original.config_path.read_bytes()
    run = RunInfo.load(copy / "config.json")
    prepared = prepare_resume(run, run.config)
    assert prepared.run.directory == copy
    assert RunInfo.load(copy / "config.json").num_resumes == 1
    assert original.config_path.read_bytes() == before
    assert "checkpoint_00000010.pt" in dict(prepared.notes)["resume"]


def test_a_result_that_cannot_be_kept_is_printed(copy, capsys):
    # Root writes everywhere, but nobody replaces a folder that is not empty by a file.
    (copy / "evaluation-search.json" / "in the way").mkdir(parents=True)
    assert evaluate([str(copy), "--episodes", "1", "--json"]) == 0
    told = capsys.readouterr()
    assert '"train_step": 10' in told.out
    (line,) = told.err.splitlines()
    path = copy / "evaluation-search.json"
    assert line.startswith(f"launch.py evaluate: note: {path} is not written (")


@pytest.mark.parametrize("name", ["x.xyz", "decision", "x.json"])
def test_a_picture_of_no_known_kind_is_refused_before_the_search(copy, tmp_path, capsys, name):
    with pytest.raises(ValueError, match=rf"--out: got .*{name}, wanted a picture's name.*\.png"):
        show_search(Options(run=copy, env_step=1, out=tmp_path / name))
    assert capsys.readouterr().out == ""


def test_a_decision_is_printed_before_the_picture_is_written(copy, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--out: cannot write .*/file/x.png \(Not a directory\)"):
        show_search(Options(run=copy, env_step=1, out=tmp_path / "file" / "x.png"))
    assert capsys.readouterr().out.startswith("env_step 1, weights of train_step 10: action ")


def test_a_run_of_another_device_is_played_on_the_one_that_is_here(copy, capsys, caplog):
    run = RunInfo.load(copy / "config.json")
    dataclasses.replace(run, config=changed(run.config, cluster={"device": "cuda:63"})).save()
    assert evaluate([str(copy), "--episodes", "1"]) == 0
    assert "the run's device cuda:63 is not in this machine" in caplog.text
    assert "train_step 10" in capsys.readouterr().out


def test_a_device_that_is_here_is_kept():
    for device in ("cpu", "auto"):
        cluster = changed(tiny_config(), cluster={"device": device}).cluster
        assert with_usable_device(cluster, "evaluator") is cluster
    foreign = changed(tiny_config(), cluster={"device": "cuda:63"}).cluster
    with pytest.raises(NoSuchDevice, match="cuda:63"):
        setup_torch(
            foreign, "evaluator", 0
        )  # a run that is started is never moved to another device


def test_a_folder_that_cannot_be_read_is_not_one_without_checkpoints(tmp_path, monkeypatch):
    assert list_checkpoints(tmp_path / "missing") == []

    listdir = os.listdir

    def refused(path="."):
        if Path(path).name == "checkpoints":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    run = tiny_run(tmp_path, tiny_config())
    run.save()
    with pytest.raises(ValueError, match=r"checkpoints: cannot be read \(Permission denied\)"):
        load_network(run, setup_torch(run.config.cluster, "evaluator", 0))
    with pytest.raises(PreflightError, match="checkpoints: Permission denied"):
        prepare_resume(run, run.config)


def test_a_second_launcher_is_refused(tmp_path):
    with run_lock(tmp_path) as note:
        assert note == ""
        with pytest.raises(PreflightError, match="is running already"), run_lock(tmp_path):
            pass
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_works_with_a_note(tmp_path, monkeypatch, code):
    def without(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", without)
    with run_lock(tmp_path) as first, run_lock(tmp_path) as second:
        assert first == second != ""
    run = tiny_run(tmp_path, tiny_config())
    assert not meeting_point(run).is_relative_to(tmp_path)  # torch locks the file, too
    monkeypatch.undo()
    assert meeting_point(run).parent == tmp_path


def test_ranks_meet_in_the_run_folder_whatever_its_name(copy, monkeypatch):
    for library in ("GLOO", "NCCL"):
        monkeypatch.setenv(f"{library}_SOCKET_IFNAME", "lo")
    file = meeting_point(RunInfo.load(copy / "config.json"))
    assert file == copy / "ranks-0"
    group = RankGroup(file, rank=0, num_ranks=1, device=torch.device("cpu"))
    try:
        assert file.exists()  # a URL would end at the "#" in the folder's name
    finally:
        group.close()


def test_other_errors_of_a_lock_are_not_taken_for_a_running_run(tmp_path, monkeypatch):
    def broken(descriptor, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with (
        pytest.raises(PreflightError, match=r"cannot be locked \(Input/output error\)"),
        run_lock(tmp_path),
    ):
        pass
    with (
        pytest.raises(PreflightError, match="gone: cannot be written to"),
        run_lock(tmp_path / "gone"),
    ):
        pass


def test_a_file_system_without_links_keeps_snapshots_by_copies(tmp_path, monkeypatch):
    def without(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", without)
    folder = SnapshotFolder(tmp_path, keep=2)
    write_snapshot(folder.live / "2026")
    folder.keep_newest()
    (kept,) = (tmp_path / "kept").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == [
        "DONE",
        "chunks.tfrecord",
        "items.tfrecord",
        "tables.tfrecord",
    ]
    assert folder.prepare() == "2026"


def test_a_file_system_without_modes_takes_a_run(tmp_path, monkeypatch):
    def without(path, mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", without)
    run = tiny_run(tmp_path, tiny_config())
    run.save()
    assert RunInfo.load(run.config_path) == run


@pytest.mark.parametrize("part", ["folder", "snapshots"])
def test_a_fork_names_what_it_may_not_read(copy, monkeypatch, part):
    write_snapshot(copy / "replay-0" / "kept" / "000001-2026")
    refused = copy / "tables.tfrecord" if part == "folder" else copy / "replay-0" / "kept"
    name = "stat" if part == "folder" else "iterdir"
    real = getattr(Path, name)

    def guarded(path, *arguments, **options):
        if path == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, name, guarded)
    with pytest.raises(ConfigError, match=re.escape(f"{refused} cannot be read (Permission")):
        find_fork(copy, is_frozen=True, takes_weights=False)
