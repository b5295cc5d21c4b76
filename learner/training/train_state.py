"""All state that training changes: saved in checkpoints, and broadcast to further devices.

Held by the learner's loop and by every other rank. To add a part, such as a slowly moving copy of
the network, add one entry where the learner builds its ``TrainState``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from learner.training.local_targets import LocalTargets
from learner.training.optimizers import adopt_weights
from learner.training.ranks import Ranks, State


class Stateful(Protocol):
    """An object with a state_dict, like torch's modules and optimisers."""

    def state_dict(self) -> Any:  # noqa: ANN401  anything torch.save takes
        """Return the entry for a checkpoint."""

    def load_state_dict(self, state: Any, /) -> object:  # noqa: ANN401
        """Restore what ``state_dict`` returned."""


class WeightsCopy(Stateful, Protocol):
    """State derived from the network's weights, which can be forked together with them."""

    def begin_again(self) -> None:
        """Start from the network's current weights, for a parent run without such a copy."""


class TrainState:
    """Network, optimiser, copies of weights, and everything else the next train_step depends on."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        targets: LocalTargets | None = None,
        copies: Mapping[str, WeightsCopy] | None = None,
        others: Mapping[str, Stateful | None] | None = None,
    ) -> None:
        """Store the parts; they stay the same objects.

        Args:
            network: trained.
            optimizer: of its parameters.
            targets: what completes value targets, if this learner does.
            copies: by their name in a checkpoint.
            others: by their name in a checkpoint; None for parts that this run does not have.
        """
        self._network, self._optimizer, self._targets = network, optimizer, targets
        self._copies = dict(copies or {})
        if targets is not None:
            self._copies["target_network"] = targets
        self._parts: dict[str, Stateful | None] = {
            "network": network,
            "optimizer": optimizer,
            **self._copies,
            **(others or {}),
        }
        self.train_step = 0
        """Train_steps made so far."""

    def state(self) -> dict[str, Any]:
        """Return the entries of a checkpoint; the tensors are the live ones, not copies."""
        state: dict[str, Any] = {"train_step": self.train_step}
        for name, part in self._parts.items():
            state[name] = None if part is None else part.state_dict()
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore this run's checkpoint."""
        for name, part in self._parts.items():
            if part is not None:
                part.load_state_dict(state[name])
        self.train_step = state["train_step"]

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Load only the weights of another run's checkpoint."""
        adopt_weights(self._network, self._optimizer, state)
        for name, copy in self._copies.items():
            if name in state:
                copy.load_state_dict(state[name])
            else:
                copy.begin_again()
        self.train_step = state["train_step"]

    def broadcast(self, ranks: Ranks) -> None:
        """Send network, optimiser and frozen weights to all other ranks; called on rank 0."""
        frozen = None if self._targets is None else self._targets.state_dict()
        ranks.send_command(State(self._network.state_dict(), self._optimizer.state_dict(), frozen))

    def follow(self, command: State) -> None:
        """Load the state that rank 0 broadcasts; called on the other ranks."""
        self._network.load_state_dict(command.network)
        self._optimizer.load_state_dict(dict(command.optimizer))
        if self._targets is not None and command.target_network is not None:
            self._targets.load_state_dict(command.target_network)
