"""An exponential moving average of the learner's weights, steadier than single train_steps.

Held by ``learner.weights.publishing`` where ``learner.average_decay`` asks for it; a learner
without one keeps and computes nothing. Only what actors and reanalyzers get is averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class WeightAverage:
    """The average of live weights over train_steps, on their device; use from one thread.

    After t updates it is sum_i d^(t - i) w_i / sum_i d^(t - i), so that it does not contain the
    initial weights. Batch norm's running statistics are averaged too: a layer's input statistics
    depend on the weights before it, and to first order their average belongs to the averaged
    weights; the newest statistics would belong to newer weights. Integer tensors, such as a count
    of batches, are the newest ones.
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float) -> None:
        """Begin with ``live`` as it is.

        Args:
            live: the weights by name; training updates them in place.
            decay: d per train_step, above 0 and below 1.
        """
        self._live, self._decay = live, decay
        self._num_updates = 0
        self.weights = {name: tensor.detach().clone() for name, tensor in live.items()}
        """The average, always the same tensors."""
        names = [name for name, tensor in live.items() if tensor.is_floating_point()]
        self._averaged = [self.weights[name] for name in names]
        self._sources = [live[name] for name in names]
        others = [name for name in live if name not in names]
        self._counts = [self.weights[name] for name in others]
        self._newest_counts = [live[name] for name in others]

    @torch.no_grad()
    def update(self) -> None:
        """Add the live weights after one more train_step; on a GPU asynchronously."""
        self._num_updates += 1
        share = (1.0 - self._decay) / (1.0 - self._decay**self._num_updates)
        torch._foreach_lerp_(self._averaged, self._sources, share)
        if self._counts:
            torch._foreach_copy_(self._counts, self._newest_counts)

    @torch.no_grad()
    def distance(self) -> float:
        """Return the norm of average minus live weights over the norm of the live ones."""
        change = torch.nn.utils.get_total_norm(torch._foreach_sub(self._averaged, self._sources))
        return float(change / torch.nn.utils.get_total_norm(self._sources))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; the tensors are the average's own."""
        return {"num_updates": self._num_updates, "weights": self.weights}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with a checkpoint's average."""
        self._num_updates = state["num_updates"]
        for name, tensor in self.weights.items():
            tensor.copy_(state["weights"][name])

    def begin_again(self) -> None:
        """Begin with the live weights, which another run's have replaced."""
        self.load_state_dict({"num_updates": 0, "weights": self._live})
