"""The learner's loop: batch -> loss -> update -> priorities -> publish -> log -> save.

The loop asks the device for work and goes on. What the host must know of a train_step, its
priorities above all, it takes when it is there: on a GPU a step or two later, on a CPU at once.

Built by ``learner.__main__``, which hands in everything that talks to other processes.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from efficientzero.metrics import Interval, ProcessUsage, Pulse, SectionTimer, Tracker
from efficientzero.process.runtime import (
    PlainError,
    StopSignal,
    WaitReason,
    seed_sequence,
)
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import TrainingBatch
from learner.batches import (
    BatchChecks,
    BatchFeeder,
    BatchLoader,
    BatchSource,
    Freshness,
    ReadyBatch,
)
from learner.pacing import Governor
from learner.records import (
    CheckpointSaver,
    PriorityFeedback,
    PrioritySink,
)
from learner.training import (
    Alone,
    End,
    Idle,
    Ranks,
    State,
    StepRecord,
    TrainingDiverged,
    Update,
    Updater,
    adopt_weights,
    eval_values,
    make_network,
    make_optimizer,
    training_statistics,
)
from learner.training.losses import LossInput
from learner.weights import Publishing, WeightPublisher

_WAIT_S = 0.5
_SAVE_EVERY_S = 600.0
_MOST_STEPS_AHEAD = 2
"""Train_steps the host may have asked for beyond one that is made: enough to keep a GPU busy."""

log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    """A train_step that the device was asked for, and what of its batch is needed after it."""

    update: Update
    batch: TrainingBatch
    overflow_share: float


class Learner:
    """Trains one network on the batches that reanalyzers queue."""

    def __init__(
        self,
        run: RunInfo,
        *,
        device: torch.device,
        batches: BatchSource,
        priorities: PrioritySink | None,
        publisher: WeightPublisher,
        governor: Governor,
        check_health: Callable[[], None],
        note_priorities: Callable[[float], None],
        note_batch: Callable[[TrainingBatch, int, int], None],
        saver: CheckpointSaver,
        further_state: Callable[[], dict[str, Any]],
        tracker: Tracker,
        stop: StopSignal,
        ranks: Ranks | None = None,
    ) -> None:
        """Build network and optimiser from the run's seed.

        Args:
            run: the run.
            device: where to train.
            batches: the training queue.
            priorities: back to replay; None where replay is uniform and has none.
            publisher: serves the weights.
            governor: keeps the pace.
            check_health: raises what went wrong in threads that serve others.
            note_priorities: takes the largest new priority of each batch.
            note_batch: takes each batch trained on, with the train_steps and env_steps made.
            saver: writes checkpoints.
            further_state: what else belongs into a checkpoint.
            tracker: metrics.
            stop: ends ``run``.
            ranks: those that train along; None: nobody.
        """
        self._run, self._config, self._device = run, run.config, device
        feedback = None if priorities is None else PriorityFeedback(self._config, priorities)
        self._priorities, self._publisher = feedback, publisher
        self._governor, self._tracker, self._stop = governor, tracker, stop
        self._check_record, self._note_priorities = check_health, note_priorities
        self._note_batch = note_batch
        self._timer, self._usage = SectionTimer("learner"), ProcessUsage("learner")
        self.pulse = Pulse(self._timer, "train_steps/s")
        """How training fares just now."""
        self.network = make_network(run).to(device).train()
        self._optimizer = make_optimizer(self.network, self._config)
        self._ranks: Ranks = ranks or Alone()
        self._updater = Updater(
            self.network, self._optimizer, self._config, self._timer, ranks=self._ranks
        )
        live_weights = self.network.inference_state_dict()  # training keeps their addresses
        self._publishing = Publishing(live_weights, self._config, publisher)
        seeds = seed_sequence(self._config.seed, "learner", 0, 1)
        self.loader = BatchLoader(self._config, run.env_spec, device, seeds)
        """Makes loss inputs of training batches."""
        largest_target = self.network.support.largest
        checks = BatchChecks(self._config, run.env_spec, largest_target=largest_target)
        self._feeder = BatchFeeder(batches, checks, self.loader, stop)
        self._freshness = Freshness(self._config)
        self._asked: deque[_Asked] = deque()  # oldest first
        self._saver, self._further_state = saver, further_state
        self._saved_at, self._save_is_due = time.monotonic(), False
        self._steps = StepRecord(self._config.learner.max_grad_norm)
        self._interval = Interval()
        self.train_step = 0
        """Train_steps made so far."""

    def run(self) -> None:
        """Train until the budget is spent or a stop is asked for; save in either case.

        Raises:
            TrainingDiverged: after saving what was there before the step that failed.
            TargetsBeyondSupport: as well.
        """
        self._publish(weights_pb2.LATEST)
        self._publishing.wait()
        total = self._config.budget.total_train_steps
        self._ranks.tell(State(self.network.state_dict(), self._optimizer.state_dict()))
        try:
            # Resumed at the end of its budget, nothing is left to wait for.
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
            self._ranks.tell(End())
        except PlainError:
            self._ranks.tell(End())
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

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; before ``run``."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.loader.load_state_dict(state["loader"])
        self._publishing.restore(state)
        if self._priorities is not None:
            self._priorities.restore(state["priorities"])
        self.train_step = state["train_step"]
        self._interval.restart(train_steps=self.train_step)

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Begin with the weights of another run's checkpoint; before ``run``."""
        adopt_weights(self.network, self._optimizer, state)
        self._publishing.adopt(state)
        self.train_step = state["train_step"]
        self._interval.restart(train_steps=self.train_step)

    def save(self, *, wait: bool) -> None:
        """Write a checkpoint of this moment; without ``wait`` in the background."""
        state = {
            "train_step": self.train_step,
            "env_steps": self._governor.env_steps,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            **self._publishing.state(),
            "priorities": self._priorities and self._priorities.state(),
            "run_uid": self._run.run_uid,
            "config_hash": self._run.config_hash,
            **self._further_state(),
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
        self._asked.append(_Asked(update, ready.batch, ready.overflow_share))
        self._finish_updates(most_left=_MOST_STEPS_AHEAD)
        self.train_step += 1
        self.pulse.work, self.pulse.weights_train_step = self.pulse.work + 1, self.train_step
        with self._timer.section("publish"):
            self._publishing.train_step_made(self.train_step)
        # Only now: whoever may go on with this step in the count finds its weights published, or
        # soon will; in a deterministic run already.
        self._governor.train_step_completed(self.train_step)
        self._after_step(ready.batch)
        if evaluated is not None:
            self._log(ready.batch, inputs, update, evaluated)

    def _check_health(self) -> None:
        """Raise what went wrong in threads; called in every wait."""
        self._publishing.check()
        self._check_record()

    def _finish_updates(self, *, most_left: int) -> None:
        """Take the results that are there, and wait until at most ``most_left`` are missing."""
        while self._asked:
            oldest = self._asked[0]
            if len(self._asked) <= most_left and not oldest.update.readback.is_ready():
                return
            self._asked.popleft()
            try:
                with self._timer.section("device"):
                    result = self._updater.finish(oldest.update)
            except TrainingDiverged:
                # Nothing was updated after numbers that are not finite: these are its weights.
                self.train_step = oldest.update.train_step
                self._asked.clear()
                raise
            self._steps.add(
                result.grad_norm,
                is_skipped=result.is_skipped,
                overflow_share=oldest.overflow_share,
            )
            if self._priorities is not None:
                with self._timer.section("priorities"):
                    self._priorities.update(
                        oldest.batch, result.priorities, oldest.update.train_step
                    )
                    self._note_priorities(float(result.priorities.max()))

    def _wait_for_pace(self, what: str) -> bool:
        reason = WaitReason(what)
        while not self._stop.is_set():
            if self._governor.wait_to_train(self.train_step, _WAIT_S, self._stop):
                return True
            reason.tick(self._governor.why_waiting())
            self._ranks.tell(Idle())
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
            self._ranks.tell(Idle())
            self._check_health()
            reason.tick(self._freshness.detail())
        return None

    def _after_step(self, batch: TrainingBatch) -> None:
        learner, step = self._config.learner, self.train_step
        self._note_batch(batch, step, self._governor.env_steps)
        is_old = time.monotonic() - self._saved_at > _SAVE_EVERY_S
        self._save_is_due |= is_old or step % learner.checkpoint_interval == 0
        # After the last step ``run`` saves at once, with its snapshot: one of each is enough.
        is_last = step >= self._config.budget.total_train_steps or self._stop.is_set()
        if self._save_is_due and not is_last:
            self._finish_updates(most_left=0)
            with self._timer.section("checkpoint"):
                self._publishing.wait()  # or it would hold target weights that are out of date
                self.save(wait=False)

    def _start_training(self) -> None:
        if self._publisher.newest(weights_pb2.TARGET) is None:
            self._publish(weights_pb2.TARGET)
            self._publishing.wait()
            # The warm-up's data are on disk before anything is learned from them.
            self.save(wait=False)

    def _publish(self, *kinds: weights_pb2.WeightsKind) -> None:
        self._publishing.publish(*kinds, train_step=self.train_step)

    def _log(
        self, batch: TrainingBatch, inputs: LossInput, update: Update, evaluated: Tensor
    ) -> None:
        with self._timer.section("log"):
            # First of all: it waits for all that was asked for, so that nothing else has to.
            statistics = training_statistics(
                self.train_step, batch, inputs, update, self.network, evaluated=evaluated
            )
        self._finish_updates(most_left=0)
        with self._timer.section("log"):
            self._log_row(batch, statistics)

    def _log_row(self, batch: TrainingBatch, statistics: Mapping[str, float]) -> None:
        bytes_sent = self._publisher.bytes_sent
        _, per_s = self._interval.restart(train_steps=self.train_step, weights_bytes=bytes_sent)
        rate = per_s["train_steps"]
        row = {
            "learner/train_steps": self.train_step,
            "learner/train_steps_per_s": rate,
            "learner/samples_per_s": rate * self._config.learner.batch_size,
            "learner/batch_bytes_per_s": rate * sum(field.nbytes for field in batch),
            "learner/weights_bytes_per_s": per_s["weights_bytes"],
            **self._pace(),
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

    def _pace(self) -> dict[str, float]:
        """Return how much was trained for what was collected, so far."""
        env_steps, warmup = self._governor.env_steps, self._config.budget.warmup_env_steps
        samples = self.train_step * self._config.learner.batch_size
        return {
            "learner/env_steps": env_steps,
            "learner/train_steps_per_env_step": self.train_step / max(1, env_steps - warmup),
            "learner/replay_ratio": samples / max(1, env_steps),
        }
