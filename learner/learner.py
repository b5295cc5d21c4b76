"""The learner's loop: batch -> loss -> update -> priorities -> publish -> log -> save.

The loop submits work to the device and continues. The host reads the results of a train_step,
above all its priorities, once they are ready: on a GPU a step or two later, on a CPU at once.

Built by ``learner.__main__``, which hands in everything that talks to other processes.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from efficientzero.metrics import ProcessUsage, Pulse, SectionTimer
from efficientzero.process.runtime import PlainError, WaitReason, seed_sequence
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.runs.run_folder import RunInfo
from learner.batches import BatchChecks, BatchFeeder, BatchLoader, Freshness, ReadyBatch
from learner.parts import LearnerParts, TrainingObserver
from learner.records import PriorityFeedback
from learner.training import (
    End,
    Idle,
    Progress,
    TrainingDiverged,
    TrainState,
    Update,
    Updater,
    UpdateStatistics,
    eval_values,
    local_targets,
    make_optimizer,
    seeded_network,
    training_statistics,
)
from learner.training.losses import LossInput
from learner.weights import Publishing
from replay.format import TrainingBatch

_WAIT_S = 0.5
_SAVE_EVERY_S = 600.0
_MOST_STEPS_AHEAD = 2
"""Most train_steps submitted ahead of the running one: enough to keep a GPU busy."""

log = logging.getLogger(__name__)


class _PendingStep(NamedTuple):
    """A submitted train_step whose results are not on the host yet."""

    update: Update
    batch: TrainingBatch
    overflow_share: float


class Learner:
    """Trains one network on the batches that reanalyzers queue."""

    def __init__(self, run: RunInfo, parts: LearnerParts, observer: TrainingObserver) -> None:
        """Build network and optimiser from the run's seed."""
        self._run, self._config, self._observer = run, run.config, observer
        self._governor, self._publisher, self._ranks = parts.governor, parts.publisher, parts.ranks
        self._saver, self._tracker, self._stop = parts.saver, parts.tracker, parts.stop
        self._timer, self._usage = SectionTimer("learner"), ProcessUsage("learner")
        self.pulse = Pulse(self._timer, "train_steps/s")
        """Rate and current wait, sent with heartbeats."""
        self.network = seeded_network(run).to(parts.device).train()
        self._optimizer = make_optimizer(self.network, self._config)
        trained = (self.network, self._optimizer, self._config)
        targets = local_targets(self.network, self._config)
        self._updater = Updater(*trained, self._timer, ranks=self._ranks, targets=targets)
        live_weights = self.network.inference_state_dict()  # training keeps their addresses
        self._publishing = Publishing(live_weights, self._config, self._publisher, parts.members)
        seeds = seed_sequence(self._config.seed, "learner", 0, 1)
        self.loader = BatchLoader(self._config, run.env_spec, parts.device, seeds)
        """Makes loss inputs of training batches."""
        sink = parts.priorities
        self._priorities = None if sink is None else PriorityFeedback(self._config, sink)
        self.training = TrainState(
            self.network,
            self._optimizer,
            targets=targets,
            copies=self._publishing.copies,
            others={
                "loader": self.loader,
                "target_lag": self._publishing.target_lag,
                "priorities": self._priorities,
            },
        )
        """The part of training that a checkpoint saves; restored before ``run``."""
        largest_target = self.network.support.largest
        checks = BatchChecks(self._config, run.env_spec, largest_target=largest_target)
        self._feeder = BatchFeeder(parts.batches, checks, self.loader, self._stop)
        self._freshness, self._progress = Freshness(self._config), Progress(self._config)
        self._pending: deque[_PendingStep] = deque()  # oldest first
        self._saved_at, self._save_is_due = time.monotonic(), False
        self._steps = UpdateStatistics(self._config.learner.max_grad_norm)

    @property
    def train_step(self) -> int:
        """Train_steps made so far."""
        return self.training.train_step

    def run(self) -> None:
        """Train until the budget is spent or a stop is requested; save in either case.

        Raises:
            TrainingDiverged: after saving the state before the step that failed.
            TargetsBeyondSupport: after saving the same.
            TrainingCollapsed: after saving the newest state.
        """
        self._publish(weights_pb2.LATEST)
        self._publishing.wait()
        total = self._config.budget.total_train_steps
        self._progress.begin_at(self.train_step)
        self.training.broadcast(self._ranks)
        try:
            # A run resumed at the end of its budget has nothing to wait for.
            if self.train_step < total:
                self._feeder.start()
                with self._timer.section("wait_warmup"):
                    has_begun = self._wait_for_pace("warm-up to end")
                if has_begun:
                    self._start_training()
            while not self._stop.is_set() and self.train_step < total:
                self._advance()
            self._finish_updates(most_left=0)
            self._publishing.wait()
            self._ranks.send_command(End())
        except PlainError:
            self._ranks.send_command(End())
            raise
        finally:
            self._feeder.close()
            self.save(wait=True)
        if not self._stop.is_set():
            self._publish(weights_pb2.LATEST, weights_pb2.TARGET)
            self._publishing.wait()
            log.info("trained %d steps: the budget is spent", self.train_step)

    def other_ranks_seconds(self) -> float:
        """Return the CPU-seconds of the processes on further devices; from any thread."""
        return self._ranks.others_seconds()

    def save(self, *, wait: bool) -> None:
        """Write a checkpoint of the current state; without ``wait`` in the background."""
        state = {
            **self.training.state(),
            "env_steps": self._governor.env_steps,
            "run_uid": self._run.run_uid,
            "config_hash": self._run.config_hash,
            **self._observer.extra_state(),
        }
        if self._saver.save(state, wait=wait):
            self._saved_at, self._save_is_due = time.monotonic(), False

    def _advance(self) -> None:
        """Make one train_step once pace and data allow it."""
        self._check_health()
        with self._timer.section("wait_pace"):
            if not self._wait_for_pace("the pace"):
                return
        with self._timer.section("wait_batch"):
            ready = self._next_batch()
        if ready is None:
            return
        with self._timer.section("augment"):
            inputs = self.loader.load(ready.sent, self.train_step)
        is_logged = (self.train_step + 1) % self._config.learner.log_interval == 0
        with self._timer.section("share"):
            part = self._ranks.share(inputs, self.train_step, measure=is_logged)
        with self._timer.section("log"):
            evaluated = eval_values(self.network, inputs, self._config) if is_logged else None
        update = self._updater.step(part, self.train_step, measure=is_logged)
        self._pending.append(_PendingStep(update, ready.batch, ready.overflow_share))
        self._finish_updates(most_left=_MOST_STEPS_AHEAD)
        self.training.train_step += 1
        self.pulse.work, self.pulse.weights_train_step = self.pulse.work + 1, self.train_step
        with self._timer.section("publish"):
            self._publishing.train_step_made(self.train_step)
        # After publishing: a process that proceeds because of this step finds its weights published
        # or about to be; in a deterministic run they are published already.
        self._governor.train_step_completed(self.train_step)
        self._after_step(ready.batch)
        if evaluated is not None:
            self._log(ready.batch, inputs, update, evaluated)

    def _check_health(self) -> None:
        """Raise errors of background threads; called in every wait."""
        self._publishing.check()
        self._observer.check_health()

    def _finish_updates(self, *, most_left: int) -> None:
        """Process ready results, and wait until at most ``most_left`` are pending."""
        while self._pending:
            oldest = self._pending[0]
            if len(self._pending) <= most_left and not oldest.update.readback.is_ready():
                return
            self._pending.popleft()
            try:
                with self._timer.section("device"):
                    result = self._updater.finish(oldest.update)
            except TrainingDiverged:
                # No update was made after non-finite numbers: the weights are those of this step.
                self.training.train_step = oldest.update.train_step
                self._pending.clear()
                raise
            overflow = oldest.overflow_share
            self._steps.add(result.grad_norm, is_skipped=result.is_skipped, overflow_share=overflow)
            if self._priorities is not None:
                with self._timer.section("priorities"):
                    self._priorities.update(
                        oldest.batch, result.priorities, oldest.update.train_step
                    )
                    self._observer.got_priorities(float(result.priorities.max()))

    def _wait_for_pace(self, what: str) -> bool:
        reason = WaitReason(what)
        while not self._stop.is_set():
            if self._governor.wait_to_train(self.train_step, _WAIT_S, self._stop):
                return True
            reason.tick(self._governor.why_waiting())
            self._ranks.send_command(Idle())
            self._check_health()
        return False

    def _next_batch(self) -> ReadyBatch | None:
        reason = WaitReason("a training batch from the reanalyzers")
        while not self._stop.is_set():
            ready = self._feeder.get(timeout_s=_WAIT_S)
            if ready is not None and self._freshness.admits(ready.batch, self.train_step):
                self._governor.set_waiting_for("")
                return ready
            self._governor.set_waiting_for("training batch from the reanalyzers")
            self._ranks.send_command(Idle())
            self._check_health()
            reason.tick(self._freshness.detail())
        return None

    def _after_step(self, batch: TrainingBatch) -> None:
        learner, step = self._config.learner, self.train_step
        self._observer.trained_on(batch, step, self._governor.env_steps)
        is_old = time.monotonic() - self._saved_at > _SAVE_EVERY_S
        self._save_is_due |= is_old or step % learner.checkpoint_interval == 0
        # After the last step ``run`` saves checkpoint and snapshot itself.
        is_last = step >= self._config.budget.total_train_steps or self._stop.is_set()
        if self._save_is_due and not is_last:
            self._finish_updates(most_left=0)
            with self._timer.section("checkpoint"):
                self._publishing.wait()  # or it would save outdated target weights
                self.save(wait=False)

    def _start_training(self) -> None:
        if self._publisher.newest(weights_pb2.TARGET) is None:
            self._publish(weights_pb2.TARGET)
            self._publishing.wait()
            # Save the warm-up's data before training on them.
            self.save(wait=False)

    def _publish(self, *kinds: weights_pb2.WeightsKind) -> None:
        self._publishing.publish(*kinds, train_step=self.train_step)

    def _log(
        self, batch: TrainingBatch, inputs: LossInput, update: Update, evaluated: Tensor
    ) -> None:
        with self._timer.section("log"):
            # First: it waits for all submitted work, so the steps below need not.
            statistics = training_statistics(
                self.train_step, batch, inputs, update, self.network, evaluated=evaluated
            )
        self._finish_updates(most_left=0)
        with self._timer.section("log"):
            self._log_row(batch, statistics)

    def _log_row(self, batch: TrainingBatch, statistics: Mapping[str, float]) -> None:
        row = {
            **self._progress.row(
                self.train_step,
                self._governor.env_steps,
                batch_bytes=sum(field.nbytes for field in batch),
                bytes_sent=self._publisher.bytes_sent,
            ),
            "learner/stale_batches": self._freshness.take_count(),
            "learner/lr": self._optimizer.param_groups[0]["lr"],
            **self._steps.row(),
            **(self._priorities.row(self.train_step) if self._priorities else {}),
            **statistics,
            **self._publishing.row(),
            **self._feeder.row(),
            **self._usage.row(),
            **self._timer.row(),
        }
        self._tracker.log(row)
        self._observer.logged(row)
