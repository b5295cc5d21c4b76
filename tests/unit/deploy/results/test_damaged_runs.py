"""What the report makes of run folders with damaged files: nothing of it is silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from deploy.report.comparison import cautions, file_problems
from deploy.report.run_files import ReportError
from deploy.report.runs import Run, read_run
from deploy.results.wandb_history import read_rows
from deploy.results.wandb_history import read_run as read_file
from tests.support.cases.wandb_cases import BLOCK_BYTES, HEADER_BYTES, wandb_log


def record(kind: str, values: dict[str, object], **fields: str) -> bytes:
    """Return one record in wandb's protobuf; ``fields``: of the run."""
    made = wandb_internal_pb2.Record()
    part = getattr(made, kind)
    for name, value in fields.items():
        setattr(part, name, value)
    for key, value in values.items():
        item = part.config.update.add() if kind == "run" else part.item.add()
        item.key, item.value_json = key, json.dumps(value)
    return made.SerializeToString()


def row(number: int, *, is_final: bool) -> bytes:
    values = {"eval/return_mean": 1.0, "eval/return_episode0": 1.0, "_timestamp": 60.0 * number}
    progress = {"env_steps": 100 * number, "train_steps": 50 * number, "is_final": int(is_final)}
    return record("history", {**values, **{f"eval/{k}": v for k, v in progress.items()}})


CONFIG = {"env": {"id": "Catch-v0"}, "preset": "catch", "seed": 3, "pad": "x" * 40_000}
"""The padding lets the file take two blocks."""

START = record("run", CONFIG, job_type="evaluator", run_group="Catch-v0")
DATA, STARTS = wandb_log([START, *(row(n, is_final=n == 5) for n in range(1, 6))])
END = len(DATA)
SUMMARY = {
    **{"exit_code": 0, "eval_is_final": True, "eval_returns": [2.0, 4.0], "wall_s": 600.0},
    **{"env_steps": 500, "train_steps": 250},
}


def run_folder(parent: Path, data: bytes = DATA, summary: str = json.dumps(SUMMARY)) -> Path:
    folder = parent / "wandb" / "offline-run-1"
    folder.mkdir(parents=True)
    (folder / "run-1.wandb").write_bytes(data)
    (parent / "config.json").touch()
    (parent / "summary.json").write_text(summary)
    return parent


def changed(start: int, new: bytes) -> bytes:
    return DATA[:start] + new + DATA[start + len(new) :]


def test_a_whole_run_has_nothing_to_note(tmp_path):
    run = read_run(run_folder(tmp_path))
    assert [each.is_final for each in run.evaluations] == [False] * 4 + [True]
    assert run.problems == ()


@pytest.mark.parametrize("text", ['{"exit_code": 1, "exit_re', "[1]", "", "null", "\x00\x00"])
def test_a_damaged_summary_is_not_taken_for_none(tmp_path, text):
    folder = run_folder(tmp_path / "failed", summary=text)
    with pytest.raises(ReportError, match=r"failed/summary\.json: not readable: "):
        read_run(folder)


def test_a_summary_that_may_not_be_read_is_not_taken_for_none(tmp_path):
    folder = run_folder(tmp_path)
    (folder / "summary.json").unlink()
    assert read_run(folder).fairness == {}
    (folder / "summary.json").mkdir()  # root may read every file, but no folder as one
    with pytest.raises(ReportError, match=r"summary\.json: cannot be read \(Is a directory\)"):
        read_run(folder)


@pytest.mark.parametrize(
    ("data", "byte"),
    [
        (changed(STARTS[3] + HEADER_BYTES + 2, b"\xff"), STARTS[3]),  # in a row
        (changed(STARTS[3], b"\xff"), STARTS[3]),  # its checksum
        (changed(STARTS[3] + 4, b"\xff\xff"), STARTS[3]),  # its length, more than a block has
        (changed(STARTS[3] + 4, b"\xff\x02"), STARTS[3]),  # its length, more than the file has
        (changed(STARTS[3] + 6, b"\x07"), STARTS[3]),  # its type
        (changed(STARTS[3], bytes(END - STARTS[3])), STARTS[3]),  # all zeros from there
        (changed(END - 1, b"\xff"), STARTS[5]),  # the last byte
    ],
)
def test_damage_is_not_taken_for_a_file_that_is_cut_short(tmp_path, data, byte):
    path = run_folder(tmp_path, data) / "wandb" / "offline-run-1" / "run-1.wandb"
    file = read_file(path)
    assert file.damage == f"{path}: damaged at byte {byte}, read up to there"
    assert len(file.rows) == STARTS.index(byte) - 1


@pytest.mark.parametrize(
    "size",
    [0, 3, 7, 9, 20_000, BLOCK_BYTES, BLOCK_BYTES + 3, STARTS[3], STARTS[3] + 5, END - 1, END],
)
def test_a_file_cut_short_at_its_end_is_not_damaged(tmp_path, size):
    path = run_folder(tmp_path, DATA[:size]) / "wandb" / "offline-run-1" / "run-1.wandb"
    assert read_file(path).damage == ""


def noted(run: Run) -> list[str]:
    lines = [f"{line}." for line in file_problems([run])]
    assert cautions([run])[-len(lines) :] == lines  # on the page too
    return [line.removeprefix(f"{run.name}: ") for line in lines]


def test_the_final_evaluation_of_a_damaged_file_is_the_summarys(tmp_path):
    folder = run_folder(tmp_path, changed(STARTS[4], b"\xff"))
    run = read_run(folder)
    file = folder / "wandb" / "offline-run-1" / "run-1.wandb"
    assert noted(run) == [
        f"{file}: damaged at byte {STARTS[4]}, read up to there.",
        "the final evaluation is missing from its wandb files, taken from summary.json.",
    ]
    assert [each.env_steps for each in run.evaluations] == [100, 200, 300, 500]
    assert (run.last.is_final, run.last.returns, run.last.minutes) == (True, (2.0, 4.0), 10.0)
    assert not any("Not finished" in line for line in cautions([run]))


def test_a_finished_run_without_its_final_evaluation_is_not_called_unfinished(tmp_path):
    summary = json.dumps({"exit_code": 0, "eval_is_final": True})
    run = read_run(run_folder(tmp_path / "finished", DATA[: STARTS[4]], summary))
    missing = "the final evaluation is missing from its wandb files, nor is it in summary.json."
    assert noted(run) == [missing]
    assert not any("Not finished" in line for line in cautions([run]))
    stopped = json.dumps({"exit_code": 130, "eval_is_final": False})
    run = read_run(run_folder(tmp_path / "stopped", DATA[: STARTS[4]], stopped))
    assert run.problems == ()
    assert any("Not finished" in line for line in cautions([run]))


@pytest.mark.parametrize("place", [STARTS[0], STARTS[1]])
def test_without_any_evaluation_the_damage_is_named(tmp_path, place):
    folder = run_folder(tmp_path, changed(place, b"\xff"))
    with pytest.raises(ReportError, match=rf"run-1\.wandb: damaged at byte {place}, read up to"):
        read_run(folder)


def test_rows_of_a_damaged_file_are_used_and_the_damage_is_logged(tmp_path, caplog):
    folder = run_folder(tmp_path, changed(STARTS[4], b"\xff"))
    assert len(read_rows(folder)) == 3
    assert f"damaged at byte {STARTS[4]}" in caplog.text
