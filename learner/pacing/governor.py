"""Who waits for env_steps or train_steps, and who gets them when.

The run service calls it for actors, the learner for itself. It consists of counters (``counts``)
and a queue behind one lock, and is independent of gRPC, replay and the network.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from efficientzero.config import Config
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Grant, Phase
from learner.pacing.actors import Actor, Actors, Ticket
from learner.pacing.counts import Counts
from learner.pacing.pace import Pace

_LOOK_S = 0.5
"""Seconds between a waiting thread's checks whether its answer is still needed."""

log = logging.getLogger(__name__)


class Governor:
    """Grants env_steps to actors and train_steps to the learner; safe to call from any thread.

    ``Pace`` has the rules, and the proof that they cannot deadlock. Requests for env_steps are
    answered in order of arrival. The first in line gets its whole share as soon as there is room
    for it, which keeps an actor's search batch full; at its deadline it gets the room there is.

    Env_steps count when an actor reports them. Env_steps that an actor played but did not report
    before it died count as not played. Env_steps held by an actor that left are granted to others.
    """

    def __init__(
        self,
        config: Config,
        *,
        note_env_steps: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Start before the first env_step; raise ValueError for an impossible budget.

        Args:
            config: the run's.
            note_env_steps: called with the completed env_steps whenever they grow; must not block.
        """
        self.pace = Pace.from_config(config)
        """The run's budgets and rules."""
        self._note_env_steps = note_env_steps
        self._lock = threading.Lock()
        self._completed_grew = threading.Condition(self._lock)
        # All below: under the lock.
        self._actors = Actors(config.most_envs)  # a turn of all its environments
        self._counts = Counts(self.pace, self._actors)
        self._queue: deque[Ticket] = deque()
        self._learner_waits_for = ""
        self._paused_by = ""  # if set, nothing is granted

    def restore(self, *, env_steps: int, train_steps: int) -> None:
        """Continue from a checkpoint's counters; call it before the first request.

        Raises:
            ValueError: counters beyond the budget, or the run has begun.
        """
        with self._lock:
            self._counts.restore(env_steps=env_steps, train_steps=train_steps)

    @property
    def env_steps(self) -> int:
        """Completed env_steps."""
        return self._counts.env_steps

    @property
    def env_steps_granted(self) -> int:
        """Env_steps completed or held by actors."""
        with self._lock:
            return self._counts.granted

    @property
    def train_steps(self) -> int:
        """Train_steps made."""
        return self._counts.train_steps

    @property
    def phase(self) -> Phase:
        """The run's phase."""
        with self._lock:
            return self._counts.phase()

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
        """Count an actor's completed env_steps and wait up to ``wait_s`` seconds for a grant.

        Repeating a request number joins the first call or repeats its answer: nothing is counted or
        granted twice. A new incarnation of an index frees the env_steps held by the previous one.
        After ``restore`` an earlier actor may continue, and the env_steps it completed count.

        Args:
            actor_index: the actor's index.
            incarnation: any number that no other process of this index has.
            request: 1, 2, 3, ... within the incarnation.
            completed: env_steps finished since the last request.
            wanted: env_steps asked for; 0 only reports and does not wait.
            wait_s: longest wait, seconds.
            given_up: returns true once the answer is no longer needed; called twice a second.

        Raises:
            ValueError: a negative count, more completed than held, a request out of order, or from
                an actor process that has been replaced.
        """
        if min(actor_index, completed, wanted) < 0:
            raise ValueError(
                f"actor_index, completed, wanted: got {(actor_index, completed, wanted)}, "
                "wanted none negative"
            )
        deadline = time.monotonic() + wait_s
        with self._lock:
            ticket = self._enter(actor_index, incarnation, request, completed, wanted)
        while not ticket.answered.wait(max(0.0, min(_LOOK_S, deadline - time.monotonic()))):
            nobody_listens = given_up()
            if nobody_listens or time.monotonic() >= deadline:
                with self._lock:
                    self._answer_now(ticket, withdraw=nobody_listens)
        assert ticket.grant is not None
        return ticket.grant

    def forget(self, actor_index: int, incarnation: int) -> None:
        """Free the env_steps held by an actor process that is gone; its successor keeps its own.

        If the process comes back, it is refused like one that was replaced.
        """
        with self._lock:
            self._actors.replaced.add((actor_index, incarnation))
            actor = self._actors.by_index.get(actor_index)
            if actor is None or actor.incarnation != incarnation:
                return
            if actor.held:
                log.info("actor %d is gone; %d env_steps it held are free", actor_index, actor.held)
            self._retire(actor_index)
            self._serve()

    def may_train(self, train_step: int) -> bool:
        """Return whether train_step ``train_step`` (counted from 0) may be made now."""
        with self._lock:
            return self._may_train(train_step)

    def wait_to_train(self, train_step: int, timeout_s: float, stop: StopSignal) -> bool:
        """Wait until ``train_step`` may be made; return False after ``timeout_s`` or on stop."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while self._paused_by or not self._may_train(train_step):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or stop.is_set():
                    return False
                self._completed_grew.wait(min(left_s, _LOOK_S))
        return not stop.is_set()

    def train_step_completed(self, train_steps: int) -> None:
        """Report that train_step ``train_steps - 1`` is made, so ``train_steps`` in all.

        Raises:
            ValueError: one was left out, reported twice, or is beyond the budget.
        """
        with self._lock:
            self._counts.add_train_step(train_steps)
            self._serve()

    def collect_more_if_stuck(self) -> bool:
        """Let collection run further ahead by the slack, if actors wait and none plays.

        For a replay that has nothing to train on yet: when the pace stops the actors, all of them
        can be inside their first episodes, or before the last env_step, which waits for the paired
        train_steps. Returns whether collection was stuck.
        """
        with self._lock:
            is_waiting = bool(self._queue) and not self._actors.held and not self._room()
            is_stuck = is_waiting and not self._paused_by
            if is_stuck and not self._counts.is_all_granted:
                self._counts.let_collection_run_ahead()
                self._serve()
            return is_stuck

    def pause(self, why: str) -> None:
        """Grant neither env_steps nor train_steps while ``why`` is set; reports still count."""
        with self._lock:
            self._paused_by = why
            if not why:
                self._completed_grew.notify_all()
                self._serve()

    @property
    def paused_by(self) -> str:
        """Reason why nothing is granted; empty if there is none."""
        return self._paused_by

    def set_waiting_for(self, what: str) -> None:
        """Set the learner's wait other than for the pace; empty if there is none."""
        self._learner_waits_for = what

    def why_waiting(self) -> str:
        """Return the learner's current wait in a few words; empty while it trains."""
        with self._lock:
            if self._paused_by:
                return self._paused_by
            next_step = self._counts.train_steps
            if next_step < self.pace.total_train_steps and self._may_train(next_step):
                return self._learner_waits_for
            return self._counts.missing_env_steps()

    # Everything below is called under the lock.

    def _may_train(self, train_step: int) -> bool:
        return self._counts.may_train(train_step)

    def _room(self) -> int:
        return self._counts.room()

    def _actor(self, index: int, incarnation: int) -> Actor:
        actor = self._actors.find(index, incarnation)
        if actor is None:
            before = self._actors.by_index.get(index)
            if before is not None:
                log.info(
                    "actor %d started again; %d env_steps it held are free", index, before.held
                )
                self._retire(index)
            actor = self._actors.add(index, incarnation)
            self._serve()
        return actor

    def _retire(self, index: int) -> None:
        actor = self._actors.remove(index)
        if actor.ticket is not None:
            self._answer_now(actor.ticket, withdraw=True)
        self._actors.held -= actor.held

    def _enter(
        self, index: int, incarnation: int, request: int, completed: int, wanted: int
    ) -> Ticket:
        actor = self._actor(index, incarnation)
        if actor.ticket is not None and request == actor.request:
            return actor.ticket
        left = self.pace.env_steps - self._counts.granted
        completed = self._actors.accept(index, request, completed, budget_left=left)
        if actor.ticket is not None:
            # An actor has one request at a time; an earlier, abandoned one is void.
            self._answer_now(actor.ticket, withdraw=True)
        self._counts.complete(actor, completed)
        ticket = Ticket(actor, wanted)
        actor.request, actor.ticket = request, ticket
        if wanted:
            self._queue.append(ticket)
        else:
            self._answer(ticket, 0)
        if completed:
            self._note_env_steps(self._counts.env_steps)
            self._completed_grew.notify_all()
        self._serve()
        return ticket

    def _serve(self) -> None:
        """Answer waiting requests whose whole share fits."""
        while self._queue:
            if self._paused_by and not self._counts.has_ended:
                return
            share = self._counts.share(self._queue[0].wanted)
            if not self._counts.has_ended and not 0 < share <= self._room():
                return
            self._answer(self._queue.popleft(), share)

    def _answer_now(self, ticket: Ticket, *, withdraw: bool) -> None:
        """Answer a request out of turn with the room there is, maybe none."""
        if ticket.answered.is_set():
            return
        self._queue.remove(ticket)
        is_void = withdraw or bool(self._paused_by)
        self._answer(ticket, 0 if is_void else min(self._counts.share(ticket.wanted), self._room()))
        self._serve()  # later requests moved up

    def _answer(self, ticket: Ticket, granted: int) -> None:
        ticket.grant = self._counts.grant(ticket.actor, granted)
        ticket.answered.set()
