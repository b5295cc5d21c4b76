"""Files of lines after a crash or a full disk: logs of roles, evaluations and episodes."""

import errno
import json

import pytest

from deploy.supervising.child import _LogFile
from efficientzero.runs.run_folder import _note_bad_line, append_lines, read_lines
from learner.records.run_record import EpisodeResult, RunRecord


@pytest.fixture(autouse=True)
def notes_are_new():
    _note_bad_line.cache_clear()


class NearlyFull:
    """An open file on a disk with room for some bytes."""

    def __init__(self, file, room):
        self._file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        return self._file.write(taken)

    def close(self):
        self._file.close()


def test_a_log_is_opened_again_after_a_full_disk_and_says_what_it_lacks(tmp_path, caplog):
    caplog.set_level("INFO")
    now = [0.0]
    log = _LogFile(tmp_path / "actor-0.log", clock=lambda: now[0])
    log.write(b"first\n")
    log._file = NearlyFull(log._file, room=4)
    log.write(b"second\n")  # written in part
    log.write(b"third\n")
    now[0] = 5.0
    log.write(b"fourth\n")
    log.write(b"fifth\n")
    log.close()
    assert (tmp_path / "actor-0.log").read_text().splitlines() == [
        "first",
        "seco",
        "[launcher: 2 lines are missing: [Errno 28] No space left on device]",
        "fourth",
        "fifth",
    ]
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert "actor-0.log cannot be written: [Errno 28] No space left on device" in texts[0]
    assert "actor-0.log is written again; it lacks 2 lines" in texts[1]


def test_a_log_whose_folder_comes_later_is_written_from_then_on(tmp_path):
    now = [0.0]
    log = _LogFile(tmp_path / "logs" / "actor-0.log", clock=lambda: now[0])
    log.write(b"first\n")
    (tmp_path / "logs").mkdir()
    log.write(b"second\n")  # too soon to try again
    now[0] = 2.0
    log.write(b"third\n")
    log.close()
    first, second = (tmp_path / "logs" / "actor-0.log").read_text().splitlines()
    assert first.startswith("[launcher: 2 lines are missing: [Errno 2] No such file")
    assert second == "third"


WHOLE = '{"weights_version": 20, "is_final": false}'


@pytest.mark.parametrize(
    "tail", [WHOLE[:20].encode(), b"\0" * 30, b"\xff\xfe\x85", b"3", b"[1, 2]", b'"', b"null"]
)
def test_a_line_that_is_no_record_is_left_out_with_one_note(tmp_path, caplog, tail):
    path = tmp_path / "evaluations.jsonl"
    path.write_bytes(WHOLE.encode() + b"\n" + tail)
    for _ in range(3):
        assert read_lines(path) == [json.loads(WHOLE)]
    (record,) = caplog.records
    assert record.getMessage() == f"{path}: line 2 is cut short or damaged and left out"


def test_a_line_that_is_being_written_is_nothing_to_note(tmp_path, caplog):
    path = tmp_path / "evaluations.jsonl"
    path.write_text(f"{WHOLE}\n{WHOLE[:20]}")
    assert len(read_lines(path, is_written=True)) == 1
    assert not caplog.records
    path.write_text(f"{WHOLE[:20]}\n{WHOLE}\n{WHOLE[:20]}")  # the first is not written any more
    assert len(read_lines(path, is_written=True)) == 1
    assert len(caplog.records) == 1


def test_lines_after_a_torn_one_begin_on_a_new_line(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text('{"return": 1}\n{"ret')
    append_lines(path, ['{"return": 2}', '{"return": 3}'])
    append_lines(path, ['{"return": 4}'])
    assert path.read_text().splitlines()[1] == '{"ret'
    assert [line["return"] for line in read_lines(path)] == [1, 2, 3, 4]


def test_an_append_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "episodes.jsonl"
    append_lines(path, ["first"])
    real_open = type(path).open

    class Full:
        def __init__(self, file):
            self._file, self._full = file, NearlyFull(file, room=4)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._full if name == "write" else self._file, name)

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "open", lambda *a, **k: Full(real_open(*a, **k)))
        with pytest.raises(OSError, match="No space left"):
            append_lines(path, ["second"])
    assert path.read_text() == "first\n"


def test_a_record_resumes_from_files_with_torn_lines(tmp_path, caplog):
    record = RunRecord(tmp_path)
    record.add_episodes(0, [EpisodeResult(1.0, 9)], env_steps=9)
    record.add_evaluation(
        weights_version=10,
        is_final=False,
        episodes=[EpisodeResult(3.0, 9)],
        seconds=0.1,
        env_steps=9,
        train_steps=10,
    )
    for name in ("episodes.jsonl", "evaluations.jsonl"):
        with (tmp_path / name).open("ab") as file:
            file.write(b'{"weights_version": 1\xff')
    resumed = RunRecord(tmp_path)
    resumed.restore(record.state(), env_steps=100, train_steps=100)
    assert len(caplog.records) == 2
    resumed.add_episodes(0, [EpisodeResult(2.0, 9)], env_steps=18)
    assert [line["return"] for line in read_lines(tmp_path / "episodes.jsonl")] == [1.0, 2.0]
    assert resumed.snapshot().last_eval_return_mean == 3.0
