"""A disk that is full before the first checkpoint: workers and replay wait for room."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.launching.prepare import prepare, prepare_resume
from efficientzero.config.fields import ReplayConfig
from efficientzero.process import disk_space
from efficientzero.process.disk_space import RESERVE_FILE, SMALL_FILES, DiskPause, Reserve
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc import place_proofs
from efficientzero.rpc.place_proofs import SECRET_FILE, PlaceProofs
from efficientzero.runs.results.run_summary import save_summary
from efficientzero.worker import worker
from efficientzero.worker.role_arguments import WorkerLine
from replay.service import server
from tests.support.fakes import tiny_config

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Reached(Exception):
    """The part behind the full disk."""


@pytest.fixture
def quick(monkeypatch):
    """Looks for room at once: the interval is a default of the signature."""
    defaults = {**DiskPause.__init__.__kwdefaults__, "look_s": 0.01}
    monkeypatch.setattr(DiskPause.__init__, "__kwdefaults__", defaults)


def full_twice(answer):
    """Return a function that meets a full disk two times and then returns ``answer``'s result."""
    calls = []

    def called(*args, **kwargs):
        calls.append(None)
        if len(calls) < 3:
            raise FULL
        return answer(*args, **kwargs)

    return called


def test_a_full_disk_leaves_no_part_of_the_secret(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:

        def fsync(handle):
            raise FULL

        patch.setattr(place_proofs.os, "fsync", fsync)
        with pytest.raises(OSError, match="No space") as refused:
            PlaceProofs(tmp_path, "run")
    assert refused.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []
    PlaceProofs(tmp_path, "run")


def test_a_secret_that_another_process_read_is_never_taken_back(tmp_path, monkeypatch):
    seen = []

    def fsync(handle):
        seen.append((tmp_path / SECRET_FILE).exists())
        raise FULL

    monkeypatch.setattr(place_proofs.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        PlaceProofs(tmp_path, "run")
    assert seen == [False]


@pytest.mark.parametrize("links", [True, False], ids=["hard-links", "no-hard-links"])
def test_processes_that_wait_for_each_others_secret_outlive_a_full_disk(
    tmp_path, monkeypatch, links
):
    if not links:

        def link(source, target):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(place_proofs.os, "link", link)
    real = os.fsync
    fails = iter([True] * 4)

    def fsync(handle):
        if next(fails, False):
            raise FULL
        real(handle)

    monkeypatch.setattr(place_proofs.os, "fsync", fsync)

    def proof(number):
        while True:
            try:
                return PlaceProofs(tmp_path, "run").proof("actor", 0, 0, 1)
            except OSError as error:
                assert error.errno == errno.ENOSPC

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(proof, range(16)))) == 1


def test_a_worker_waits_for_room(tmp_path, monkeypatch, quick):
    run = SimpleNamespace(
        directory=tmp_path, replay_address="127.0.0.1:1", learner_address="127.0.0.1:1"
    )
    monkeypatch.setattr(worker, "read_run", lambda module, path: run)
    monkeypatch.setattr(worker, "seat_in", full_twice(lambda *place: place))
    line = WorkerLine(join="", config=tmp_path / "config.json", index=3, incarnation=1)
    assert worker._launched(line, "actor", "actor", StopSignal()) == (run, (run, "actor", 3, 1))


def test_replay_waits_for_room_before_it_serves(tmp_path, monkeypatch, quick):
    def build_tables(*args, **kwargs):
        raise Reached

    monkeypatch.setattr(server, "SnapshotFolder", full_twice(server.SnapshotFolder))
    monkeypatch.setattr(server, "build_tables", build_tables)
    with pytest.raises(Reached):
        server.serve(ReplayConfig(), "127.0.0.1:1", StopSignal(), folder=tmp_path / "replay-0")


def test_the_summary_takes_away_the_reserve_of_a_learner_that_was_killed(tmp_path):
    Reserve(tmp_path).keep(1_000)
    assert save_summary(SimpleNamespace(directory=tmp_path), {}).exists()
    assert not (tmp_path / RESERVE_FILE).exists()


def test_a_run_keeps_room_for_its_summary_each_time_it_starts(tmp_path):
    prepared = prepare(
        tiny_config(), run_id="x", runs_dir=tmp_path, checkout=Path.cwd(), now=datetime.now()
    )
    prepared.lock.close()
    reserve = tmp_path / "x" / RESERVE_FILE
    assert reserve.stat().st_blocks * 512 >= SMALL_FILES
    reserve.unlink()
    prepare_resume(prepared.run, prepared.run.config)
    assert reserve.stat().st_blocks * 512 >= SMALL_FILES


def test_a_reserve_that_cannot_grow_stays_as_it_was(tmp_path, monkeypatch):
    reserve = Reserve(tmp_path)
    reserve.keep(1_000)

    def no_room(handle, offset, length):
        os.ftruncate(handle, length)  # a part that some file systems leave
        raise FULL

    monkeypatch.setattr(disk_space.os, "posix_fallocate", no_room)
    reserve.keep(5_000)
    assert (tmp_path / RESERVE_FILE).stat().st_size == 1_000
    assert reserve.release()
    reserve.keep(5_000)
    assert os.listdir(tmp_path) == []
