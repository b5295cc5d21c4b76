"""The learner's optimisers; each can skip a step by a flag on the device.

Made for ``learner.training.update``, which sets ``found_inf``, f32 [] on the device, before each
step: if it is 1, weights and state do not change. torch's fused optimisers support this, and LARS
is built on one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from efficientzero.config import Config
from efficientzero.networks import new_in_forks, training_only


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Return the configured optimiser over all parameters that have gradients.

    SGD and AdamW decay biases and norms too, as the reference does; LARS does not.
    """
    learner = config.learner
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if learner.optimizer == "lars":
        return LARS(
            trained,
            lr=learner.learning_rate,
            momentum=learner.momentum,
            weight_decay=learner.weight_decay,
            trust_coefficient=learner.trust_coefficient,
        )
    if learner.optimizer == "adamw":
        return torch.optim.AdamW(
            trained,
            lr=learner.learning_rate,
            weight_decay=learner.weight_decay,
            fused=True,
        )
    optimizer = torch.optim.SGD(
        trained,
        lr=learner.learning_rate,
        momentum=learner.momentum,
        weight_decay=learner.weight_decay,
        fused=True,
    )
    if learner.momentum > 0:
        # SGD allocates its momentum in its first step, and leaves it uninitialised if that step is
        # skipped. Starting from zeros gives the same first step.
        for parameter in trained:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman and Ginsburg, 2017, algorithm 1).

    Of each layer's weights w with gradient g, rate y, momentum m, weight decay b and trust
    coefficient c:

        rate of the layer = c * |w| / (|g| + b * |w|)
        v <- m * v + y * rate of the layer * (g + b * w)
        w <- w - v

    The rate of the layer is 1 where |w| or |g| is 0, or heads that start at zero would stay there.
    Vectors (biases, weights of norms) take plain steps of y * g through the same momentum and do
    not decay, as is usual for large batches (Goyal et al., 2017, section 5.3).

    Own code: packages that have LARS (timm, lightning-bolts) cannot skip a step on the device.
    """

    found_inf: Tensor | None = None
    """f32 [] on the parameters' device: 1 skips the step."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        trust_coefficient: float,
    ) -> None:
        """Store the settings of all parameters; see the class for their letters (y, m, b, c)."""
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures here
        """Make one step of all parameters that have a gradient."""
        del closure
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            layers, vectors = (
                [p for p in trained if (p.ndim > 1) == many] for many in (True, False)
            )
            changes = _changes_of_layers(layers, group) if layers else []
            if vectors:
                changes += torch._foreach_mul([p.grad for p in vectors], group["lr"])
            momentum = group["momentum"]
            sgd(
                layers + vectors,
                changes,
                [self._momentum_of(p) if momentum else None for p in layers + vectors],
                fused=True,
                found_inf=self.found_inf,
                weight_decay=0.0,
                momentum=momentum,
                lr=1.0,  # the paper's rate is inside the momentum
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def _momentum_of(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _changes_of_layers(weights: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Return y * rate of the layer * (g + b * w) of each layer; waits for no device."""
    decay, coefficient = group["weight_decay"], group["trust_coefficient"]
    gradients = [w.grad for w in weights if w.grad is not None]  # all of them
    sizes = torch.stack(torch._foreach_norm(weights))
    slopes = torch.stack(torch._foreach_norm(gradients))
    rates = coefficient * sizes / (slopes + decay * sizes)
    rates = group["lr"] * torch.where((sizes > 0) & (slopes > 0), rates, 1.0)
    changes = torch._foreach_add(gradients, weights, alpha=decay)
    torch._foreach_mul_(changes, rates.unbind())
    return list(changes)


def adopt_weights(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Load another run's weights and its optimiser's moments.

    Args:
        network: of the same shapes; it may lack the last auxiliary heads. Those that the other run
            lacks or that are new in every fork keep what they have, as do their moments.
        optimizer: keeps its own learning rate, momentum and decay.
        state: the other run's checkpoint.

    Raises:
        RuntimeError: weights are missing, unknown or have other shapes, or the moments, which are
            matched by the order of the parameters, would go to other parameters.
    """
    ours = network.state_dict()
    new = {name: ours[name] for name in new_in_forks(ours, state["network"])}
    not_taken = set(new_in_forks(state["network"], state["network"]))
    theirs = {name: w for name, w in state["network"].items() if name not in not_taken}
    auxiliary = training_only(theirs)
    left_out = [name for name in auxiliary if name not in ours]
    if left_out != auxiliary[len(auxiliary) - len(left_out) :]:
        raise RuntimeError(f"{left_out[0]}: left out of the weights, wanted the last ones at most")
    network.load_state_dict({k: v for k, v in theirs.items() if k not in left_out} | new)
    own = optimizer.state_dict()
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    num_taken = len(trained) - len(new_in_forks(trained, state["network"]))
    if any(name in new for name in trained[:num_taken]):
        raise RuntimeError(f"{next(iter(new))}: new in the weights, wanted the last ones at most")
    moments = {i: m for i, m in state["optimizer"]["state"].items() if i < num_taken}
    kept = {i: m for i, m in own["state"].items() if i >= num_taken}
    optimizer.load_state_dict({"state": moments | kept, "param_groups": own["param_groups"]})
