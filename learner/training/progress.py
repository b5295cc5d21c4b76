"""How much the learner has trained, and how fast: the metrics that need no batch.

Held by the learner's loop.
"""

from __future__ import annotations

from efficientzero.config import Config
from efficientzero.metrics import Interval


class Progress:
    """Steps made, and rates since the previous row."""

    def __init__(self, config: Config) -> None:
        """Start measuring rates now."""
        self._batch_size = config.learner.batch_size
        self._warmup = config.budget.warmup_env_steps
        self._interval = Interval()

    def begin_at(self, train_step: int) -> None:
        """Count steps from ``train_step`` on, for example after loading a checkpoint."""
        self._interval.restart(train_steps=train_step)

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
        _, per_s = self._interval.restart(train_steps=train_step, weights_bytes=bytes_sent)
        rate = per_s["train_steps"]
        return {
            "learner/train_steps": train_step,
            "learner/train_steps_per_s": rate,
            "learner/samples_per_s": rate * self._batch_size,
            "learner/batch_bytes_per_s": rate * batch_bytes,
            "learner/weights_bytes_per_s": per_s["weights_bytes"],
            "learner/env_steps": env_steps,
            "learner/train_steps_per_env_step": train_step / max(1, env_steps - self._warmup),
            "learner/replay_ratio": train_step * self._batch_size / max(1, env_steps),
        }
