"""Where the nodes of a batch of searches have their latents, and how a simulation names them.

Node i of tree b is row [i, b] of every pool.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

NUM_INDEX_ROWS = 4
PARENTS, ACTIONS, KEEPS_LSTM, NODES = range(NUM_INDEX_ROWS)
"""Rows of i32 [4, B]: parent node, action, 0 where the LSTM state restarts, new node."""

_IMAGE_RANK = 3  # [C, H, W]


class NodePools(NamedTuple):
    """Latents and LSTM states of N nodes of B trees."""

    latents: Tensor  # f32 [N, B, *row], rows as ``Rows`` lays them
    lstm_states: Tensor  # f32 [N, B, 2, L]


class Rows:
    """How latents lie in a pool: those of images channels-last."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        """Choose by the rank of a latent."""
        self._permutes = len(latent_shape) == _IMAGE_RANK

    def of(self, latents: Tensor) -> Tensor:
        """Return latents [..., C, H, W] as rows [..., H, W, C]."""
        return latents.movedim(-3, -1) if self._permutes else latents

    def latents(self, rows: Tensor) -> Tensor:
        """Return rows as latents."""
        return rows.movedim(-1, -3) if self._permutes else rows
