"""One train_step on the device: loss, gradient, clipped update, or no update if it is unusable.

Used by the learner's loop. The host submits a step and continues; it reads priorities, loss and
gradient norm later. So the device itself decides whether an update is made: torch's fused
optimisers change nothing where ``found_inf`` is 1. After non-finite numbers no update is made until
the host has seen them, so the host finds the weights from before them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from efficientzero.config import Config, learning_rate
from efficientzero.metrics import SectionTimer
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.devices import precision_context
from efficientzero.process.runtime import PlainError
from efficientzero.schema import F64
from learner.training.local_targets import LocalTargets
from learner.training.losses import (
    LossInput,
    LossPart,
    LossTerms,
    compute_loss,
    loss_parts,
    parts_at,
    priority_rule,
)
from learner.training.network import draw_training_noise
from learner.training.ranks import Ranks, SingleDevice

_EXPLODING = 1e6
"""Times learner.max_grad_norm. At a millionth after clipping, a few samples decide the update."""
_MOST_EXPLODING_STEPS = 20
"""Consecutive steps on different batches and the same weights: the batches are not the cause."""

log = logging.getLogger(__name__)


class TrainingDiverged(PlainError):
    """The loss or its gradient is no longer a usable number."""

    is_permanent = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One train_step that was submitted to the device."""

    train_step: int
    """Counted from 0."""
    terms: LossTerms  # on the device
    update_ratios: dict[str, Tensor]
    """f32 [] per module, on the device: norm of the weight change / norm of the weights."""
    readback: Readback
    """Gradient norm, loss, whether the update was skipped, priorities: [3 + B]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """The results of one train_step, on the host."""

    priorities: F64  # [B]
    grad_norm: float
    """Before clipping."""
    is_skipped: bool
    """The gradient was so large that no update was made."""


class _Loss(nn.Module):
    """The loss as a module, in the form that torch distributes."""

    def __init__(
        self, network: EfficientZeroNet, parts: tuple[LossPart, ...], config: Config
    ) -> None:
        super().__init__()
        self.network, self._parts = network, parts
        self._agent, self._scaling = config.agent, config.compat.gradient_scaling
        self._priority = priority_rule(config)

    def forward(self, inputs: LossInput, train_step: int) -> LossTerms:
        return compute_loss(
            self.network,
            inputs,
            parts_at(self._parts, train_step),
            agent=self._agent,
            gradient_scaling=self._scaling,
            priority=self._priority,
        )


class Updater:
    """Updates a network and guards against unusable numbers."""

    def __init__(
        self,
        network: EfficientZeroNet,
        optimizer: torch.optim.Optimizer,
        config: Config,
        timer: SectionTimer,
        *,
        ranks: Ranks | None = None,
        targets: LocalTargets | None = None,
    ) -> None:
        """Store a network, in training mode on its device, and its optimiser (``make_optimizer``).

        With ``ranks`` every rank makes each step, on its own part of the batch. ``targets``
        completes the value targets, where reanalyzers do not.
        """
        self._ranks: Ranks = ranks or SingleDevice()
        size = network.spec.action_size
        parts = loss_parts(config, self._ranks.gather, action_size=size)
        self._after_update = [part.after_update for part in parts if part.after_update is not None]
        # First: ranks may replace the network's norms.
        self._loss = self._ranks.wrap(_Loss(network, parts, config), network, config)
        if config.learner.compile:
            # In place and part by part: names of weights stay, and the code between parts is cheap.
            for part in network.children():
                part.compile()
        self._network, self._optimizer, self._targets = network, optimizer, targets
        self._config, self._timer = config, timer
        self._device = next(network.parameters()).device
        self._exploding_steps = 0
        self._buffers = KeptBuffers(network.buffers())
        self._is_halted = torch.zeros((), dtype=torch.bool, device=self._device)

    def step(self, inputs: LossInput, train_step: int, *, measure: bool) -> Update:
        """Submit one update to the device; does not wait.

        Args:
            inputs: on the network's device; of several ranks this one's part.
            train_step: sets the learning rate, coefficients that fall, and when frozen weights are
                renewed.
            measure: also measure how far each module's weights move, which copies them all.
        """
        learner = self._config.learner
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(train_step, learner, self._config.budget)
        draw_training_noise(self._network, self._config, train_step)
        if self._targets is not None:
            with self._timer.section("targets"):
                inputs = self._targets.complete(inputs, train_step)
        self._buffers.keep()
        with self._timer.section("forward"), precision_context(learner.precision, self._device):
            terms: LossTerms = self._loss(inputs, train_step)
        with self._timer.section("backward"):
            self._optimizer.zero_grad(set_to_none=True)
            terms.total.backward()  # type: ignore[no-untyped-call]
            terms = self._ranks.merge(terms, everything=measure)
        with self._timer.section("optimizer"):
            weights = self._copied_weights() if measure else {}
            norm, is_unusable = self._clip_and_step(terms)
            self._buffers.put_back_where(is_unusable)
            for after_update in self._after_update:
                after_update(self._network, is_unusable)
            ratios = self._update_ratios(weights)
            scalars = torch.stack([norm, terms.total.detach(), is_unusable.float()])
            readback = Readback(torch.cat([scalars, terms.priorities]))
        return Update(train_step=train_step, terms=terms, update_ratios=ratios, readback=readback)

    def finish(self, update: Update) -> UpdateResult:
        """Wait for the results of ``update`` and check them; call in the order of the steps.

        Raises:
            TrainingDiverged: loss, gradient or priorities are not finite, or the gradient has been
                absurdly large for many steps. Weights and statistics are those before the step.
        """
        host = update.readback.wait()
        grad_norm, total, is_skipped = float(host[0]), float(host[1]), bool(host[2])
        if is_skipped:
            what = (
                f"train_step {update.train_step}: loss {total:.6g}, gradient norm {grad_norm:.6g}"
            )
            self._judge(what, is_finite=bool(np.isfinite(host).all()))
        else:
            self._exploding_steps = 0
        return UpdateResult(priorities=host[3:], grad_norm=grad_norm, is_skipped=is_skipped)

    def _clip_and_step(self, terms: LossTerms) -> tuple[Tensor, Tensor]:
        """Return the gradient's norm, f32 [], and whether the update was skipped, bool []."""
        largest = self._config.learner.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), largest)
        is_finite = torch.isfinite(norm) & torch.isfinite(terms.total.detach())
        self._is_halted |= ~(is_finite & torch.isfinite(terms.priorities).all())
        is_unusable = self._is_halted | (norm > _EXPLODING * largest)
        # As torch.amp.GradScaler does with a fused optimiser.
        self._optimizer.found_inf = is_unusable.float()  # type: ignore[attr-defined]
        self._optimizer.step()
        return norm, is_unusable

    def _judge(self, what: str, *, is_finite: bool) -> None:
        """Decide whether training continues after a step without an update."""
        advice = "The weights before are saved; lower learner.learning_rate"
        if not is_finite:
            self._is_halted.zero_()  # the host knows
            raise TrainingDiverged(f"{what}: not finite. {advice}")
        limit = f"over {_EXPLODING:.0e} * learner.max_grad_norm"
        self._exploding_steps += 1
        if self._exploding_steps == _MOST_EXPLODING_STEPS:
            raise TrainingDiverged(
                f"{what}: {limit}, as in {_MOST_EXPLODING_STEPS} train_steps in a row. {advice}"
            )
        log.warning("%s: %s, no update is made", what, limit)

    def _modules(self) -> list[tuple[str, list[Tensor]]]:
        # Enumerated from the whole network: a tensor shared by two modules counts once.
        owned = {id(parameter) for _, parameter in self._network.named_parameters()}
        children: list[tuple[str, list[Tensor]]] = []
        for name, module in self._network.named_children():
            trained = [p for p in module.parameters() if p.requires_grad]
            parameters: list[Tensor] = [p for p in trained if id(p) in owned]
            owned -= {id(p) for p in parameters}
            children.append((name, parameters))
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


class KeptBuffers:
    """Saves and restores buffers, with a few kernels for any number of buffers."""

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        """Store references to ``buffers``, whose addresses must not change."""
        of_dtype: dict[torch.dtype, list[Tensor]] = {}
        for buffer in buffers:
            of_dtype.setdefault(buffer.dtype, []).append(buffer)
        # A list of several dtypes would be copied tensor by tensor.
        self._groups = [_Group(group) for group in of_dtype.values()]

    def keep(self) -> None:
        """Save the buffers' current contents."""
        for group in self._groups:
            torch._foreach_copy_(group.before_views, group.live)

    def put_back_where(self, is_unusable: Tensor) -> None:
        """Restore the saved contents if ``is_unusable``, bool [], is true."""
        for group in self._groups:
            torch._foreach_copy_(group.after_views, group.live)
            # Multiplying by 0 would fail: the statistics may be NaN.
            torch.where(is_unusable, group.before, group.after, out=group.after)
            torch._foreach_copy_(group.live, group.after_views)


class _Group:
    """Buffers of one dtype, and two flat copies of them."""

    def __init__(self, live: list[Tensor]) -> None:
        self.live = live
        sizes = [buffer.numel() for buffer in live]
        self.before, self.after = (
            torch.empty(sum(sizes), dtype=live[0].dtype, device=live[0].device) for _ in range(2)
        )
        self.before_views, self.after_views = (
            [part.view(b.shape) for part, b in zip(torch.split(flat, sizes), live, strict=True)]
            for flat in (self.before, self.after)
        )


class Readback:
    """A submitted copy to the host; on a CPU it is complete at once."""

    def __init__(self, numbers: Tensor) -> None:
        """Submit a copy of ``numbers``, f32 [N], after all work submitted before."""
        self._event: torch.cuda.Event | None = None
        if numbers.device.type == "cuda":
            self._host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._host.copy_(numbers, non_blocking=True)
            # A blocking event frees the host's core during the wait.
            self._event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(numbers.device))
        else:
            self._host = numbers

    def is_ready(self) -> bool:
        """Return whether ``wait`` would return at once."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> F64:
        """Return the numbers [N]; waits for this copy, not for work submitted later."""
        if self._event is not None:
            self._event.synchronize()
        numbers: F64 = self._host.double().numpy()
        return numbers
