"""Which replay snapshot a service starts from. Reverb's own file format, with made-up content."""

import zlib

import pytest

from replay.snapshots import SnapshotFolder, is_intact

STREAMS = ("tables.tfrecord", "items.tfrecord", "chunks.tfrecord")


def write(parent, name, *, done=True, cut=""):
    folder = parent / name
    folder.mkdir(parents=True)
    for stream in STREAMS:
        packed = zlib.compress(f"{name} {stream}".encode() * 1000)
        (folder / stream).write_bytes(packed[:-5] if stream == cut else packed)
    if done:
        (folder / "DONE").touch()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    return SnapshotFolder(tmp_path, keep=2)


def test_new_service_has_nothing_to_restore(folder):
    assert folder.prepare() == ""
    assert names(folder.live) == []


def test_newest_snapshot_is_restored_and_left_alone_in_reverbs_folder(folder):
    write(folder.live, "2026-01-01")
    write(folder.live, "2026-01-02")
    assert folder.prepare() == "2026-01-02"
    assert names(folder.live) == ["2026-01-02"]


@pytest.mark.parametrize("stream", STREAMS)
def test_cut_snapshot_gives_way_to_the_kept_one_before(folder, tmp_path, stream):
    write(folder.live, "2026-01-01")
    folder.keep_newest()
    write(folder.live, "2026-01-02", cut=stream)
    assert folder.prepare() == "2026-01-01"
    assert names(folder.live) == ["2026-01-01"]
    assert is_intact(folder.live / "2026-01-01")


def test_unfinished_snapshot_is_not_restored(folder):
    write(folder.live, "2026-01-01", done=False)
    assert folder.prepare() == ""
    assert names(folder.live) == []


def test_only_complete_snapshots_are_kept_and_only_the_newest_of_them(folder, tmp_path):
    for day in (1, 2, 3):
        write(folder.live, f"2026-01-0{day}")
        folder.keep_newest()
    write(folder.live, "2026-01-04", done=False)
    folder.keep_newest()
    assert names(tmp_path / "kept") == ["2026-01-02", "2026-01-03"]


def test_kept_snapshot_survives_what_reverb_deletes(folder, tmp_path):
    snapshot = write(folder.live, "2026-01-01")
    folder.keep_newest()
    for path in snapshot.iterdir():
        path.unlink()
    snapshot.rmdir()
    assert folder.prepare() == "2026-01-01"
    assert (folder.live / "2026-01-01" / "DONE").exists()


def test_foreign_file_is_removed_before_reverb_could_take_it_for_the_newest(folder):
    write(folder.live, "2026-01-01")
    (folder.live / "zzz.txt").touch()
    assert folder.prepare() == "2026-01-01"
    assert names(folder.live) == ["2026-01-01"]
