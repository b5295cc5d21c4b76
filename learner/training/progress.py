"""How much the learner has trained, and how fast: the part of its metric row that needs no batch.

Held by the learner's loop.
"""

from __future__ import annotations

import time

from efficientzero.config import Config


class Progress:
    """Steps made, and rates since the row before."""

    def __init__(self, config: Config) -> None:
        """Measure the first rates from now on."""
        self._batch_size = config.learner.batch_size
        self._warmup = config.budget.warmup_env_steps
        self._logged_at, self._logged_step, self._logged_bytes = time.monotonic(), 0, 0

    def begin_at(self, train_step: int) -> None:
        """Count no step before ``train_step``, which a checkpoint may be of."""
        self._logged_step = train_step

    def row(
        self, train_step: int, env_steps: int, *, batch_bytes: int, bytes_sent: int
    ) -> dict[str, float]:
        """Return the metrics and begin the next interval.

        Args:
            train_step: train_steps made so far.
            env_steps: collected so far.
            batch_bytes: of one training batch.
            bytes_sent: of weights, so far.
        """
        now = time.monotonic()
        elapsed = now - self._logged_at
        rate = (train_step - self._logged_step) / elapsed
        row = {
            "learner/train_steps": train_step,
            "learner/train_steps_per_s": rate,
            "learner/samples_per_s": rate * self._batch_size,
            "learner/batch_bytes_per_s": rate * batch_bytes,
            "learner/weights_bytes_per_s": (bytes_sent - self._logged_bytes) / elapsed,
            "learner/env_steps": env_steps,
            "learner/train_steps_per_env_step": train_step / max(1, env_steps - self._warmup),
            "learner/replay_ratio": train_step * self._batch_size / max(1, env_steps),
        }
        self._logged_at, self._logged_step, self._logged_bytes = now, train_step, bytes_sent
        return row
