"""How a grid follows its cells, and that it starts none on a full disk."""

import dataclasses
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from deploy.ablate import runner
from deploy.ablate.check import check_cells
from deploy.ablate.command import Slot
from deploy.ablate.grid import Grid, expand
from deploy.ablate.runner import GridRunner
from deploy.checks.preflight import MIN_FREE_BYTES
from deploy.launching.tokens import make_local_credentials
from deploy.supervising.stop_requests import StopRequests
from efficientzero.config.preset_files import load_preset
from efficientzero.process.runtime import StopSignal
from tests.support.fakes import tiny_run

CATCH = load_preset("catch")
SLOT = Slot(cpus=(min(os.sched_getaffinity(0)),))


@pytest.fixture
def asked(monkeypatch):
    """The addresses that are asked for a status, and with which credentials."""
    calls, real = [], runner.learner_status

    @contextmanager
    def learner_status(address, credentials=None):
        with real(address, credentials) as fetch:
            calls.append((address, credentials))
            yield fetch

    monkeypatch.setattr(runner, "learner_status", learner_status)
    return calls


def running_cell(folder, launch_before):
    run = runner.CellRun(checked=check_cells(expand(Grid(), CATCH), folder).cells[0])
    run.run_dir = folder
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return runner._Running(run=run, process=process, slot=SLOT, launch_before=launch_before)


def test_a_cell_is_asked_with_its_own_runs_token_once_there_is_one(tmp_path, asked):
    running, info = running_cell(tmp_path, -1), tiny_run(tmp_path, CATCH)
    with running.watch:
        runner._watch(running, StopSignal())
        info.save()
        runner._watch(running, StopSignal())
        assert asked == []
        tokens = make_local_credentials(tmp_path)
        for _ in range(3):
            runner._watch(running, StopSignal())
    assert asked == [(info.learner_address, tokens)]


def test_a_cell_that_goes_on_is_asked_at_its_new_address(tmp_path, asked):
    before = tiny_run(tmp_path, CATCH)
    before.save()
    tokens = make_local_credentials(tmp_path)
    running = running_cell(tmp_path, runner._newest_launch(tmp_path))
    now = dataclasses.replace(before, num_resumes=1, learner_address="127.0.0.1:2")
    with running.watch:
        runner._watch(running, StopSignal())
        now.save()
        runner._watch(running, StopSignal())
    assert asked == [(now.learner_address, tokens)]


def test_no_cell_starts_on_a_full_disk(tmp_path, monkeypatch):
    notes, free = [], [0, 0, 0]
    monkeypatch.setattr(runner, "free_bytes", lambda path: free.pop() if free else MIN_FREE_BYTES)
    monkeypatch.setattr(runner, "_POLL_S", 0.01)

    def command(checked, slot, run_id):
        assert not free
        return [sys.executable, "-c", ""]

    cells = check_cells(expand(Grid(seeds=(0, 1)), CATCH), tmp_path).cells
    grid = GridRunner(
        cells,
        runs_dir=tmp_path,
        slots=[SLOT],
        note=notes.append,
        show=lambda runs: None,
        command_of=command,
    )
    assert grid.run(StopRequests()) == 0
    assert [run.state for run in grid.runs] == ["finished", "finished"]
    assert [note for note in notes if "0 MB free, wanted at least 200 MB" in note] == notes[:1]


def test_ctrl_c_ends_the_wait_for_room(tmp_path, monkeypatch):
    requests = StopRequests()
    monkeypatch.setattr(runner, "free_bytes", lambda path: 0)
    cells = check_cells(expand(Grid(seeds=(0,)), CATCH), tmp_path).cells
    grid = GridRunner(
        cells,
        runs_dir=tmp_path,
        slots=[SLOT],
        note=lambda text: requests.stop.set("SIGINT"),
        show=lambda runs: None,
    )
    grid.run(requests)
    assert [run.state for run in grid.runs] == ["not started"]
