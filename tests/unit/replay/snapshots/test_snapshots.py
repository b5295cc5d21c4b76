"""Which replay snapshot a service starts from. Reverb's own file format, with made-up content."""

import zlib

import pytest

from replay.snapshots.folder import SnapshotFolder, is_intact

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
    assert names(tmp_path / "kept") == ["000002-2026-01-02", "000003-2026-01-03"]
    assert names(folder.live) == ["2026-01-04"]


def test_clock_set_back_makes_no_snapshot_older(folder, tmp_path):
    for day in (3, 2, 1):
        write(folder.live, f"2026-01-0{day}")
        folder.keep_newest()
        # Alone there: Reverb deletes all but the last by name when it has written another one.
        assert names(folder.live) == []
    assert names(tmp_path / "kept") == ["000002-2026-01-02", "000003-2026-01-01"]
    assert folder.prepare() == "2026-01-01"


def test_restored_snapshot_is_out_of_reverbs_way_and_not_kept_twice(folder, tmp_path):
    write(folder.live, "2026-01-01")
    folder.prepare()
    folder.keep_newest()  # the service died before it had read it
    folder.prepare()
    folder.forget_restored()
    assert names(folder.live) == []
    assert names(tmp_path / "kept") == ["000001-2026-01-01"]


def test_snapshots_without_a_number_are_older(folder, tmp_path):
    for name in ("2026-01-09", "0-2026-01-10"):  # of an earlier version, of a run that was forked
        write(tmp_path / "kept", name)
    assert folder.prepare() == "2026-01-09"
    folder.forget_restored()
    write(folder.live, "2026-01-01")
    assert folder.prepare() == "2026-01-01"
    assert names(tmp_path / "kept") == ["000001-2026-01-01", "2026-01-09"]


def test_foreign_file_is_removed_before_reverb_could_take_it_for_the_newest(folder):
    write(folder.live, "2026-01-01")
    (folder.live / "zzz.txt").touch()
    assert folder.prepare() == "2026-01-01"
    assert names(folder.live) == ["2026-01-01"]


def test_snapshots_of_a_full_disk_never_take_the_place_of_whole_ones(folder, tmp_path):
    write(folder.live, "2026-01-01")
    folder.keep_newest()
    for day in range(2, 6):  # as Reverb leaves them: complete by name, empty, none before them
        damaged = write(folder.live, f"2026-01-{day:02d}")
        for stream in STREAMS:
            (damaged / stream).write_bytes(b"")
        folder.keep_newest()
    assert names(folder.live) == []
    assert folder.prepare() == "2026-01-01"
