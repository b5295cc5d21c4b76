"""Reading back what a real wandb wrote, whole and torn."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deploy.results.wandb_history import read_rows
from efficientzero.metrics import make_tracker
from efficientzero.process.runtime import StopSignal

pytestmark = pytest.mark.slow


def track(directory: Path, role: str, index: int, incarnation: int, num_rows: int) -> None:
    tracker = make_tracker(
        mode="offline",
        entity="someone",
        project="Some",
        group="Catch-v0",
        seed=3,
        run_uid="0123abcd",
        role=role,
        index=index,
        config={},
        directory=directory,
        stop=StopSignal(),
        incarnation=incarnation,
    )
    for step in range(num_rows):
        tracker.log({f"{role}/step": step, f"{role}/half": step / 2, f"{role}/nan": math.nan})
    tracker.close()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    track(directory, "learner", 0, 0, 250)
    track(directory, "actor", 1, 1, 3)  # the successor is written first
    track(directory, "actor", 1, 0, 2)
    return directory


def test_rows_come_by_role_index_and_incarnation(run_dir: Path) -> None:
    rows = read_rows(run_dir)
    assert [(row.job_type, row.index) for row in rows] == [("actor", 1)] * 5 + [
        ("learner", 0)
    ] * 250
    assert [row.values["actor/step"] for row in rows[:5]] == [0, 1, 0, 1, 2]
    assert [row.values["learner/half"] for row in rows[5:]] == [step / 2 for step in range(250)]
    assert all(math.isnan(row.values["learner/nan"]) for row in rows[5:])
    times = [row.values["_timestamp"] for row in rows[5:]]
    assert times == sorted(times)


def test_a_torn_file_is_read_up_to_the_cut(run_dir: Path, tmp_path: Path) -> None:
    (path,) = run_dir.glob("wandb/*-learner-0/*.wandb")
    data = path.read_bytes()
    assert len(data) > 2 * 32_768
    lengths = []
    for cut in (0, 3, 7, len(data) // 3, len(data) // 2, len(data) - 5):
        torn = tmp_path / str(cut) / "wandb" / path.parent.name / path.name
        torn.parent.mkdir(parents=True)
        torn.write_bytes(data[:cut])
        steps = [row.values["learner/step"] for row in read_rows(tmp_path / str(cut))]
        assert steps == list(range(len(steps)))
        lengths.append(len(steps))
    assert lengths[:3] == [0, 0, 0]
    assert 0 < lengths[3] < lengths[4] < lengths[5] <= 250


def test_a_run_without_tracking_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []


def test_another_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "wandb" / "offline-run-1-x"
    folder.mkdir(parents=True)
    (folder / "run-x.wandb").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"not a \.wandb file"):
        read_rows(tmp_path)
