"""The supervisor against real, tiny processes: restarts, failures, the order of stopping."""

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from deploy.supervising import supervisor
from deploy.supervising.child import Child, child_environment, end_leftovers
from deploy.supervising.stop_requests import StopRequests
from deploy.supervising.supervisor import Graces, Outcome, Progress, Supervisor
from deploy.supervising.topology import ProcessSpec
from efficientzero.process.runtime import EXIT_FINAL

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
RUN_UID = "0123abcd"
RUNNING = Progress(collection_has_ended=False, has_finished=False, is_evaluated=False)
COLLECTED = RUNNING._replace(collection_has_ended=True)
TRAINED = COLLECTED._replace(has_finished=True)
FINISHED = TRAINED._replace(is_evaluated=True)

SERVE = """
import signal, sys, time
def stop(signum, frame):
    print("asked to stop", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("serving", flush=True)
while True:
    time.sleep(0.05)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
print("pid", child.pid, flush=True)
"""
CRASH = "raise RuntimeError('the reason of the crash')"
LEAVE = "print('leaving')"


class Run:
    """A supervised run of inline programs, and everything that it printed."""

    def __init__(self, folder: Path, programs: dict[str, str], **options):
        self.lines: list[tuple[str, str]] = []
        self.launch = secrets.token_hex(8)
        self.progress = options.pop("progress", RUNNING)
        self.requests = StopRequests()
        folder.mkdir(exist_ok=True)
        self.log_dir = folder
        first_incarnation = options.pop("first_incarnation", 0)
        env = child_environment(os.environ, run_uid=RUN_UID, launch=self.launch, threads=1)
        self.children = {
            name: Child(
                _spec(name, code),
                log_dir=folder,
                env=env,
                sink=self.take,
                stop=self.requests.stop,
                first_incarnation=first_incarnation,
            )
            for name, code in programs.items()
        }
        graces = Graces(workers_s=10.0, learner_s=10.0, replay_s=10.0, leftovers_s=0.3)
        self.supervisor = Supervisor(
            list(self.children.values()),
            launch=self.launch,
            max_restarts=options.pop("max_restarts", 2),
            progress=lambda: self.progress,
            note=lambda text: self.take("launcher", text),
            graces=options.pop("graces", graces),
            first_pause_s=0.01,
            clean_exit_pause_s=0.2,
        )

    def take(self, name: str, text: str) -> None:
        self.lines.append((name, text))

    def notes(self) -> str:
        return "\n".join(text for name, text in self.lines if name == "launcher")

    def when(self, name: str, text: str, act, *, times: int = 1) -> threading.Thread:
        """Call ``act`` once ``name`` has printed ``text``."""

        def wait() -> None:
            deadline = time.monotonic() + PATIENCE_S
            while sum(n == name and text in t for n, t in self.lines) < times:
                assert time.monotonic() < deadline, f"{name} never printed {text!r}"
                time.sleep(0.01)
            act()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def interrupt(self, signum: signal.Signals = signal.SIGINT) -> None:
        self.requests._take(signum, None)

    def run(self) -> Outcome:
        return self.supervisor.run(self.requests)

    def survivors(self) -> list[int]:
        return [child.pid for child in self.children.values() if child.pid and _exists(child.pid)]


def _spec(name: str, code: str) -> ProcessSpec:
    role, index = name.rsplit("-", 1)
    argv = (sys.executable, "-c", code)
    return ProcessSpec(role=role, index=int(index), argv=argv)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_learner_that_crashes_again_and_again_ends_the_run_with_its_traceback(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": CRASH, "actor-0": SERVE})
    outcome = run.run()
    assert outcome == Outcome(1, "failed: learner-0 ended with code 1 after 2 restarts")
    assert "RuntimeError: the reason of the crash" in run.notes()
    assert "Traceback" in (tmp_path / "learner-0.log").read_text()
    assert run.survivors() == []


@pytest.mark.parametrize("victim", ["replay-0", "learner-0"])
def test_killed_replay_or_learner_is_started_again_as_the_next_incarnation(tmp_path, victim):
    code = "import sys; print('arguments', sys.argv[1:], flush=True)\n" + SERVE
    run = Run(tmp_path, {"replay-0": code, "learner-0": code})
    run.when(victim, "serving", lambda: os.kill(run.children[victim].pid, signal.SIGKILL))
    run.when(victim, "serving", run.interrupt, times=2)
    assert run.run() == Outcome(130, "interrupted")
    assert f"{victim} was killed by SIGKILL" in run.notes()
    assert (victim, "arguments ['--incarnation', '1']") in run.lines
    assert run.survivors() == []


def test_without_restarts_the_first_crash_ends_the_run(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": CRASH}, max_restarts=0)
    assert run.run() == Outcome(1, "failed: learner-0 ended with code 1")


def test_failure_that_would_only_repeat_itself_is_not_tried_again(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": f"raise SystemExit({EXIT_FINAL})"})
    outcome = run.run()
    assert outcome.exit_code == 1
    assert outcome.reason.startswith(f"failed: learner-0 ended with code {EXIT_FINAL} (starting")
    assert "restarting" not in run.notes()


def test_a_failure_without_a_log_file_does_not_name_one(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": f"raise SystemExit({EXIT_FINAL})"})
    (tmp_path / "learner-0.log").symlink_to(tmp_path / "missing" / "folder")  # cannot be opened
    assert run.run().exit_code == 1
    assert "Its last lines (no log was kept):" in run.notes()
    assert f"all of them: {tmp_path}/learner-0.log" not in run.notes()


def test_resumed_run_counts_incarnations_on(tmp_path):
    code = "import sys; print('arguments', sys.argv[1:], flush=True)\n" + SERVE
    run = Run(tmp_path, {"replay-0": code, "learner-0": SERVE}, first_incarnation=2_000)
    run.when("replay-0", "serving", run.interrupt)
    run.run()
    assert ("replay-0", "arguments ['--incarnation', '2000']") in run.lines


def test_crashed_actor_is_restarted_with_the_next_incarnation(tmp_path):
    once = "import sys; print(sys.argv[1:]); sys.exit(3) if len(sys.argv) == 1 else None\n" + SERVE
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE, "actor-1": once})
    run.when("actor-1", "serving", run.interrupt)
    outcome = run.run()
    assert "actor-1 ended with code 3, restarting (1 of 2)" in run.notes()
    assert ("actor-1", "['--incarnation', '1']") in run.lines
    assert outcome == Outcome(130, "interrupted")


def test_actor_that_keeps_crashing_ends_the_run_after_the_allowed_restarts(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE, "actor-0": CRASH})
    outcome = run.run()
    assert outcome == Outcome(1, "failed: actor-0 ended with code 1 after 2 restarts")
    assert run.notes().count("restarting (") == 2
    assert (tmp_path / "actor-0.log").read_text().count("the reason of the crash\n") == 3


def test_actor_stopped_from_outside_is_started_again_and_not_counted_as_a_crash(tmp_path):
    programs = {"replay-0": SERVE, "learner-0": SERVE, "actor-0": SERVE}
    run = Run(tmp_path, programs, max_restarts=0)
    run.when("actor-0", "serving", lambda: os.kill(run.children["actor-0"].pid, signal.SIGTERM))
    run.when("actor-0", "serving", run.interrupt, times=2)
    assert run.run() == Outcome(130, "interrupted")
    assert "actor-0 left before the run was over, starting it again" in run.notes()


def test_actor_that_leaves_by_itself_again_and_again_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_MOST_CLEAN_EXITS", 3)
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE, "actor-0": LEAVE})
    assert run.run() == Outcome(1, "failed: actor-0 left before the run was over 4 times")
    assert (tmp_path / "actor-0.log").read_text().count("leaving\n") == 4


def test_actor_may_leave_when_collection_has_ended(tmp_path):
    programs = {"replay-0": SERVE, "learner-0": SERVE, "actor-0": LEAVE, "reanalyzer-0": SERVE}
    run = Run(tmp_path, programs, progress=COLLECTED)
    first_pid = []

    def interrupt_later():
        first_pid.append(run.children["actor-0"].pid)
        threading.Timer(1.0, run.interrupt).start()  # longer than the pause before a restart

    run.when("actor-0", "leaving", interrupt_later)
    assert run.run() == Outcome(130, "interrupted")
    assert run.children["actor-0"].pid == first_pid[0]


def test_run_ends_at_budget_when_the_evaluator_has_left(tmp_path):
    programs = {"replay-0": SERVE, "learner-0": SERVE, "actor-0": SERVE, "evaluator-0": LEAVE}
    run = Run(tmp_path, programs, progress=FINISHED)
    assert run.run() == Outcome(0, "budget")
    assert run.survivors() == []


@pytest.mark.parametrize("victim", ["evaluator-0", "learner-0"])
def test_run_waits_for_the_final_evaluation(tmp_path, victim):
    programs = {"replay-0": SERVE, "learner-0": SERVE, "evaluator-0": SERVE}
    run = Run(tmp_path, programs, progress=TRAINED)

    def stop_evaluator() -> None:
        run.progress = FINISHED
        os.kill(run.children["evaluator-0"].pid, signal.SIGTERM)

    run.when(victim, "serving", lambda: os.kill(run.children[victim].pid, signal.SIGTERM))
    run.when(victim, "serving", stop_evaluator, times=2)
    assert run.run() == Outcome(0, "budget")
    assert f"{victim} left before the run was over, starting it again" in run.notes()


def test_evaluator_that_never_reports_the_final_evaluation_fails_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_MOST_CLEAN_EXITS", 1)
    monkeypatch.setattr(supervisor, "_LONG_RUN_S", 0.0)  # however long each evaluation took
    programs = {"replay-0": SERVE, "learner-0": SERVE, "evaluator-0": LEAVE}
    run = Run(tmp_path, programs, progress=TRAINED)
    patience = threading.Timer(PATIENCE_S, run.interrupt)
    patience.start()
    assert run.run() == Outcome(1, "failed: evaluator-0 left before the run was over 2 times")
    patience.cancel()
    run = Run(tmp_path, programs, progress=TRAINED, max_restarts=None)
    assert run.run().reason.startswith("failed: evaluator-0 left before the run was over and a det")


def test_run_without_evaluator_ends_when_training_has_finished(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE}, progress=TRAINED)
    assert run.run() == Outcome(0, "budget")


def test_workers_stop_before_the_learner_and_the_learner_before_replay(tmp_path):
    programs = dict.fromkeys(
        ["replay-0", "learner-0", "reanalyzer-0", "actor-0", "evaluator-0"], SERVE
    )
    run = Run(tmp_path, programs)
    threads = [run.when(name, "serving", lambda: None) for name in programs]

    def interrupt_when_all_serve() -> None:
        for thread in threads:
            thread.join()
        run.interrupt()

    threading.Thread(target=interrupt_when_all_serve).start()
    run.run()
    stopped = [name for name, text in run.lines if text == "asked to stop"]
    assert stopped[-2:] == ["learner-0", "replay-0"]
    assert sorted(stopped[:-2]) == ["actor-0", "evaluator-0", "reanalyzer-0"]


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_exit_code_names_the_signal(tmp_path, signum, code):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE})
    run.when("learner-0", "serving", lambda: run.interrupt(signum))
    assert run.run() == Outcome(code, "interrupted")


def test_a_run_started_by_nohup_outlives_its_terminal(tmp_path):
    taken = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.getsignal(signum) for signum in taken}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE})
        run.requests.install()
        os.kill(os.getpid(), signal.SIGHUP)
        assert not run.requests.stop.wait(0.2)
        run.when("learner-0", "serving", lambda: run.interrupt(signal.SIGTERM))
        assert run.run() == Outcome(143, "interrupted")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def test_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path):
    graces = Graces(workers_s=0.3, learner_s=10.0, replay_s=10.0, leftovers_s=0.3)
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE, "actor-0": DEAF}, graces=graces)
    serves = run.when("learner-0", "serving", lambda: None)

    def interrupt_when_both_are_there():
        serves.join()
        run.interrupt()

    run.when("actor-0", "deaf", interrupt_when_both_are_there)
    assert run.run() == Outcome(130, "interrupted")
    assert run.children["actor-0"].exit_code() == -signal.SIGKILL
    assert ("learner-0", "asked to stop") in run.lines


def test_second_interrupt_kills_at_once(tmp_path):
    graces = Graces(workers_s=600.0, learner_s=600.0, replay_s=600.0, leftovers_s=600.0)
    run = Run(tmp_path, {"replay-0": DEAF, "learner-0": DEAF, "actor-0": DEAF}, graces=graces)
    run.when("actor-0", "deaf", run.interrupt)

    def insist() -> None:
        time.sleep(0.5)  # sooner would be the same keypress
        run.interrupt()

    run.when("launcher", "stopping", insist)
    assert run.run() == Outcome(130, "interrupted")
    assert [c.exit_code() for c in run.children.values()] == [-signal.SIGKILL] * 3


def test_a_line_that_the_launcher_cannot_take_fails_the_run_and_stops_it(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE, "actor-0": SERVE})
    take = run.take

    def take_or_raise(name: str, text: str) -> None:
        take(name, text)
        if name == "actor-0":
            raise KeyError(text)

    run.children["actor-0"]._sink = take_or_raise
    reason = "failed: the launcher: its thread read-actor-0 failed: KeyError: 'serving'"
    assert run.run() == Outcome(1, reason)
    assert run.survivors() == []


def test_second_signal_of_the_same_keypress_is_not_a_second_request(tmp_path):
    requests = StopRequests()
    requests._take(signal.SIGINT, None)
    requests._take(signal.SIGINT, None)
    assert requests.stop.is_set()
    assert not requests.is_firm


def test_grandchild_in_another_session_does_not_outlive_the_run(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE, "actor-0": PARENT + SERVE})
    run.when("actor-0", "serving", run.interrupt)
    run.run()
    pid = next(int(text.split()[1]) for name, text in run.lines if text.startswith("pid"))
    assert f"killed what was left behind: process {pid}" in run.notes()
    assert end_leftovers(run.launch, grace_s=PATIENCE_S) == []


def test_a_copy_of_the_run_is_left_alone(tmp_path):
    """Both have the same run_uid in their environment, as all copies of a folder do."""
    ours, theirs = (
        Run(tmp_path / name, {"replay-0": SERVE, "learner-0": SERVE, "actor-0": PARENT + SERVE})
        for name in ("ours", "theirs")
    )
    other = theirs.children["actor-0"]
    other.start()
    try:
        theirs.when("actor-0", "serving", lambda: None).join(PATIENCE_S)
        ours.when("actor-0", "serving", ours.interrupt)
        ours.run()
        assert "killed what was left behind" in ours.notes()
        assert other.is_running()
        # Its grandchild in another session is left alone, too.
        assert end_leftovers(ours.launch, grace_s=0.0) == []
        assert len(end_leftovers(theirs.launch, grace_s=0.0)) == 2
    finally:
        other.signal(signal.SIGKILL)


def test_output_without_line_end_and_with_bad_bytes_is_kept(tmp_path):
    code = "import sys; sys.stdout.buffer.write(b'caf\\xe9 no newline'); sys.exit(1)"
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": code}, max_restarts=0)
    run.run()
    assert ("learner-0", "caf\ufffd no newline") in run.lines
    assert (tmp_path / "learner-0.log").read_bytes() == b"caf\xe9 no newline"


def test_program_that_cannot_be_started_fails_the_run(tmp_path):
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": SERVE})
    child = run.children["learner-0"]
    child.spec = ProcessSpec(role="learner", index=0, argv=("/no/such",))
    outcome = run.run()
    assert outcome.exit_code == 1
    assert "cannot start learner-0" in outcome.reason
    assert run.survivors() == []


def test_children_are_in_a_session_of_their_own(tmp_path):
    code = "import os; print('leads', os.getsid(0) == os.getpid()); raise SystemExit(1)"
    run = Run(tmp_path, {"replay-0": SERVE, "learner-0": code}, max_restarts=0)
    run.run()
    assert ("learner-0", "leads True") in run.lines


def test_environment_bypasses_proxies_on_loopback_and_limits_threads():
    env = child_environment({"no_proxy": "example.org"}, run_uid="ab", launch="cd", threads=2)
    assert env["no_proxy"] == env["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert env["OMP_NUM_THREADS"] == "2"
    assert env["PYTHONUNBUFFERED"] == "1"


def test_roles_end_when_the_launcher_is_killed(tmp_path):
    role = (
        "import sys; from efficientzero.process.runtime import exit_now, run_role;"
        "exit_now(run_role('actor', 0, lambda stop: (print('up', flush=True), stop.wait(600))))"
    )
    launcher = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        from deploy.supervising.child import Child, child_environment
        from deploy.supervising.topology import ProcessSpec
        from efficientzero.process.runtime import StopSignal
        spec = ProcessSpec(role="actor", index=0, argv=(sys.executable, "-c", {role!r}))
        env = child_environment(os.environ, run_uid="0", launch="1", threads=1)
        child = Child(spec, log_dir=Path({str(tmp_path)!r}), env=env,
                      sink=lambda name, line: print(child.pid, line, flush=True),
                      stop=StopSignal())
        child.start()
        time.sleep(600)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    with process.stdout:
        pid = int(next(line for line in process.stdout if line.endswith("up\n")).split()[0])
        process.kill()
        process.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(("program", "how"), [(CRASH, "ended with code 1"), (LEAVE, "left before")])
def test_deterministic_run_ends_with_a_worker_that_ends_early(tmp_path, program, how):
    programs = {"replay-0": SERVE, "learner-0": SERVE, "actor-0": program}
    run = Run(tmp_path, programs, max_restarts=None)
    outcome = run.run()
    assert outcome.exit_code == 1
    assert outcome.reason.startswith(f"failed: actor-0 {how}")
    assert "cannot start it again" in outcome.reason
    assert run.survivors() == []


@pytest.mark.parametrize("broken", ["learner-0", "rank-1"])
def test_a_learner_of_several_ranks_is_not_started_again_in_parts(tmp_path, broken):
    programs = {"learner-0": SERVE, "rank-1": SERVE, "actor-0": SERVE, broken: CRASH}
    run = Run(tmp_path, programs)
    outcome = run.run()
    assert outcome.exit_code == 1
    assert outcome.reason.startswith(f"failed: {broken} ended with code 1 and a learner on several")
    assert "the reason of the crash" in run.notes()
    assert "restarting" not in run.notes()
    assert not any(child.is_running() for child in run.children.values())
