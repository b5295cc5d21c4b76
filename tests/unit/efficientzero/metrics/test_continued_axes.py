"""What a process counts goes on where its last start left it, whatever ended that."""

import json
import os

import pytest

from efficientzero.metrics.continued_axes import ContinuedAxes


def logged(folder, *rows, role="actor", index=0):
    axes = ContinuedAxes(folder, role, index)
    first = axes.num_rows
    continued = [axes.continued(row) for row in rows]
    axes.save()
    return first, continued


def row(env_steps, wall_s, **others):
    return {"actor/env_steps": env_steps, "actor/wall_s": wall_s, **others}


def test_a_first_start_logs_what_it_counts(tmp_path):
    rows = (row(0, 0.5), row(64, 1.5, **{"actor/train_steps": 3}))
    assert logged(tmp_path, *rows) == (0, list(rows))


def test_every_later_start_adds_to_what_was_logged(tmp_path):
    logged(tmp_path, row(64, 1.5), row(128, 2.5, **{"actor/episodes": 3, "actor/sent_bytes": 9}))
    num_rows, rows = logged(tmp_path, row(8, 0.5), row(16, 1.0, **{"actor/episodes": 1}))
    assert num_rows == 2
    assert rows == [row(136, 3.0), row(144, 3.5, **{"actor/episodes": 4})]
    assert [type(r["actor/env_steps"]) for r in rows] == [int, int]
    num_rows, rows = logged(tmp_path, row(0, 0.25, **{"actor/sent_bytes": 1}))
    assert num_rows == 4
    assert rows == [row(144, 3.75, **{"actor/sent_bytes": 10})]


def test_metrics_that_are_the_runs_own_stay_as_they_are(tmp_path):
    values = {"learner/train_steps": 100, "learner/env_steps": 9, "learner/wall_s": 2.0}
    logged(tmp_path, values, role="learner")
    # It starts again from its checkpoint, and makes the train_steps since then once more.
    _, (again,) = logged(tmp_path, {**values, "learner/train_steps": 80}, role="learner")
    assert again == {**values, "learner/train_steps": 80, "learner/wall_s": 4.0}


@pytest.mark.parametrize(("restored", "wanted"), [(70, (100, 140)), (110, (110, 150))])
def test_replay_that_lost_steps_counts_them_as_inserted(tmp_path, restored, wanted):
    logged(tmp_path, {"replay/steps_inserted": 100}, role="replay")
    rows = [{"replay/steps_inserted": n} for n in (restored, restored + 40)]
    _, continued = logged(tmp_path, *rows, role="replay")
    assert tuple(r["replay/steps_inserted"] for r in continued) == wanted


def test_processes_count_apart(tmp_path):
    logged(tmp_path, row(64, 1.5), index=0)
    assert logged(tmp_path, row(1, 0.5), index=1) == (0, [row(1, 0.5)])
    assert logged(tmp_path, row(1, 0.5), index=0) == (1, [row(65, 2.0)])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"rows": "x"}', '{"rows": -1}', '{"rows": NaN}', "\0" * 40]
)
def test_a_damaged_file_is_said_and_counts_begin_anew(tmp_path, caplog, text):
    logged(tmp_path, row(64, 1.5))
    (path,) = tmp_path.iterdir()
    path.write_text(text)
    assert logged(tmp_path, row(1, 0.5)) == (0, [row(1, 0.5)])
    (record,) = caplog.records
    assert f"the axes of this process begin at 0: {path}" in record.getMessage()
    assert json.loads(path.read_text())["rows"] == 1


def test_a_full_disk_is_said_once_and_the_rows_go_on(tmp_path, caplog, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    axes = ContinuedAxes(tmp_path, "actor", 0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        for number in range(3):
            assert axes.continued(row(number, 0.5)) == row(number, 0.5)
            axes.save()
    assert len(caplog.records) == 1
    axes.save()
    assert logged(tmp_path, row(1, 0.5)) == (3, [row(3, 1.0)])
