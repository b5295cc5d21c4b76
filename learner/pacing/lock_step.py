"""The pace of a deterministic run: one role works at a time; counters alone decide which.

Replaces the governor if ``cluster.deterministic`` is set. The run service calls it for actor and
reanalyzer, the learner for itself, all through the governor's methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from efficientzero.config import Config, is_published, next_evaluation
from efficientzero.schema import F64, U64, Grant
from learner.pacing.governor import Governor
from replay.steps import clip_priorities

_LOOK_S = 0.5


class Priorities(NamedTuple):
    """New priorities of the items of one batch."""

    keys: list[int]
    priorities: list[float]


class LockStepGovernor(Governor):
    """Gives the turn to the actor, or to reanalyzer and learner together.

    The actor plays a whole share of env_steps when rule 2 of ``Pace`` lets the learner make no
    train_step; nothing is granted before. Otherwise one batch and one train_step are made, while
    the actor holds no env_step and its steps are in replay. After collection the actor first sends
    its last episodes; it signals their end by a report that asks for no env_steps.

    So the counts at which steps are granted do not depend on the speed of processes. There is no
    deadlock: when the learner may not train, no actor holds a grant and ``Pace`` shows that rule 1
    has room for the share. Training also waits for each evaluation that is due; this changes no
    result, but the evaluator sees every set of weights that it has to evaluate.
    """

    def __init__(self, config: Config) -> None:
        """Start before the first env_step; raise ValueError for an impossible budget."""
        super().__init__(config)
        self.dropped_updates = 0
        """Always 0: priorities are delivered with the turn."""
        self._config = config
        # Under the lock:
        self._has_actor_left = False
        self._evaluation_due = next_evaluation(0, config.evaluator)
        self._awaited_evaluation: int | None = None  # train_step of its weights
        self._newest_evaluation = 0  # as reported, maybe before it is awaited
        self._priorities = Priorities([], [])

    def update(self, keys: U64, priorities: F64) -> None:
        """Keep new priorities [B] of the items ``keys`` [B] for the next batch's turn."""
        clipped = clip_priorities(priorities)
        with self._lock:
            self._priorities = Priorities(keys.tolist(), clipped.tolist())

    def acquire_env_steps(
        self,
        actor_index: int,
        *,
        incarnation: int,
        request: int,
        completed: int,
        wanted: int,
        wait_s: float,
        given_up: Callable[[], bool],
    ) -> Grant:
        """As the governor; after collection, a report without a request ends the actor's part."""
        grant = super().acquire_env_steps(
            actor_index,
            incarnation=incarnation,
            request=request,
            completed=completed,
            wanted=wanted,
            wait_s=wait_s,
            given_up=given_up,
        )
        if not wanted and grant.collection_ended:
            with self._lock:
                self._has_actor_left = True
                self._completed_grew.notify_all()
        return grant

    def wait_for_batch(
        self, train_step: int, wait_s: float, given_up: Callable[[], bool]
    ) -> Priorities | None:
        """Wait for the turn to make the batch of ``train_step``, counted from 0.

        Args:
            train_step: of the batch; a repeated request is granted again.
            wait_s: longest wait, seconds.
            given_up: returns true once the answer is no longer needed; called twice a second.

        Returns:
            The priorities of the previous batch, or None if it is not yet the turn.
        """
        deadline = time.monotonic() + wait_s
        with self._lock:
            while not self._may_train(train_step):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or given_up():
                    return None
                self._completed_grew.wait(min(left_s, _LOOK_S))
            return self._priorities

    def train_step_completed(self, train_steps: int) -> None:
        """Report that ``train_steps`` are made and that weights due after them are published."""
        super().train_step_completed(train_steps)
        with self._lock:
            is_last = train_steps == self.pace.total_train_steps  # the final evaluation's
            is_due = train_steps >= self._evaluation_due
            if (
                self._config.cluster.evaluator
                and is_published(train_steps, self._config.learner)
                and is_due
                and not is_last
            ):
                if train_steps != self._newest_evaluation:
                    self._awaited_evaluation = train_steps
                self._evaluation_due = next_evaluation(train_steps, self._config.evaluator)
            self._completed_grew.notify_all()

    def evaluation_reported(self, weights_version: int) -> None:
        """Report that the weights of train_step ``weights_version`` have been evaluated."""
        with self._lock:
            self._newest_evaluation = weights_version
            if weights_version == self._awaited_evaluation:
                self._awaited_evaluation = None
                self._completed_grew.notify_all()

    def why_waiting(self) -> str:
        """Return the learner's current wait in a few words; empty while it trains."""
        with self._lock:
            is_turn = self._pays_for_a_train_step() and not self._paused_by
            reason = self._not_yet() if is_turn else ""
        return reason or super().why_waiting()

    # Everything below is called under the lock.

    def _pays_for_a_train_step(self) -> bool:
        return self._counts.may_train(self._counts.train_steps)

    def _may_train(self, train_step: int) -> bool:
        is_next = train_step == self._counts.train_steps
        return is_next and self._pays_for_a_train_step() and not self._not_yet()

    def _not_yet(self) -> str:
        """Return who has the turn although there are env_steps for a train_step."""
        if self._actors.held:
            return f"the actor, which plays {self._actors.held} env_steps"
        if self._counts.has_ended and not self._has_actor_left:
            return "the actor's last episodes"
        if self._awaited_evaluation is not None:
            return f"the evaluation of train_step {self._awaited_evaluation}"
        return ""

    def _room(self) -> int:
        return 0 if self._pays_for_a_train_step() else super()._room()
