"""Counters and axes that continue where the process's last start left them.

A process that is started again, by a restart or by ``--resume``, continues its wandb run, but
counts from 0, so its curves would go back over themselves. One small file per process in the
``wandb`` folder holds the last counts. Used by the tracker's thread; roles count from 0.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

from efficientzero.metrics.axes import wall_axis

_COUNTED_FROM_0 = (
    "actor/env_steps",
    "actor/episodes",
    "actor/sent_bytes",
    "evaluator/evaluations",
)
"""Axes that a process counts from its own start. Other roles know the run's count: the learner from
its checkpoint, reanalyzers and the evaluator from the learner."""
_RESTORED = ("replay/steps_inserted",)
"""Axes restored from a checkpoint, which may be older than the last row."""
_NUM_ROWS = "rows"

log = logging.getLogger(__name__)


class ContinuedAxes:
    """Counts of one process's earlier starts; use from one thread."""

    def __init__(self, folder: Path, role: str, index: int) -> None:
        """Read the file of ``role``-``index`` in ``folder``; without one all counts are 0."""
        self._path = folder / f"axes-{role}-{index}.json"
        self._added_to = (*_COUNTED_FROM_0, wall_axis(role))
        self._before = self._read()
        self._offsets = {name: self._before.get(name, 0.0) for name in self._added_to}
        self._last = dict(self._before)
        self._can_write = True
        self.num_rows = int(self._before.get(_NUM_ROWS, 0))
        """Rows logged by all starts: the next value of wandb's own step."""

    def continued(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return ``row`` with the counts of all starts, and count it."""
        continued = dict(row)
        for name in _RESTORED:
            if name in row and name not in self._offsets:
                self._offsets[name] = max(0.0, self._before.get(name, 0.0) - row[name])
        for name, offset in self._offsets.items():
            if name in row and offset:
                # Whole counts stay whole.
                total = row[name] + offset
                continued[name] = int(total) if isinstance(row[name], int) else total
        self._last |= {name: continued[name] for name in self._offsets if name in row}
        self.num_rows += 1
        return continued

    def save(self) -> None:
        """Write the counts; call it before the rows are passed on.

        A process killed in between leaves a gap in its axes, which is better than a step back.
        """
        temporary = self._path.with_name(f".{self._path.name}")
        try:
            temporary.write_text(json.dumps({**self._last, _NUM_ROWS: self.num_rows}))
            os.replace(temporary, self._path)
        except OSError as error:
            if self._can_write:
                log.warning("after a restart the axes of this process begin at 0: %s", error)
            self._can_write = False
        else:
            self._can_write = True

    def _read(self) -> dict[str, float]:
        try:
            values = json.loads(self._path.read_text())
            known = {str(name): float(value) for name, value in values.items()}
            if not all(math.isfinite(value) and value >= 0 for value in known.values()):
                raise ValueError(f"got {known}, wanted finite counts from 0")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("the axes of this process begin at 0: %s: %s", self._path, error)
            return {}
        return known
