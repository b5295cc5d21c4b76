"""The supervisor: starts a run's processes on this machine, watches them, ends them in order.

Called by ``launch.py``. A crashed process is started again: workers are stateless, learner and
replay go on from their newest checkpoint and snapshot. Too many crashes, or one that would only
repeat itself, end the run. Knows roles and exit codes, not what a role does.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from deploy.supervising.child import Child, end_leftovers
from deploy.supervising.stop_requests import EXIT_FAILED, StopRequests
from deploy.supervising.topology import WORKER_ROLES
from efficientzero.process.runtime import EXIT_FINAL, WaitReason
from efficientzero.runs.results.run_summary import Outcome

_NEVER = "and a deterministic run cannot start it again"
_LEARNER_ROLES = ("learner", "rank")
_RANKS_RESTART_TOGETHER = "and a learner on several devices starts again only as a whole: --resume"
_POLL_S = 0.1
_KILL_WAIT_S = 5.0
_LONGEST_PAUSE_S = 30.0
_LONG_RUN_S = 600.0
_MOST_CLEAN_EXITS = 10
"""In a row and too early: no person stops a process so often."""


class Progress(NamedTuple):
    """What the supervisor must know of the run: which roles may leave by themselves."""

    collection_has_ended: bool  # actors may leave
    has_finished: bool  # training is over; reanalyzers may leave
    is_evaluated: bool  # the final evaluation is reported; the evaluator may leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Graces:
    """Seconds between asking a process to end and killing it."""

    workers_s: float = 25.0
    """Actors, reanalyzers, evaluator."""
    learner_s: float = 60.0
    """The learner saves a checkpoint."""
    replay_s: float = 15.0
    leftovers_s: float = 8.0
    """wandb services leave this much later than their process."""

    def after_failure(self) -> Graces:
        """Return shorter ones: a process whose server is gone has little left to save."""
        return dataclasses.replace(
            self,
            workers_s=min(self.workers_s, 8.0),
            learner_s=min(self.learner_s, 15.0),
            replay_s=min(self.replay_s, 5.0),
        )


@dataclass(slots=True)
class _Watched:
    child: Child
    starts: int = 1
    started_at: float = 0.0  # monotonic seconds
    crashes: int = 0
    restart_at: float | None = None  # monotonic seconds
    left_cleanly: bool = False
    clean_exits: int = 0  # too early, in a row
    has_finished: bool = False


class Supervisor:
    """Keeps a run's processes alive until the run is over. Use from the main thread."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        launch: str,
        max_restarts: int | None,
        progress: Callable[[], Progress],
        note: Callable[[str], None],
        graces: Graces,
        first_pause_s: float = 1.0,
        clean_exit_pause_s: float = 3.0,
    ) -> None:
        """Take the children in starting order.

        Args:
            children: not yet started.
            launch: marks what the processes start, see ``child_environment``.
            max_restarts: of each child, after crashes that follow each other within ten minutes;
                None: nothing is ever started again, not even what left by itself.
            progress: the run's newest known progress; must not block.
            note: prints one line of the supervisor's own.
            graces: how long each role may take to stop.
            first_pause_s: before the first restart; doubles with every crash.
            clean_exit_pause_s: before a worker that left by itself too early is started again;
                longer than ``progress`` is late.
        """
        self._watched = [_Watched(child) for child in children]
        self._launch = launch
        self._max_restarts = max_restarts
        self._progress = progress
        self._note = note
        self._graces = graces
        self._first_pause_s = first_pause_s
        self._clean_exit_pause_s = clean_exit_pause_s
        self._failed: Child | None = None
        roles = {watched.child.spec.role for watched in self._watched}
        self._has_ranks, self._has_evaluator = "rank" in roles, "evaluator" in roles

    def run(self, requests: StopRequests) -> Outcome:
        """Start everything, wait for the end, stop what is left, and return the outcome."""
        outcome = Outcome(EXIT_FAILED, "failed: the launcher itself")
        try:
            outcome = self._start() or self._watch(requests)
            self._note(f"stopping: {outcome.reason}")
        finally:
            has_failed = outcome.exit_code == EXIT_FAILED
            graces = self._graces.after_failure() if has_failed else self._graces
            self._stop_all(requests, graces)
        self._repeat_last_lines()
        return outcome

    def _start(self) -> Outcome | None:
        for watched in self._watched:
            watched.started_at = time.monotonic()
            try:
                watched.child.start()
            except OSError as error:
                reason = f"cannot start {watched.child.spec.name}: {error}"
                return Outcome(EXIT_FAILED, f"failed: {reason}")
        return None

    def _watch(self, requests: StopRequests) -> Outcome:
        while not requests.stop.wait(_POLL_S):
            progress = self._progress()
            for watched in self._watched:
                reason = self._review(watched, progress)
                if reason:
                    self._failed = watched.child
                    return Outcome(EXIT_FAILED, f"failed: {reason}")
            if self._is_complete(progress):
                return Outcome(0, "budget")
        return requests.outcome()

    def _review(self, watched: _Watched, progress: Progress) -> str:
        """Act on a child's end; return why the run has failed, or nothing."""
        child = watched.child
        code = child.exit_code()
        if watched.has_finished or code is None:
            return ""
        if code == 0 and self._may_leave(child.spec.role, progress):
            watched.has_finished = True
            return ""
        if watched.restart_at is None:
            child.finish_reading()
            return self._after_exit(watched, code, progress)
        return self._restart(watched) if time.monotonic() >= watched.restart_at else ""

    def _after_exit(self, watched: _Watched, code: int, progress: Progress) -> str:
        child = watched.child
        if code == EXIT_FINAL:
            return child.describe_exit()
        watched.left_cleanly = code == 0
        pause_s = self._clean_exit_pause_s  # then judge again: the progress known here may be old
        # After training only the final evaluation is left: what leaves without it, however late,
        # has got the run no further.
        ran_long = time.monotonic() - watched.started_at > _LONG_RUN_S and not progress.has_finished
        watched.clean_exits = 0 if code or ran_long else watched.clean_exits + 1
        if code != 0:
            watched.crashes = 1 if ran_long else watched.crashes + 1
            if self._max_restarts is None:
                return f"{child.describe_exit()} {_NEVER}"
            if self._has_ranks and child.spec.role in _LEARNER_ROLES:
                return f"{child.describe_exit()} {_RANKS_RESTART_TOGETHER}"
            if watched.crashes > self._max_restarts:
                after = f" after {self._max_restarts} restarts" if self._max_restarts else ""
                return child.describe_exit() + after
            count = f"{watched.crashes} of {self._max_restarts}"
            self._note(f"{child.describe_exit()}, restarting ({count})")
            pause_s = min(self._first_pause_s * 2 ** (watched.crashes - 1), _LONGEST_PAUSE_S)
        watched.restart_at = time.monotonic() + pause_s
        return ""

    def _restart(self, watched: _Watched) -> str:
        child = watched.child
        if self._max_restarts is None:
            return f"{child.spec.name} left before the run was over {_NEVER}"
        if self._has_ranks and child.spec.role == "learner":
            return f"{child.spec.name} left before the run was over {_RANKS_RESTART_TOGETHER}"
        if watched.clean_exits > _MOST_CLEAN_EXITS:
            return f"{child.spec.name} left before the run was over {watched.clean_exits} times"
        if watched.left_cleanly:
            # Somebody stopped it from outside, and the run would wait for it for ever.
            self._note(f"{child.spec.name} left before the run was over, starting it again")
        try:
            child.start(incarnation=watched.starts)
        except OSError as error:
            return f"cannot restart {child.spec.name}: {error}"
        watched.starts += 1
        watched.started_at = time.monotonic()
        watched.restart_at = None
        return ""

    def _is_complete(self, progress: Progress) -> bool:
        has_left = {w.child.spec.role: w.has_finished for w in self._watched}
        return self._is_over(progress) and (has_left.get("evaluator", True) or has_left["learner"])

    def _is_over(self, progress: Progress) -> bool:
        """Return whether nothing is left to do: not even an evaluation that runs here."""
        return progress.has_finished and (progress.is_evaluated or not self._has_evaluator)

    def _may_leave(self, role: str, progress: Progress) -> bool:
        if role == "actor":
            return progress.collection_has_ended
        # The final evaluation is made by the evaluator and taken by the learner.
        is_needed = role in ("evaluator", "learner")
        return self._is_over(progress) if is_needed else progress.has_finished

    def _stop_all(self, requests: StopRequests, graces: Graces) -> None:
        self._stop_roles(WORKER_ROLES, graces.workers_s, requests)
        self._stop_roles(_LEARNER_ROLES, graces.learner_s, requests)
        self._stop_roles(("replay",), graces.replay_s, requests)
        for watched in self._watched:
            watched.child.finish_reading(1.0)
        grace_s = 0.0 if requests.is_firm else graces.leftovers_s
        killed = end_leftovers(self._launch, grace_s=grace_s)
        if killed:
            self._note(f"killed what was left behind: process {', '.join(map(str, killed))}")

    def _stop_roles(self, roles: Collection[str], grace_s: float, requests: StopRequests) -> None:
        children = _running([w.child for w in self._watched if w.child.spec.role in roles])
        for child in children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        wait = WaitReason(f"{', '.join(c.spec.name for c in children)} to stop")
        while _running(children) and time.monotonic() < deadline and not requests.is_firm:
            time.sleep(_POLL_S / 2)
            wait.tick()
        for child in _running(children):
            waited = "" if requests.is_firm else f" after {grace_s:.0f} s"
            self._note(f"{child.spec.name} is killed{waited}")
            child.signal(signal.SIGKILL)
        deadline = time.monotonic() + _KILL_WAIT_S
        while _running(children) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 2)
        for child in children:
            if child.exit_code() not in (0, -signal.SIGKILL, -signal.SIGTERM):
                child.finish_reading(1.0)
                self._note(f"{child.describe_exit()} while stopping")

    def _repeat_last_lines(self) -> None:
        if self._failed is None:
            return
        child = self._failed
        where = f"all of them: {child.log_path}" if child.log_path.exists() else "no log was kept"
        self._note(f"{child.describe_exit()}. Its last lines ({where}):")
        for line in child.last_lines:
            self._note(f"    {line}")


def _running(children: Sequence[Child]) -> list[Child]:
    return [child for child in children if child.is_running()]
