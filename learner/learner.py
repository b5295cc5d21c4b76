"""The learner's loop: batch -> loss -> update -> priorities -> publish -> log -> save.

Built by ``learner.__main__``, which hands in everything that talks to other processes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import nn

from efficientzero.checkpoint import save_checkpoint
from efficientzero.config import Config
from efficientzero.devices import precision_context
from efficientzero.metrics.process_usage import ProcessUsage
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.metrics.tracker import Tracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.rpc import weights_pb2
from efficientzero.run_folder import RunInfo
from efficientzero.runtime import PlainError, StopSignal, WaitReason, seed_sequence
from efficientzero.schedules import learning_rate
from efficientzero.schema import F64, U64, TrainingBatch
from learner.batch_loader import BatchLoader
from learner.governor import Governor
from learner.loss import LossInput, LossTerms, compute_loss
from learner.statistics import training_statistics
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


class TrainingDiverged(PlainError):
    """The loss or its gradient is no number any more."""


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Return the configured optimiser over all parameters (biases and norms are decayed too)."""
    learner = config.learner
    if learner.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=learner.learning_rate,
            momentum=learner.momentum,
            weight_decay=learner.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=learner.learning_rate, weight_decay=learner.weight_decay
    )


class Learner:
    """Trains one network on the batches that reanalyzers queue."""

    def __init__(
        self,
        run: RunInfo,
        *,
        device: torch.device,
        batches: BatchSource,
        priorities: PrioritySink,
        publisher: WeightPublisher,
        governor: Governor,
        check_health: Callable[[], None],
        note_priorities: Callable[[float], None],
        tracker: Tracker,
        stop: StopSignal,
    ) -> None:
        """Build network and optimiser from the run's seed.

        Args:
            run: the run.
            device: where to train.
            batches: the training queue.
            priorities: back to replay.
            publisher: serves the weights.
            governor: keeps the pace.
            check_health: raises what went wrong in threads that serve others.
            note_priorities: takes the largest new priority of each batch.
            tracker: metrics.
            stop: ends ``run``.
        """
        self._run, self._config, self._device = run, run.config, device
        self._batches, self._priorities, self._publisher = batches, priorities, publisher
        self._governor, self._tracker, self._stop = governor, tracker, stop
        self._check_health, self._note_priorities = check_health, note_priorities
        seed = int(seed_sequence(self._config.seed, "learner", 0).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # torch's initialisers know only the global generator
            network = EfficientZeroNet(
                self._config.network, run.env_spec, value_prefix=self._config.agent.value_prefix
            )
        self.network = network.to(device).train()
        self._optimizer = make_optimizer(self.network, self._config)
        self._generator = torch.Generator(device).manual_seed(seed)
        self.loader = BatchLoader(self._config, run.env_spec, device, self._generator)
        """Makes loss inputs of training batches."""
        self._timer, self._usage = SectionTimer("learner"), ProcessUsage("learner")
        self._folder = run.directory / "checkpoints"
        self._saved_at = time.monotonic()
        self._logged_at, self._logged_step, self._logged_bytes = time.monotonic(), 0, 0
        self.train_step = 0
        """Train_steps made so far."""

    def run(self) -> None:
        """Train until the budget is spent or a stop is asked for; save in either case.

        Raises:
            TrainingDiverged: after saving what was there before the step that failed.
        """
        self._publisher.publish(
            weights_pb2.LATEST, self.network.inference_state_dict(), self.train_step
        )
        try:
            with self._timer.section("wait_warmup"):
                has_begun = self._wait_for_pace("warm-up to end")
            if has_begun:
                self._publisher.publish(
                    weights_pb2.TARGET, self.network.inference_state_dict(), self.train_step
                )
            while (
                not self._stop.is_set() and self.train_step < self._config.budget.total_train_steps
            ):
                self._advance()
        finally:
            self.save()
        if not self._stop.is_set():
            self._publish_all()

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        state = {
            "train_step": self.train_step,
            "env_steps": self._governor.env_steps,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "run_uid": self._run.run_uid,
            "config_hash": self._run.config_hash,
        }
        path = save_checkpoint(
            self._folder, self.train_step, state, keep=self._config.learner.checkpoints_kept
        )
        self._saved_at = time.monotonic()
        log.info("saved %s", path)

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
            inputs = self.loader.load(batch, self.train_step)
        terms, grad_norm = self._update(inputs)
        with self._timer.section("priorities"):
            priorities = terms.priorities.double().cpu().numpy()
            self._priorities.update(batch.keys, priorities)
            self._note_priorities(float(priorities.max()))
        self.train_step += 1
        self._governor.train_step_completed(self.train_step)
        self._after_step(batch, inputs, terms, grad_norm)

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

    def _update(self, inputs: LossInput) -> tuple[LossTerms, float]:
        config = self._config
        rate = learning_rate(self.train_step, config.learner, config.budget)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Batch-norm statistics move in the forward pass, before the loss is known to be a number.
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        with (
            self._timer.section("forward"),
            precision_context(config.learner.precision, self._device),
        ):
            terms = compute_loss(self.network, inputs, agent=config.agent, learner=config.learner)
        with self._timer.section("backward"):
            self._optimizer.zero_grad(set_to_none=True)
            terms.total.backward()  # type: ignore[no-untyped-call]
        with self._timer.section("optimizer"):
            norm = float(
                nn.utils.clip_grad_norm_(self.network.parameters(), config.learner.max_grad_norm)
            )
            if not np.isfinite(norm):
                for buffer, before in zip(self.network.buffers(), statistics, strict=True):
                    buffer.copy_(before)
                raise TrainingDiverged(
                    f"train_step {self.train_step}: loss {float(terms.total.detach())}, gradient "
                    f"norm {norm}: not finite. The weights before this step are saved; lower "
                    "learner.learning_rate"
                )
            self._optimizer.step()
        return terms, norm

    def _after_step(
        self, batch: TrainingBatch, inputs: LossInput, terms: LossTerms, grad_norm: float
    ) -> None:
        learner, step = self._config.learner, self.train_step
        with self._timer.section("publish"):
            state = self.network.inference_state_dict
            if step % learner.publish_interval == 0:
                self._publisher.publish(weights_pb2.LATEST, state(), step)
            if step % learner.target_interval == 0:
                self._publisher.publish(weights_pb2.TARGET, state(), step)
        if (
            step % learner.checkpoint_interval == 0
            or time.monotonic() - self._saved_at > _SAVE_EVERY_S
        ):
            with self._timer.section("checkpoint"):
                self.save()
        if step % learner.log_interval == 0:
            with self._timer.section("log"):
                self._log(batch, inputs, terms, grad_norm)

    def _publish_all(self) -> None:
        for kind in (weights_pb2.LATEST, weights_pb2.TARGET):
            self._publisher.publish(kind, self.network.inference_state_dict(), self.train_step)
        log.info("trained %d steps: the budget is spent", self.train_step)

    def _log(
        self, batch: TrainingBatch, inputs: LossInput, terms: LossTerms, grad_norm: float
    ) -> None:
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
            "learner/grad_norm": grad_norm,
            **training_statistics(self.train_step, batch, inputs, terms),
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
