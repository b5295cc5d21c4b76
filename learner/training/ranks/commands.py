"""What rank 0 sends to the others, and the ranks as the learner's loop uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from efficientzero.config import Config
from learner.training.losses import LossInput, LossTerms


class Idle(NamedTuple):
    """Rank 0 is alive and waiting."""


class Step(NamedTuple):
    """The next train_step; the parts of its batch follow."""

    train_step: int
    measure: bool
    fields: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    """Shape and dtype of a part's tensors."""


class State(NamedTuple):
    """The state that training starts from."""

    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    target_network: Mapping[str, Tensor] | None = None
    """The frozen weights, where the learner completes value targets."""


class End(NamedTuple):
    """Training is over."""


Command = Idle | Step | State | End


class Ranks(Protocol):
    """The ranks as the learner's loop and its updates use them."""

    def others_seconds(self) -> float:
        """Return the CPU-seconds that the other ranks have used so far; from any thread."""

    def wrap(self, loss: nn.Module, network: nn.Module, config: Config) -> nn.Module:
        """Return the loss whose gradients are those of the whole batch."""

    def merge(self, terms: LossTerms, *, everything: bool) -> LossTerms:
        """Return the whole batch's loss and priorities, or all terms, without gradient."""

    def gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """Return the rows [B, ...] of all ranks, and where this rank's begin.

        The gradient of every rank's loss returns to the rank that a row is from.
        """

    def send_command(self, command: Command) -> None:
        """Send a command to the other ranks."""

    def share(self, inputs: LossInput, train_step: int, *, measure: bool) -> LossInput:
        """Announce a train_step, give every rank its part of the batch, and return rank 0's."""


class SingleDevice:
    """The only rank."""

    def others_seconds(self) -> float:
        """Return 0."""
        return 0.0

    def wrap(self, loss: nn.Module, network: nn.Module, config: Config) -> nn.Module:
        """Return ``loss``."""
        del network, config
        return loss

    def merge(self, terms: LossTerms, *, everything: bool) -> LossTerms:
        """Return ``terms``."""
        del everything
        return terms

    def gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """Return ``rows`` and 0."""
        return rows, 0

    def send_command(self, command: Command) -> None:
        """Nobody listens."""

    def share(self, inputs: LossInput, train_step: int, *, measure: bool) -> LossInput:
        """Return all of ``inputs``."""
        del train_step, measure
        return inputs
