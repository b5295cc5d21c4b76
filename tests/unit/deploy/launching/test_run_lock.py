"""Who starts first keeps the folder, and a copy of a run is another run."""

import fcntl
import os
import shutil
import threading
from datetime import datetime
from pathlib import Path

import pytest

from deploy.checks.preflight import PreflightError
from deploy.launching.prepare import prepare, prepare_resume
from deploy.launching.run_lock import new_run_folder, run_lock
from deploy.launching.tokens import make_local_credentials
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE, read_token
from efficientzero.rpc.place_proofs import SECRET_FILE, PlaceProofs
from efficientzero.runs.run_folder import RunInfo
from tests.support.fakes import tiny_config

NOW = datetime(2024, 5, 6, 7, 8, 9)


def started(folder: Path, **options) -> RunInfo:
    prepared = prepare(
        tiny_config(),
        run_id=folder.name,
        runs_dir=folder.parent,
        checkout=Path.cwd(),
        now=NOW,
        **options,
    )
    prepared.lock.close()
    return prepared.run


def claim(folder: Path):
    return new_run_folder(folder.parent, folder.name, is_given=True)


def test_empty_folder_may_be_taken_and_is_not_removed(tmp_path):
    (tmp_path / "x").mkdir()
    folder = claim(tmp_path / "x")
    assert folder.path == (tmp_path / "x").resolve()
    folder.give_up("config.json")
    assert list((tmp_path / "x").iterdir()) == []


def test_made_up_name_that_is_taken_gets_a_number(tmp_path):
    for expected in ("x", "x-2", "x-3"):
        folder = new_run_folder(tmp_path, "x", is_given=False)
        (folder.path / "file").touch()
        assert folder.path.name == expected


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
def test_of_many_that_start_at_once_one_has_the_folder(tmp_path, monkeypatch, has_locks, is_there):
    if not has_locks:
        monkeypatch.setattr(fcntl, "flock", without_locks)
    for attempt in range(20):
        path = tmp_path / str(attempt)
        if is_there:
            path.mkdir()
        winners, losers = start_at_once(path, 6)
        assert (len(winners), len(losers)) == (1, 5)
        assert all("exists already" in str(error) for error in losers)
        assert path.is_dir()
        winners[0].lock.close()


def without_locks(descriptor, operation):
    raise OSError(95, "Operation not supported")


def start_at_once(path: Path, count: int):
    barrier, winners, losers = threading.Barrier(count), [], []

    def start():
        barrier.wait()
        try:
            winners.append(claim(path))
        except PreflightError as error:
            losers.append(error)

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners, losers


def test_who_comes_second_leaves_the_first_ones_folder_alone(tmp_path):
    first = claim(tmp_path / "x")
    for stage in ("locked", "config.json"):
        (first.path / stage).touch()
        before = sorted(os.listdir(first.path))
        with pytest.raises(PreflightError, match=r"--run-id: .*x exists already"):
            started(tmp_path / "x")
        assert sorted(os.listdir(first.path)) == before


def test_a_run_that_cannot_be_written_removes_what_it_made_and_nothing_else(tmp_path, monkeypatch):
    def refused(run):
        (run.directory / "notes of mine.txt").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunInfo, "save", refused)
    with pytest.raises(PreflightError, match="the disk is full"):
        started(tmp_path / "x")
    assert os.listdir(tmp_path / "x") == ["notes of mine.txt"]
    shutil.rmtree(tmp_path / "x")
    monkeypatch.setattr(RunInfo, "save", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        started(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_new_run_is_locked_until_its_launcher_lets_go(tmp_path):
    prepared = prepare(tiny_config(), run_id="x", runs_dir=tmp_path, checkout=Path.cwd(), now=NOW)
    with pytest.raises(PreflightError, match="is running already"), run_lock(tmp_path / "x"):
        pass
    prepared.lock.close()
    with run_lock(tmp_path / "x"):
        pass


def test_a_copied_run_goes_on_as_another_run_and_says_so(tmp_path):
    original = started(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = RunInfo.load(tmp_path / "b" / "config.json")
    prepared = prepare_resume(copy, copy.config)
    assert prepared.run.run_uid != original.run_uid
    assert f"was {tmp_path / 'a'} when it last ran" in dict(prepared.notes)["identity"]
    assert prepared.run.run_uid in dict(prepared.notes)["identity"]
    # From now on it is where its config says.
    again = prepare_resume(RunInfo.load(copy.config_path), copy.config)
    assert again.run.run_uid == prepared.run.run_uid
    assert "identity" not in dict(again.notes)
    assert RunInfo.load(original.config_path).run_uid == original.run_uid


def secrets_of(run: RunInfo) -> tuple[str, bytes]:
    PlaceProofs(run.directory, run.run_uid)
    token = read_token(make_local_credentials(run.directory))
    return token, (run.directory / SECRET_FILE).read_bytes()


def resumed(folder: Path) -> RunInfo:
    run = RunInfo.load(folder / "config.json")
    return prepare_resume(run, run.config).run


def test_a_copied_run_shares_no_secret_with_the_original(tmp_path):
    original = secrets_of(started(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = secrets_of(resumed(tmp_path / "b"))
    assert not set(copy) & set(original)
    assert secrets_of(resumed(tmp_path / "b")) == copy  # in its place it keeps them
    assert secrets_of(resumed(tmp_path / "a")) == original


def test_a_copied_run_uses_the_tokens_that_are_named_for_it(tmp_path, monkeypatch):
    original = secrets_of(started(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(tmp_path / "b" / "credentials"))
    assert secrets_of(resumed(tmp_path / "b"))[0] == original[0]


def test_a_run_in_its_place_keeps_its_identity_by_whatever_path_it_is_named(tmp_path):
    original = started(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    named = RunInfo.load(tmp_path / "link" / "config.json")
    assert prepare_resume(named, named.config).run.run_uid == original.run_uid
