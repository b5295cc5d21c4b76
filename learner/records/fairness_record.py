"""Counts for comparing runs: the ages of data trained on, and data that was never used.

Filled by the learner's loop and by the thread that follows replay. The run's fairness stamp is made
from the file at the end of the run.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from efficientzero.config import Config
from efficientzero.runs.results.fairness_stamp import FAIRNESS_FILE
from efficientzero.schema import I64
from replay.format import TrainingBatch
from replay.info import ReplayCounts


class FairnessRecord:
    """Counts in memory, in checkpoints, and at the end in ``fairness.npz`` in the run folder.

    ``weight_ages`` and ``target_ages``, i64 [total_train_steps + 1]: how many of the slices
    trained on had actions chosen, and values bootstrapped, with weights of that age in
    train_steps. ``pace``, i64 [2]: train_steps and env_steps when a batch was last trained on
    during collection. ``replay``, i64 [4]: env_steps inserted, held now, ever sampled, and
    training batches queued; -1 where not known.
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        *,
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        """Count from zero.

        Args:
            directory: the run folder.
            config: the run's.
            check_lease: raises if another process owns the folder now.
        """
        self._check_lease = check_lease
        self._path = directory / FAIRNESS_FILE
        self._env_steps_budget = config.budget.env_steps
        self._lock = threading.Lock()
        length = config.budget.total_train_steps + 1
        self._counts: dict[str, I64] = {
            "weight_ages": np.zeros(length, np.int64),
            "target_ages": np.zeros(length, np.int64),
            "pace": np.zeros(2, np.int64),
            "replay": np.full(4, -1, np.int64),
        }

    def begin(self) -> None:
        """Remove the file of an earlier learner, which would not fit the coming steps.

        Raises:
            OSError: the file cannot be removed.
            Fenced: another process owns the folder.
        """
        self._check_lease()
        self._path.unlink(missing_ok=True)

    def add_batch(self, batch: TrainingBatch, train_steps: int, env_steps: int) -> None:
        """Count a batch that was trained on.

        Args:
            batch: the batch.
            train_steps: made so far, including this one.
            env_steps: completed so far.
        """
        with self._lock:
            for name, versions in (
                ("weight_ages", batch.weights_versions),
                ("target_ages", batch.target_weights_versions),
            ):
                counts = self._counts[name]
                np.add.at(counts, np.clip(train_steps - versions, 0, len(counts) - 1), 1)
            if env_steps < self._env_steps_budget:
                self._counts["pace"][:] = train_steps, env_steps

    def set_replay_counts(self, counts: ReplayCounts) -> None:
        """Store the replay service's counters."""
        with self._lock:
            self._counts["replay"][:] = (
                counts.steps_inserted,
                counts.num_steps,
                counts.unique_steps_sampled,
                counts.batches_inserted,
            )

    def state(self) -> dict[str, torch.Tensor]:
        """Return a copy for a checkpoint."""
        with self._lock:
            return {name: torch.tensor(counts) for name, counts in self._counts.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from a checkpoint of the same run."""
        with self._lock:
            for name, counts in self._counts.items():
                counts[:] = state[name].numpy()

    def save(self) -> None:
        """Write the file completely or not at all.

        Raises:
            OSError: the write failed.
            Fenced: another process owns the folder.
        """
        packed = io.BytesIO()  # on a full disk numpy's zip file would print another traceback
        with self._lock:
            np.savez_compressed(packed, **self._counts)
        temporary = self._path.with_suffix(".tmp")
        self._check_lease()
        temporary.write_bytes(packed.getvalue())
        os.replace(temporary, self._path)
