"""The grid's runner with real processes; small scripts stand in for the cells' launchers."""

import io
import json
import os
import signal
import sys
import threading
import time

import pytest

from deploy.ablate.check import check_cells
from deploy.ablate.command import Slot
from deploy.ablate.display import GridConsole, progress_line, results_table
from deploy.ablate.grid import Grid, expand
from deploy.ablate.runner import GridRunner
from deploy.supervising.stop_requests import StopRequests
from efficientzero.config.preset_files import load_preset
from tests.support.fakes import tiny_run

pytestmark = pytest.mark.slow

CATCH = load_preset("catch")
CPU = min(os.sched_getaffinity(0))
PATIENCE_S = 60.0

# Ends as launch.py does: its run folder, a summary, its exit code.
CELL = """
import json, os, pathlib, signal, sys, time
folder, summary, behaviour = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
folder.mkdir()
(folder / "config.json").write_text(sys.argv[4])
def leave(code, reason):
    summary.update(exit_code=code, exit_reason=reason)
    (folder / "summary.json").write_text(json.dumps(summary))
    sys.exit(code)
signal.signal(signal.SIGINT, lambda *_: leave(130, "interrupted"))
(folder / "cpus").write_text(json.dumps(sorted(os.sched_getaffinity(0))))
(folder / "started").touch()
if behaviour == "wait":
    while True:
        time.sleep(0.05)
if behaviour == "crash":
    print("x | first line"); print("launch.py: error: no such thing"); sys.exit(2)
if behaviour == "fail":
    print("learner-0 | 12:00:00 learner-0 ERROR train_step 3: not finite"); print("x | bye")
leave(*(1, "failed: learner-0 ended with code 1") if behaviour == "fail" else (0, "budget"))
"""


def grid_runner(runs_dir, seeds, behaviour_of, *, slots=1, notes=None):
    """Return a runner of one cell per seed; ``behaviour_of`` its script's."""
    cells = check_cells(expand(Grid(seeds=seeds), CATCH), runs_dir).cells

    def command(checked, slot, run_id):
        seed = checked.cell.config.seed
        folder, config = runs_dir / run_id, checked.cell.config
        texts = json.dumps({"eval_return_mean": seed / 10}), behaviour_of(seed)
        run = tiny_run(folder, config).to_json()
        return [sys.executable, "-c", CELL, str(folder), *texts, run]

    return GridRunner(
        cells,
        runs_dir=runs_dir,
        slots=[Slot(cpus=(CPU,))] * slots,
        note=(notes if notes is not None else []).append,
        show=lambda runs: None,
        command_of=command,
    )


def states(runner):
    return [run.state for run in runner.runs]


def interrupt_once(requests, is_time):
    """Ask to stop, as a signal would, as soon as ``is_time()``."""

    def wait():
        deadline = time.monotonic() + PATIENCE_S
        while not is_time() and time.monotonic() < deadline:
            time.sleep(0.05)
        requests._take(signal.SIGINT, None)

    threading.Thread(target=wait, daemon=True).start()


def test_all_cells_are_run_and_their_results_known(tmp_path):
    runner = grid_runner(tmp_path, (1, 2, 3), lambda seed: "finish")
    assert runner.run(StopRequests()) == 0
    assert states(runner) == ["finished"] * 3
    assert [run.eval_return for run in runner.runs] == [0.1, 0.2, 0.3]
    assert [run.run_dir.name for run in runner.runs] == [f"Catch-v0_catch_s{s}" for s in (1, 2, 3)]


def test_a_failed_cell_is_reported_and_does_not_stop_the_rest(tmp_path):
    notes = []
    behaviours = {1: "finish", 2: "fail", 3: "crash", 4: "finish"}
    runner = grid_runner(tmp_path, (1, 2, 3, 4), behaviours.__getitem__, notes=notes)
    assert runner.run(StopRequests()) == 1
    assert states(runner) == ["finished", "failed", "failed", "finished"]
    assert runner.runs[1].reason == (
        "failed: learner-0 ended with code 1; train_step 3: not finite"
    )
    assert runner.runs[2].reason == "no such thing"
    (line,) = [note for note in notes if "no such thing" in note]
    assert line.startswith("failed    Catch-v0 s3: ")
    assert line.endswith("Catch-v0_catch_s3.log)")


def test_finished_cells_are_skipped_and_failed_ones_run_again_in_a_new_folder(tmp_path):
    behaviours = {1: "finish", 2: "fail"}
    assert grid_runner(tmp_path, (1, 2), behaviours.__getitem__).run(StopRequests()) == 1
    again = grid_runner(tmp_path, (1, 2), lambda seed: "finish")
    assert again.run(StopRequests()) == 0
    assert states(again) == ["skipped", "finished"]
    assert again.runs[0].eval_return == 0.1
    assert again.runs[1].run_dir.name == "Catch-v0_catch_s2-2"
    third = grid_runner(tmp_path, (1, 2), lambda seed: "crash")
    assert third.run(StopRequests()) == 0
    assert states(third) == ["skipped", "skipped"]


def test_no_more_cells_run_at_a_time_than_there_are_slots(tmp_path):
    runner = grid_runner(tmp_path, (1, 2, 3), lambda seed: "wait", slots=2)
    requests = StopRequests()
    interrupt_once(requests, lambda: len(list(tmp_path.glob("*/started"))) == 2)
    assert runner.run(requests) == 130
    assert states(runner) == ["interrupted", "interrupted", "not started"]


def test_ctrl_c_lets_the_running_cell_end_in_order_and_the_grid_goes_on_later(tmp_path):
    behaviours, notes = {1: "finish", 2: "wait", 3: "finish"}, []
    runner = grid_runner(tmp_path, (1, 2, 3), behaviours.__getitem__, notes=notes)
    requests = StopRequests()
    interrupt_once(requests, (tmp_path / "Catch-v0_catch_s2" / "started").exists)
    assert runner.run(requests) == 130
    assert states(runner) == ["finished", "interrupted", "not started"]
    (stopped,) = [note for note in notes if note.startswith("stopped")]
    folder = runner.runs[1].run_dir  # the script saves nothing, so nobody says that it did
    assert stopped == f"stopped   Catch-v0 s2, before its first checkpoint: {folder}"
    summary = json.loads((runner.runs[1].run_dir / "summary.json").read_text())
    assert summary["exit_reason"] == "interrupted"  # it was asked, not killed
    again = grid_runner(tmp_path, (1, 2, 3), lambda seed: "finish")
    assert again.run(StopRequests()) == 0
    assert states(again) == ["skipped", "finished", "finished"]


def test_cells_run_on_the_cpus_of_their_slot_and_the_runner_keeps_its_own(tmp_path):
    before = os.sched_getaffinity(0)
    runner = grid_runner(tmp_path, (1,), lambda seed: "finish")
    assert runner.run(StopRequests()) == 0
    assert json.loads((runner.runs[0].run_dir / "cpus").read_text()) == [CPU]
    assert os.sched_getaffinity(0) == before


def test_a_cell_that_cannot_be_started_is_a_failed_one(tmp_path):
    runner = grid_runner(tmp_path, (1,), lambda seed: "finish")
    runner._command_of = lambda *_: [str(tmp_path / "no-such-program")]
    assert runner.run(StopRequests()) == 1
    assert runner.runs[0].reason.startswith("cannot start: ")


def test_progress_counts_and_results_name_each_cell(tmp_path):
    runner = grid_runner(tmp_path, (1, 2), {1: "finish", 2: "fail"}.__getitem__)
    assert progress_line(runner.runs) == "2 cells: 2 waiting"
    runner.run(StopRequests())
    assert progress_line(runner.runs) == "2 cells: 1 finished, 1 failed"
    table = results_table(runner.runs)
    assert [str(cell) for cell in table.columns[1].cells] == ["finished", "failed"]
    assert next(iter(table.columns[2].cells)) == "0.1"


class ClosedTerminal(io.StringIO):
    """A stream whose reader is gone."""

    def __init__(self, *, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal

    def write(self, text):
        raise BrokenPipeError(f"cannot show {text!r}")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_closed_terminal_does_not_stop_the_grid(tmp_path, is_terminal):
    runner = grid_runner(tmp_path, (1, 2), lambda seed: "finish")
    console = GridConsole(ClosedTerminal(is_terminal=is_terminal))
    runner._note, runner._show = console.note, console.show
    assert runner.run(StopRequests()) == 0
    console.__exit__()
    assert states(runner) == ["finished"] * 2


def test_an_error_in_the_runner_itself_leaves_no_process(tmp_path):
    runner = grid_runner(tmp_path, (1,), lambda seed: "wait")

    def show(runs):
        if list(tmp_path.glob("*/started")):
            raise RuntimeError("terminal gone")

    runner._show = show
    with pytest.raises(RuntimeError, match="terminal gone"):
        runner.run(StopRequests())
    (running,) = runner._running
    assert running.process.wait(PATIENCE_S) == -signal.SIGKILL
