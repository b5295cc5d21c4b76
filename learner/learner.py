"""The learner's loop: batch -> loss -> update -> priorities -> publish -> log -> save.

Built by ``learner.__main__``, which hands in everything that talks to other processes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from efficientzero.metrics.process_usage import ProcessUsage
from efficientzero.metrics.pulse import Pulse
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.metrics.tracker import Tracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.rpc import weights_pb2
from efficientzero.run_folder import RunInfo
from efficientzero.runtime import StopSignal, WaitReason, seed_sequence
from efficientzero.schema import F64, U64, TrainingBatch
from learner.batch_checks import BatchChecks
from learner.batch_loader import BatchLoader
from learner.governor import Governor
from learner.loss import LossInput
from learner.saver import CheckpointSaver
from learner.statistics import StepRecord, training_statistics
from learner.target_lag import TargetLag
from learner.update import Updater, UpdateResult, make_optimizer
from learner.weight_server import WeightPublisher

_WAIT_S = 0.5
_SAVE_EVERY_S = 600.0

log = logging.getLogger(__name__)


class BatchSource(Protocol):
    """Where training batches come from."""

    def get(self, *, timeout_s: float) -> TrainingBatch | None:
        """Return the next batch, or None if none came in time."""


class PrioritySink(Protocol):
    """Where new priorities go."""

    def update(self, keys: U64, priorities: F64) -> None:
        """Send priorities of sampled items; never blocks."""


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
        """
        self._run, self._config, self._device = run, run.config, device
        self._batches, self._priorities, self._publisher = batches, priorities, publisher
        self._governor, self._tracker, self._stop = governor, tracker, stop
        self._check_health, self._note_priorities = check_health, note_priorities
        self._note_batch = note_batch
        self._timer, self._usage = SectionTimer("learner"), ProcessUsage("learner")
        self.pulse = Pulse(self._timer, "train_steps/s")
        """How training fares just now."""
        self._target_lag = TargetLag(self._config.compat.target_weights_lag)
        self.network = _make_network(run).to(device).train()
        self._optimizer = make_optimizer(self.network, self._config)
        self._updater = Updater(self.network, self._optimizer, self._config, self._timer)
        seeds = seed_sequence(self._config.seed, "learner", 0, 1)
        self.loader = BatchLoader(self._config, run.env_spec, device, seeds)
        """Makes loss inputs of training batches."""
        largest_target = self.network.support.largest
        self._checks = BatchChecks(self._config, run.env_spec, largest_target=largest_target)
        self._saver, self._further_state = saver, further_state
        self._saved_at, self._save_is_due = time.monotonic(), False
        self._steps = StepRecord(self._config.learner.max_grad_norm)
        self._logged_at, self._logged_step, self._logged_bytes = time.monotonic(), 0, 0
        self.train_step = 0
        """Train_steps made so far."""

    def run(self) -> None:
        """Train until the budget is spent or a stop is asked for; save in either case.

        Raises:
            TrainingDiverged: after saving what was there before the step that failed.
            BadBatch: as well.
        """
        self._publisher.publish(
            weights_pb2.LATEST, self.network.inference_state_dict(), self.train_step
        )
        total = self._config.budget.total_train_steps
        try:
            # Resumed at the end of its budget, nothing is left to wait for.
            if self.train_step < total:
                with self._timer.section("wait_warmup"):
                    has_begun = self._wait_for_pace("warm-up to end")
                if has_begun:
                    self._start_training()
            while not self._stop.is_set() and self.train_step < total:
                self._advance()
        finally:
            self.save(wait=True)
        if not self._stop.is_set():
            self._publish_all()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; before ``run``."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.loader.load_state_dict(state["loader"])
        self._target_lag.restore(state["target_lag"])
        self.train_step = state["train_step"]
        self._logged_step = self.train_step

    def save(self, *, wait: bool) -> None:
        """Write a checkpoint of this moment; without ``wait`` in the background."""
        state = {
            "train_step": self.train_step,
            "env_steps": self._governor.env_steps,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            "target_lag": self._target_lag.state(),
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
            if not self._wait_for_pace("the actors"):
                return
        with self._timer.section("wait_batch"):
            batch = self._next_batch()
        if batch is None:
            return
        with self._timer.section("batch_to_device"):
            overflow = self._checks.check(batch)
            inputs = self.loader.load(batch, self.train_step)
        is_logged = (self.train_step + 1) % self._config.learner.log_interval == 0
        update = self._updater.step(inputs, self.train_step, measure=is_logged)
        self._steps.add(update.grad_norm, is_skipped=update.is_skipped, overflow_share=overflow)
        if self._priorities is not None:
            with self._timer.section("priorities"):
                self._priorities.update(batch.keys, update.priorities)
                self._note_priorities(float(update.priorities.max()))
        self.train_step += 1
        self.pulse.work, self.pulse.weights_train_step = self.pulse.work + 1, self.train_step
        with self._timer.section("publish"):
            self._publish_when_due()
        # Only now: whoever may go on with this step in the count finds its weights published.
        self._governor.train_step_completed(self.train_step)
        self._after_step(batch, inputs, update)

    def _wait_for_pace(self, what: str) -> bool:
        reason = WaitReason(what)
        while not self._stop.is_set():
            if self._governor.wait_to_train(self.train_step, _WAIT_S, self._stop):
                return True
            reason.tick(self._governor.why_waiting())
            self._check_health()
        return False

    def _next_batch(self) -> TrainingBatch | None:
        reason = WaitReason("a training batch from the reanalyzers")
        while not self._stop.is_set():
            batch = self._batches.get(timeout_s=_WAIT_S)
            if batch is not None:
                self._governor.set_waiting_for("")
                return batch
            self._governor.set_waiting_for("training batch from the reanalyzers")
            self._check_health()
            reason.tick()
        return None

    def _after_step(self, batch: TrainingBatch, inputs: LossInput, update: UpdateResult) -> None:
        learner, step = self._config.learner, self.train_step
        self._note_batch(batch, step, self._governor.env_steps)
        is_old = time.monotonic() - self._saved_at > _SAVE_EVERY_S
        self._save_is_due |= is_old or step % learner.checkpoint_interval == 0
        if self._save_is_due:
            with self._timer.section("checkpoint"):
                self.save(wait=False)
        if step % learner.log_interval == 0:
            with self._timer.section("log"):
                self._log(batch, inputs, update)

    def _start_training(self) -> None:
        if self._publisher.newest(weights_pb2.TARGET) is None:
            self._publisher.publish(
                weights_pb2.TARGET, self.network.inference_state_dict(), self.train_step
            )
            # The warm-up's data are on disk before anything is learned from them.
            self.save(wait=False)

    def _publish_when_due(self) -> None:
        learner, step, state = (
            self._config.learner,
            self.train_step,
            self.network.inference_state_dict,
        )
        if step % learner.publish_interval == 0:
            self._publisher.publish(weights_pb2.LATEST, state(), step)
        if step % learner.target_interval == 0:
            due = self._target_lag.exchange(state(), step)
            if due is not None:
                self._publisher.publish(weights_pb2.TARGET, due.state, due.train_step)

    def _publish_all(self) -> None:
        for kind in (weights_pb2.LATEST, weights_pb2.TARGET):
            self._publisher.publish(kind, self.network.inference_state_dict(), self.train_step)
        log.info("trained %d steps: the budget is spent", self.train_step)

    def _log(self, batch: TrainingBatch, inputs: LossInput, update: UpdateResult) -> None:
        now = time.monotonic()
        elapsed = now - self._logged_at
        rate = (self.train_step - self._logged_step) / elapsed
        bytes_sent = self._publisher.bytes_sent
        row = {
            "learner/train_steps": self.train_step,
            "learner/train_steps_per_s": rate,
            "learner/samples_per_s": rate * self._config.learner.batch_size,
            "learner/batch_bytes_per_s": rate * sum(field.nbytes for field in batch),
            "learner/weights_bytes_per_s": (bytes_sent - self._logged_bytes) / elapsed,
            **self._pace(),
            "learner/lr": self._optimizer.param_groups[0]["lr"],
            **self._steps.row(),
            **training_statistics(self.train_step, batch, inputs, update, self.network),
            **self._usage.row(),
            **self._timer.row(),
        }
        self._tracker.log(row)
        self._logged_at, self._logged_step, self._logged_bytes = now, self.train_step, bytes_sent

    def _pace(self) -> dict[str, float]:
        """Return how much was trained for what was collected, so far."""
        env_steps, warmup = self._governor.env_steps, self._config.budget.warmup_env_steps
        samples = self.train_step * self._config.learner.batch_size
        return {
            "learner/env_steps": env_steps,
            "learner/train_steps_per_env_step": self.train_step / max(1, env_steps - warmup),
            "learner/replay_ratio": samples / max(1, env_steps),
        }


def _make_network(run: RunInfo) -> EfficientZeroNet:
    """Build the network from the run's seed; with a projector only if it has a loss."""
    config = run.config
    seed = int(seed_sequence(config.seed, "learner", 0).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's initialisers know only the global generator
        return EfficientZeroNet(
            config.network,
            run.env_spec,
            value_prefix=config.agent.value_prefix,
            projection=config.learner.consistency_coefficient > 0,
        )
