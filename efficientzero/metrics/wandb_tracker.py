"""Metric rows to Weights & Biases: one run per process, written by a thread of its own.

Made by ``make_tracker``; the only module that imports wandb. wandb can raise from every call and
block for minutes when its service or the network is gone, so the caller only ever touches a
bounded list; the writer thread does the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from efficientzero.naming import run_name

if TYPE_CHECKING:
    import wandb

AXES = {
    "learner": "learner/train_steps",
    "actor": "actor/env_steps",
    "reanalyzer": "reanalyzer/train_steps",
    "replay": "replay/steps_inserted",
    "eval": "eval/train_steps",
}
"""First part of a metric's name -> what it is drawn over. A row holds its axis too."""

_MAX_LENGTHS = {"group": 128, "name": 128, "job_type": 64, "id": 128, "project": 128}
"""Characters the server takes. Nothing checks this before the upload: too late for offline runs."""
_MAX_ROWS_WAITING = 256
_FINISH_TIMEOUT_S = 10.0
"""For the last upload. Less than a stopped process has before it is ended; the files stay."""

_INHERITED = (
    "WANDB_NAME",
    "WANDB_RESUME",
    "WANDB_RUN_GROUP",
    "WANDB_RUN_ID",
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
)
"""Would make this process part of somebody else's run (a parent's, a sweep agent's)."""

_BOUNDS = {
    # Without these, init without a network takes 33 minutes; as Settings they come too late.
    "WANDB__GRAPHQL_RETRY_MAX": "4",
    "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "5",
    "WANDB_HTTP_TIMEOUT": "10",
    "WANDB__DISABLE_VIEWER": "true",
    "WANDB_ERROR_REPORTING": "false",
}

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
        incarnation: int = 0,
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
        _check_lengths(self._identity)
        facts = {"seed": seed, "role": role, "role_index": index, "run_uid": run_uid}
        self._config = {**config, **facts, "incarnation": incarnation}
        self._directory = directory
        self._role = role
        self._rows: deque[dict[str, float]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._exit_code = 0
        self._num_dropped = 0
        self._writer = threading.Thread(
            target=self._write, args=(mode,), name="wandb-writer", daemon=True
        )
        self._writer.start()

    def log(self, row: Mapping[str, float]) -> None:
        """Record one row; when wandb lags 256 rows behind, lose it and count that."""
        with self._changed:
            if self._is_closing or len(self._rows) >= _MAX_ROWS_WAITING:
                self._num_dropped += 1
                return
            self._rows.append(dict(row))
            self._changed.notify()

    def close(self, exit_code: int = 0) -> None:
        """Write the rows that wait and finish the run; gives up after a bounded time."""
        with self._changed:
            if self._is_closing:
                return
            self._is_closing = True
            self._exit_code = exit_code
            self._changed.notify()
        self._writer.join(_FINISH_TIMEOUT_S + 3.0)
        if self._writer.is_alive():
            log.warning("wandb did not finish in time; its files are under %s", self._directory)
        if self._num_dropped:
            log.warning("%d metric rows were lost: wandb was too slow or gone", self._num_dropped)

    def _write(self, mode: str) -> None:
        """Run the writer thread: make the run, pass rows on, finish."""
        run = self._start(mode)
        while rows := self._next_rows():
            for row in rows:
                run = _call(run, "log", _log, row)
        _call(run, "finish", lambda run: run.finish(exit_code=self._exit_code))

    def _next_rows(self) -> list[dict[str, float]]:
        """Wait for rows; empty once closing and all are passed on."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._is_closing)
            rows = list(self._rows)
            self._rows.clear()
        return rows

    def _start(self, mode: str) -> wandb.Run | None:
        """Start a run in ``mode``, else offline, else not at all."""
        for name in _INHERITED:
            os.environ.pop(name, None)
        for name, value in _BOUNDS.items():
            os.environ.setdefault(name, value)
        try:
            import wandb  # noqa: PLC0415  1.2 s and 44 MB: only for those who track

            self._directory.mkdir(parents=True, exist_ok=True)
        except Exception:
            log.exception("no metrics are recorded: wandb cannot start")
            return None
        for attempt in dict.fromkeys((mode, "offline")):
            try:
                run = self._init(wandb, attempt)
                break
            except Exception as error:
                log.warning("wandb %s mode failed: %s", attempt, error)
                # The service keeps the id of a failed init ("run ID ... is in use"): start it anew.
                with contextlib.suppress(Exception):
                    wandb.teardown()
        else:
            log.warning("no metrics are recorded")
            return None
        _call(run, "define_metric", _define_axes)
        log.info("wandb %s: group %s, id %s", attempt, run.group, run.id)
        return run

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
            # One process of a run tells about the machine.
            x_disable_stats=not is_learner,
            x_disable_machine_info=not is_learner,
            x_save_requirements=is_learner,
        )
        run: wandb.Run = module.init(
            mode=mode,
            resume="allow" if mode == "online" else None,
            dir=str(self._directory),
            config=self._config,
            settings=settings,
            **self._identity,
        )
        return run


def _define_axes(run: wandb.Run) -> None:
    for axis in sorted(set(AXES.values())):
        run.define_metric(axis, hidden=True)
    for prefix, axis in AXES.items():
        run.define_metric(f"{prefix}/*", step_metric=axis)


def _log(run: wandb.Run, row: Mapping[str, float]) -> None:
    # numpy scalars cost wandb three times as much as plain numbers.
    run.log({k: v if type(v) in (int, float) else float(v) for k, v in row.items()})


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


def _check_lengths(identity: Mapping[str, str]) -> None:
    for key, limit in _MAX_LENGTHS.items():
        if not 0 < len(identity[key]) <= limit:
            raise ValueError(
                f"wandb {key}: got {len(identity[key])} characters ({identity[key]!r}), "
                f"wanted 1 to {limit}"
            )
