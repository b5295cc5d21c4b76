"""What a terminal shows of a run, at every width and while the window changes."""

import io
import logging

import pytest
from rich.console import Console
from rich.text import Text

from deploy.supervising.display import NoteHandler, PaceMeter, RunConsole, progress_block
from deploy.supervising.live_block import LiveBlock
from efficientzero.rpc.stubs import run_pb2

STATUS = run_pb2.RunStatus(
    phase=run_pb2.COLLECTING,
    env_steps=19_332,
    env_steps_budget=100_000,
    train_steps=386,
    train_steps_budget=2_002,
    replay_items=1_000,
    last_returns=[50.0, 51.0],
    last_eval_return_mean=95.0,
    last_eval_version=370,
    waiting_for="training batch from the reanalyzers",
)
FACTS = (
    "phase collecting",
    "eta -",
    "replay 1,000 items",
    "return 50.5 (mean of last 2 episodes)",
    "evaluation 95 at train_step 370",
    "waiting for training batch from the reanalyzers",
)


def block(width, *, late="", **changes):
    status = run_pb2.RunStatus()
    status.CopyFrom(STATUS)
    status.MergeFrom(run_pb2.RunStatus(**changes))
    lines = progress_block(status, PaceMeter().update(0.0, status), width=width, late=late)
    return [line.plain for line in lines]


@pytest.mark.parametrize("width", [60, 79, 119, 200])
def test_every_fact_is_there_and_whole_at_every_width(width):
    lines = block(width)
    assert max(map(len, lines)) <= width
    for fact in FACTS:
        assert any(fact in line for line in lines), fact
    for counters in ("19,332/100,000 0/s", "386/2,002 0/s"):
        assert any(line.endswith(counters) for line in lines)


@pytest.mark.parametrize("width", [12, 20, 30, 45])
def test_a_narrow_window_splits_facts_between_words_and_never_exceeds_its_width(width):
    lines = block(width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for fact in FACTS:
        assert all(word in words for word in fact.split()), fact


def test_a_long_cause_and_a_silent_learner_are_shown_to_their_end():
    cause = "learner waits for env_steps: 1 actor at 100 %, a-host has no core to spare (2): "
    lines = block(79, cause=cause + "add actors on another machine", late="is silent for 4 s")
    text = " ".join(" ".join(lines).split())
    assert "stalled learner waits for env_steps: 1 actor at 100 %, a-host has no" in text
    assert "add actors on another machine" in text
    assert "learner is silent for 4 s" in text


def test_bars_are_as_full_as_the_counts():
    (env_steps, train_steps, *_) = progress_block(
        STATUS, PaceMeter().update(0.0, STATUS), width=119
    )
    for line, share in ((env_steps, 0.19332), (train_steps, 386 / 2002)):
        done = next(span for span in line.spans if span.style == "magenta")
        assert done.end - done.start == round(40 * share)
        assert line.plain.count("━") == 40


def test_lines_for_the_log_files_alone_are_not_shown():
    stream = io.StringIO()
    console = RunConsole(stream)
    name = "reanalyzer-0"
    for text in (
        "[reverb/cc/reverb_service_impl.cc:168] Stored checkpoint to /runs/x",
        "01:54:35 replay-0 INFO Returning a port that wasn't given by portpicker: 44791",
        "01:54:35 actor-0 INFO wandb offline: group g, id 0-actor-0, files in runs/x/wandb",
        "01:54:35 actor-0 INFO wandb online: group g, id 0-actor-0, files in runs/x/wandb",
    ):
        console.line(name, text)
    assert stream.getvalue() == ""
    for text, shown in (
        ("01:54:35 reanalyzer-0 INFO stopped", "01:54:35 stopped"),
        ("01:54:35 reanalyzer-0 ERROR no INFO", "01:54:35 ERROR no INFO"),
        ("01:54:35 reanalyzer-0 WARNING wandb online mode failed: x", None),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("", ""),
    ):
        stream.truncate(0)
        stream.seek(0)
        console.line(name, text)
        assert stream.getvalue() == f"reanalyzer-0 | {shown or text.replace(' ' + name, '')}\n"


def test_a_failed_thread_of_the_launcher_shows_its_traceback():
    stream = io.StringIO()
    log = logging.Logger("deploy", logging.INFO)
    log.addHandler(NoteHandler(RunConsole(stream)))
    try:
        raise KeyError("phase")
    except KeyError as error:
        log.critical("thread %s failed", "monitor", exc_info=error)
    first, *others = stream.getvalue().splitlines()
    assert first == "launcher     | thread monitor failed"
    assert others[0] == "launcher     | Traceback (most recent call last):"
    assert others[-1] == "launcher     | KeyError: 'phase'"


class Screen:
    """A terminal that wraps what is there when it becomes narrower, as most do."""

    def __init__(self, width):
        self.width, self.rows, self.row, self.column = width, [""], 0, 0
        self.escape = ""

    def write(self, text):
        for char in text:
            if self.escape or char == "\x1b":
                self.escape += char
                if char.isalpha():
                    self.control(self.escape[2:])
                    self.escape = ""
            elif char == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif char == "\r":
                self.column = 0
            else:
                self.put(char)
        return len(text)

    def put(self, char):
        if self.column == self.width:
            self.write("\n")
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + char + line[self.column + 1 :]
        self.column += 1

    def control(self, code):
        number, kind = int("".join(filter(str.isdigit, code)) or 1), code[-1]
        if kind == "A":
            self.row = max(0, self.row - number)
        elif kind == "J":
            self.rows = [*self.rows[: self.row], self.rows[self.row][: self.column]]
        elif kind == "K":
            self.rows[self.row] = ""

    def narrow(self, width):
        """Wrap every row; the cursor stays at the end of the last one."""
        rows = [r[i : i + width] for r in self.rows for i in range(0, max(1, len(r)), width)]
        self.width, self.rows, self.row = width, rows, len(rows) - 1
        self.column = len(rows[-1])

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.parametrize("width", [110, 80, 61, 30, 7])
@pytest.mark.parametrize("then", ["update", "print", "stop"])
def test_a_window_that_becomes_narrower_keeps_no_rows_of_the_old_block(width, then):
    screen = Screen(120)
    console = Console(file=screen, width=120, height=50, force_terminal=True, color_system=None)
    live = LiveBlock(console)
    live.start()
    live.print(Text("one"))
    for number in range(2):
        live.update(Text(f"BAR{number} " + "━" * 100 + "\n" + f"BAR{number} " + "━" * 60 + "\nBAR"))
    live.print(Text("two"))
    screen.narrow(width)
    console.size = (width, 50)
    if then == "update":
        live.update(Text("BAR end"))
    elif then == "print":
        live.print(Text("x"))
        live.update(Text("BAR end"))
    live.stop()
    live.print(Text("end"))
    shown = [row.strip() for row in screen.rows if row.strip()]
    assert shown == ["one", "two", *(["x"] * (then == "print")), "end"]
