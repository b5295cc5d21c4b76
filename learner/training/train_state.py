"""All that training changes: what a checkpoint keeps of it, and what further devices begin with.

Held by the learner's loop and by every other rank. A further part, such as a slowly moving copy of
the network, is one entry where the learner builds its ``TrainState``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from learner.training.optimizers import adopt_weights
from learner.training.ranks import Ranks, State


class Stateful(Protocol):
    """What can be saved and restored, as torch's modules and optimisers can."""

    def state_dict(self) -> Any:  # noqa: ANN401  whatever torch.save takes
        """Return what a checkpoint keeps."""

    def load_state_dict(self, state: Any, /) -> object:  # noqa: ANN401
        """Go on from what ``state_dict`` returned."""


class WeightsCopy(Stateful, Protocol):
    """What is made of the network's weights, and may come from another run with them."""

    def begin_again(self) -> None:
        """Begin with the network's weights as they are; another run had no such copy."""


class TrainState:
    """Network, optimiser, copies of weights, and all else that the next train_step depends on."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        copies: Mapping[str, WeightsCopy] | None = None,
        others: Mapping[str, Stateful | None] | None = None,
    ) -> None:
        """Keep the parts, which stay the same objects.

        Args:
            network: trained.
            optimizer: of its parameters.
            copies: by their name in a checkpoint.
            others: the same; None for what this run does without.
        """
        self._network, self._optimizer = network, optimizer
        self._copies = dict(copies or {})
        self._parts: dict[str, Stateful | None] = {
            "network": network,
            "optimizer": optimizer,
            **self._copies,
            **(others or {}),
        }
        self.train_step = 0
        """Train_steps made so far."""

    def state(self) -> dict[str, Any]:
        """Return the entries of a checkpoint; its tensors are the live ones."""
        state: dict[str, Any] = {"train_step": self.train_step}
        for name, part in self._parts.items():
            state[name] = None if part is None else part.state_dict()
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from this run's checkpoint."""
        for name, part in self._parts.items():
            if part is not None:
                part.load_state_dict(state[name])
        self.train_step = state["train_step"]

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Begin with the weights of another run's checkpoint, and with nothing else of it."""
        adopt_weights(self._network, self._optimizer, state)
        for name, copy in self._copies.items():
            if name in state:
                copy.load_state_dict(state[name])
            else:
                copy.begin_again()
        self.train_step = state["train_step"]

    def broadcast(self, ranks: Ranks) -> None:
        """Have all other ranks begin with this network and optimiser; of rank 0."""
        ranks.tell(State(self._network.state_dict(), self._optimizer.state_dict()))

    def follow(self, command: State) -> None:
        """Begin with what rank 0 broadcasts; of the others."""
        self._network.load_state_dict(command.network)
        self._optimizer.load_state_dict(dict(command.optimizer))
