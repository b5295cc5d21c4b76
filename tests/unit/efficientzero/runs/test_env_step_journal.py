"""The count of env_steps that outlives a learner."""

import pytest

from efficientzero.runs.results.env_step_journal import EnvStepJournal, newest_count


def test_count_outlives_the_process_that_wrote_it(tmp_path):
    first = EnvStepJournal(tmp_path, 0)
    assert first.read() == 0
    first.write(123_456_789_012)
    first.write(7)
    assert EnvStepJournal(tmp_path, 0).read() == 7


def test_run_resumed_as_a_whole_starts_a_new_count(tmp_path):
    EnvStepJournal(tmp_path, 0).write(500)
    assert EnvStepJournal(tmp_path, 1).read() == 0


def test_file_cut_short_counts_nothing(tmp_path):
    (tmp_path / "env_steps-0").write_bytes(b"123")
    assert EnvStepJournal(tmp_path, 0).read() == 0
    with pytest.raises(FileNotFoundError):
        EnvStepJournal(tmp_path / "none", 0)


def test_newest_count_is_the_newest_launchs(tmp_path):
    assert newest_count(tmp_path) == 0
    EnvStepJournal(tmp_path, 9).write(500)
    assert newest_count(tmp_path) == 500
    EnvStepJournal(tmp_path, 10).write(400)
    (tmp_path / "env_steps-old").write_bytes(b"")
    assert newest_count(tmp_path) == 400
    EnvStepJournal(tmp_path, 11)
    assert newest_count(tmp_path) == 0
