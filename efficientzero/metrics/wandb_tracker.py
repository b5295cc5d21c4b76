"""Metric rows to Weights & Biases: one run per process, written by a separate thread.

Made by ``make_tracker``. wandb can raise from every call and block for minutes when its service or
the network is gone, so the caller only ever touches a bounded list; the writer thread does the
rest.
"""

from __future__ import annotations

import logging
import shlex
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from efficientzero.metrics.axes import axis_of, wall_axis
from efficientzero.metrics.continued_axes import ContinuedAxes
from efficientzero.metrics.wandb_limits import check_wandb_name, limit_environment
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.runs.naming import run_name

if TYPE_CHECKING:
    import wandb

    from efficientzero.process.runtime import StopSignal

_MAX_ROWS_WAITING = 10_000
"""More rows than any role logs while ``init`` gives up on a dead server; 50 MB at most."""
_ONLINE_PATIENCE_S = 60.0
"""How long an online run may take to begin before rows go to an offline one."""
_LAST_PATIENCE_S = 2.0
"""The same limit once the process is closing."""
_FINISH_TIMEOUT_S = 10.0
"""Time limit of the last upload, below the grace time of a stopped process; the files stay."""
NOT_UPLOADED_FILE = "not-uploaded"
"""In the ``wandb`` folder: one line with the folder of each run that could not be uploaded."""

_SERVICE = threading.Lock()
"""Held while a tracker joins wandb's service, which a process's trackers share, and while the last
one leaves it."""
_WRITERS: set[WandbTracker] = set()
"""Trackers that use the service; change it under the lock."""

log = logging.getLogger(__name__)


class WandbTracker:
    """A ``Tracker`` that writes one wandb run."""

    def __init__(
        self,
        *,
        mode: str,
        entity: str,
        project: str,
        group: str,
        seed: int,
        run_uid: str,
        role: str,
        index: int,
        config: Mapping[str, Any],
        directory: Path,
        stop: StopSignal,
        incarnation: int = 0,
        tags: Sequence[str] = (),
    ) -> None:
        self._identity = {
            "entity": entity,
            "project": project,
            "group": group,
            "job_type": role,
            "name": run_name(group, seed),
            # The same after a restart: its rows continue the run, online and when synced.
            "id": f"{run_uid}-{role}-{index}",
        }
        for what, name in self._identity.items():
            check_wandb_name(what, name)
        self._tags = tuple(tags)
        facts = {"seed": seed, "role": role, "role_index": index, "run_uid": run_uid}
        self._config = {**config, **facts, "incarnation": incarnation}
        self._directory = directory
        self._role, self._index = role, index
        self._started = time.monotonic()
        self._wall_axis = wall_axis(role)
        self._defined: set[str] = set()  # metrics whose axis is defined in wandb
        self._rows: deque[dict[str, float]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._online: wandb.Run | Exception | None = None  # result of the request for a run
        self._exit_code = 0
        self._num_dropped = 0
        self._stop = stop
        self._writer = guarded_thread(self._write, stop, name="wandb-writer", args=(mode,))

    def log(self, row: Mapping[str, float]) -> None:
        """Record one row; drop and count it if wandb is 10,000 rows behind."""
        wall_s = time.monotonic() - self._started
        with self._changed:
            if self._is_closing or len(self._rows) >= _MAX_ROWS_WAITING:
                self._num_dropped += 1
                return
            self._rows.append({**row, self._wall_axis: wall_s})
            self._changed.notify()

    def close(self, exit_code: int = 0) -> None:
        """Write the remaining rows and finish the run; gives up after a bounded time."""
        with self._changed:
            if self._is_closing:
                return
            self._is_closing = True
            self._exit_code = exit_code or int(self._stop.failure is not None)
            self._changed.notify_all()
        self._writer.join(_FINISH_TIMEOUT_S + _LAST_PATIENCE_S + 3.0)
        if self._writer.is_alive():
            log.warning("wandb did not finish in time; its files are under %s", self._directory)
        if self._num_dropped:
            log.warning("%d metric rows were lost: wandb was too slow or gone", self._num_dropped)

    def _write(self, mode: str) -> None:
        """Run the writer thread: make the run, pass rows on, finish."""
        with _SERVICE:
            _WRITERS.add(self)
        try:
            self._write_run(mode)
        finally:
            with _SERVICE:
                _WRITERS.discard(self)

    def _write_run(self, mode: str) -> None:
        run = self._start(mode)
        axes = ContinuedAxes(self._directory / "wandb", self._role, self._index)
        step: int | None = axes.num_rows
        while rows := self._next_rows():
            rows = [axes.continued(row) for row in rows]
            if run is not None:
                axes.save()
            for row in rows:
                run = _call(run, "log", self._pass_on, row, step)
                step = None  # from here on wandb counts
        _call(run, "finish", self._finish)

    def _pass_on(self, run: wandb.Run, row: Mapping[str, float], step: int | None) -> None:
        """Log ``row`` at wandb's step ``step``, which may already be higher on the server."""
        for metric in row.keys() - self._defined:
            axis = axis_of(metric, self._role)
            run.define_metric(metric, step_metric=axis, hidden=metric == axis)
            self._defined.add(metric)
        # numpy scalars cost wandb three times as much as plain numbers.
        plain = {k: v if type(v) in (int, float) else float(v) for k, v in row.items()}
        run.log(plain, step=None if step is None else max(step, run.step), commit=True)

    def _next_rows(self) -> list[dict[str, float]]:
        """Wait for rows; empty once closing and all are passed on."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._is_closing)
            rows = list(self._rows)
            self._rows.clear()
        return rows

    def _start(self, mode: str) -> wandb.Run | None:
        """Start a run in ``mode``, else offline, else not at all."""
        limit_environment()
        try:
            import wandb  # noqa: PLC0415  1.2 s and 44 MB: only for those who track

            self._directory.mkdir(parents=True, exist_ok=True)
        except Exception:
            log.exception("no metrics are recorded: wandb cannot start")
            return None
        run = self._start_online(wandb) if mode == "online" else None
        try:
            run = run or self._init(wandb, "offline")
        except Exception as error:
            log.warning("no metrics are recorded: wandb offline mode failed: %s", error)
            return None
        folder = _folder_of(run)
        log.info("wandb %s: group %s, id %s, files in %s", _mode(run), run.group, run.id, folder)
        if mode == "online" and _mode(run) == "offline":
            self._note_not_uploaded(folder)
        return run

    def _start_online(self, module: Any) -> wandb.Run | None:  # noqa: ANN401  the wandb module
        """Ask for an online run in a thread, because the answer may take arbitrarily long."""
        guarded_thread(self._ask_online, self._stop, name="wandb-init", args=(module,))
        with self._changed:
            self._changed.wait_for(
                lambda: self._online is not None or self._is_closing, _ONLINE_PATIENCE_S
            )
            self._changed.wait_for(lambda: self._online is not None, _LAST_PATIENCE_S)
            answer = self._online = self._online or TimeoutError("no answer from the server")
        if not isinstance(answer, Exception):
            return answer
        log.warning("wandb online mode failed: %s", answer)
        # The id may be taken: by the run the server was asked for, and in wandb's service.
        self._identity["id"] += "-offline"
        return None

    def _ask_online(self, module: Any) -> None:  # noqa: ANN401  the wandb module
        answer: wandb.Run | Exception
        try:
            answer = self._init(module, "online")
        except Exception as error:
            answer = error
        with self._changed:
            is_late = self._online is not None
            self._online = self._online or answer
            self._changed.notify_all()
        if is_late and not isinstance(answer, Exception):
            _call(answer, "finish", lambda run: run.finish())

    def _init(self, module: Any, mode: str) -> wandb.Run:  # noqa: ANN401  the wandb module
        is_learner = self._role == "learner"
        settings = module.Settings(
            silent=True,
            symlink=False,
            console="off",
            disable_git=True,
            host=socket.gethostname()[:64],
            init_timeout=30.0,
            finish_timeout=_FINISH_TIMEOUT_S,
            finish_timeout_raises=True,
            # Only one process of a run reports the machine's state.
            x_disable_stats=not is_learner,
            x_disable_machine_info=not is_learner,
            x_save_requirements=is_learner,
        )
        run: wandb.Run = module.init(
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",  # an online one may still be waiting for its server
            dir=str(self._directory),
            config=self._config,
            tags=self._tags,
            settings=settings,
            **self._identity,
        )
        return run

    def _finish(self, run: wandb.Run) -> None:
        folder = _folder_of(run)
        try:
            run.finish(exit_code=self._exit_code)
        except TimeoutError:
            self._note_not_uploaded(folder)
            return
        with _SERVICE:
            if run.offline and {self} == _WRITERS:
                import wandb  # noqa: PLC0415  imported long ago

                # finish returns before wandb's service has written all rows: of 40 files read at
                # once on a busy machine 10 were cut short, with this none. Costs 0.2 s; close
                # waits no longer than for finish.
                wandb.teardown()

    def _note_not_uploaded(self, folder: Path) -> None:
        """Report, here and for the launcher's last lines, a run that is on disk only."""
        log.warning("not uploaded: wandb sync %s", shlex.quote(str(folder)))
        listed_in = self._directory / "wandb"
        # Relative to the list: the run folder may be moved before it is uploaded.
        listed = folder.relative_to(listed_in) if folder.is_relative_to(listed_in) else folder
        with (listed_in / NOT_UPLOADED_FILE).open("a") as file:
            file.write(f"{listed}\n")


def _folder_of(run: wandb.Run) -> Path:
    return Path(run.settings.sync_dir)


def _mode(run: wandb.Run) -> str:
    return "offline" if run.offline else "online"


def _call(
    run: wandb.Run | None, what: str, action: Callable[..., None], *args: object
) -> wandb.Run | None:
    """Do something with ``run`` and return it, or None once its service is gone."""
    if run is None:
        return None
    try:
        action(run, *args)
    except Exception as error:
        log.warning("wandb %s failed: %r", what, error)
        return None if isinstance(error, ConnectionError) else run
    return run
