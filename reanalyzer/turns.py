"""When the reanalyzer of a deterministic run may make its next batch.

Returns the train_step of the target weights to use; wired up by ``reanalyzer.__main__``.
"""

from __future__ import annotations

from efficientzero.process.runtime import StopSignal, WaitReason
from efficientzero.rpc.run_client import RunClient
from replay.steps import OrderedSampler

_WAIT_S = 1.0


class BatchTurns:
    """One batch per train_step, alternating with the learner."""

    def __init__(self, run_client: RunClient, sampler: OrderedSampler, stop: StopSignal) -> None:
        """Start before train_step 0.

        Args:
            run_client: asks the learner.
            sampler: receives the priorities of the previous batch.
            stop: ends every wait.
        """
        self._run_client, self._sampler, self._stop = run_client, sampler, stop
        self._train_step = 0

    def next_target(self) -> int | None:
        """Wait for the next turn; return the target weights' train_step, or None on stop.

        Called once per batch.
        """
        reason = WaitReason("the turn to make a training batch", after_s=60.0)
        while not self._stop.is_set():
            turn = self._run_client.acquire_batch(self._train_step, wait_s=_WAIT_S)
            if turn is not None:
                self._sampler.update(turn.keys, turn.priorities)
                self._train_step += 1
                return turn.target_train_step
            reason.tick()
        return None
