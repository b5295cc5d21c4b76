"""One train_step on the device: loss, gradient, clipped update; undone where it must not be made.

Used by the learner's loop. The host waits for the device once a step, for the priorities; the
norm of the gradient comes with them. Whether an update may be made is therefore decided on the
device: torch's fused optimisers leave everything as it is where ``found_inf`` is 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from efficientzero.config import Config
from efficientzero.devices import precision_context
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.networks import EfficientZeroNet
from efficientzero.runtime import PlainError
from efficientzero.schedules import learning_rate
from efficientzero.schema import F64
from learner.loss import LossInput, LossTerms, compute_loss

_EXPLODING = 1e6
"""Times learner.max_grad_norm: clipping leaves a millionth, and a few samples decide it all."""
_MOST_EXPLODING_STEPS = 20
"""In a row, each on another batch and all on the same weights: it is not the batch."""

log = logging.getLogger(__name__)


class TrainingDiverged(PlainError):
    """The loss or its gradient is no usable number any more."""

    is_final = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What one train_step gave."""

    terms: LossTerms  # on the device
    priorities: F64  # [B]
    grad_norm: float
    """Before clipping."""
    is_skipped: bool
    """The gradient was so large that no update was made."""
    update_ratios: dict[str, Tensor]
    """f32 [] per module, on the device: norm of the change of its weights over their norm."""


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Return the configured optimiser over all parameters (biases and norms are decayed too).

    It is a fused one, as ``Updater`` needs it.
    """
    learner = config.learner
    if learner.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=learner.learning_rate,
            momentum=learner.momentum,
            weight_decay=learner.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        network.parameters(),
        lr=learner.learning_rate,
        weight_decay=learner.weight_decay,
        fused=True,
    )


class Updater:
    """Updates a network, with the guards around that."""

    def __init__(
        self,
        network: EfficientZeroNet,
        optimizer: torch.optim.Optimizer,
        config: Config,
        timer: SectionTimer,
    ) -> None:
        """Take a network in training mode and on its device, and ``make_optimizer``'s of it."""
        self._network, self._optimizer = network, optimizer
        self._config, self._timer = config, timer
        self._device = next(network.parameters()).device
        self._exploding_steps = 0
        buffers = list(network.buffers())
        # One copy per dtype: a list of several is copied one by one.
        self._buffers = [[b for b in buffers if b.dtype == d] for d in {b.dtype for b in buffers}]
        self._before = [[torch.empty_like(b) for b in group] for group in self._buffers]

    def step(self, inputs: LossInput, train_step: int, *, measure: bool) -> UpdateResult:
        """Make one update.

        Args:
            inputs: on the network's device.
            train_step: sets the learning rate.
            measure: also measure how far each module's weights move, which copies them all.

        Raises:
            TrainingDiverged: loss, gradient or priorities are not finite, or the gradient has been
                absurdly large for many steps. Weights and statistics are those before the step.
        """
        learner = self._config.learner
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(train_step, learner, self._config.budget)
        # Batch-norm statistics move in the forward pass, before the loss is known to be a number.
        for before, live in zip(self._before, self._buffers, strict=True):
            torch._foreach_copy_(before, live)
        with self._timer.section("forward"), precision_context(learner.precision, self._device):
            terms = compute_loss(
                self._network,
                inputs,
                agent=self._config.agent,
                learner=learner,
                gradient_scaling=self._config.compat.gradient_scaling,
            )
        with self._timer.section("backward"):
            self._optimizer.zero_grad(set_to_none=True)
            terms.total.backward()  # type: ignore[no-untyped-call]
        with self._timer.section("optimizer"):
            weights = self._copied_weights() if measure else {}
            is_first = not self._optimizer.state
            norm, is_unusable = self._clip_and_step(terms)
            ratios = self._update_ratios(weights)
        with self._timer.section("device"):
            scalars = torch.stack([norm, terms.total.detach(), is_unusable])
            host = torch.cat([scalars, terms.priorities]).double().cpu().numpy()
        grad_norm, total, is_skipped = float(host[0]), float(host[1]), bool(host[2])
        if is_skipped:
            self._undo(is_first=is_first)
            what = f"train_step {train_step}: loss {total:.6g}, gradient norm {grad_norm:.6g}"
            self._judge(what, is_finite=bool(np.isfinite(host).all()))
        else:
            self._exploding_steps = 0
        return UpdateResult(
            terms=terms,
            priorities=host[3:],
            grad_norm=grad_norm,
            is_skipped=is_skipped,
            update_ratios=ratios,
        )

    def _clip_and_step(self, terms: LossTerms) -> tuple[Tensor, Tensor]:
        """Return the gradient's norm and whether the update was left out, f32 [] each."""
        largest = self._config.learner.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), largest)
        # Comparisons with NaN are false.
        is_usable = (norm <= _EXPLODING * largest) & torch.isfinite(terms.total.detach())
        is_unusable = (~(is_usable & torch.isfinite(terms.priorities).all())).float()
        # What torch.amp.GradScaler does with a fused optimiser.
        self._optimizer.found_inf = is_unusable  # type: ignore[attr-defined]
        self._optimizer.step()
        return norm, is_unusable

    def _undo(self, *, is_first: bool) -> None:
        for before, live in zip(self._before, self._buffers, strict=True):
            torch._foreach_copy_(live, before)
        if is_first:
            # In its first step SGD allocates its momentum, and has now left it unfilled.
            self._optimizer.state.clear()

    def _judge(self, what: str, *, is_finite: bool) -> None:
        """Let training go on after a step without an update, or not."""
        advice = "The weights before are saved; lower learner.learning_rate"
        if not is_finite:
            raise TrainingDiverged(f"{what}: not finite. {advice}")
        limit = f"over {_EXPLODING:.0e} * learner.max_grad_norm"
        self._exploding_steps += 1
        if self._exploding_steps == _MOST_EXPLODING_STEPS:
            raise TrainingDiverged(
                f"{what}: {limit}, as in {_MOST_EXPLODING_STEPS} train_steps in a row. {advice}"
            )
        log.warning("%s: %s, no update is made", what, limit)

    def _modules(self) -> list[tuple[str, list[Tensor]]]:
        children: list[tuple[str, list[Tensor]]] = [
            (n, list(m.parameters())) for n, m in self._network.named_children()
        ]
        return [(name, parameters) for name, parameters in children if parameters]

    @torch.no_grad()
    def _copied_weights(self) -> dict[str, list[Tensor]]:
        return {name: [p.clone() for p in parameters] for name, parameters in self._modules()}

    @torch.no_grad()
    def _update_ratios(self, before: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        total_norm = nn.utils.get_total_norm
        return {
            name: total_norm(torch._foreach_sub(live, before[name])) / total_norm(before[name])
            for name, live in self._modules()
            if name in before
        }
