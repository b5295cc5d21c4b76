"""Latents and LSTM states of every node of a batch of searches, in place on the device.

Used by ``search``. Node i of tree b is row ``i * B + b``; nothing is allocated after construction
but the gathered rows. Image latents lie channels-last, as the network makes and reads them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_IMAGE_RANK = 4  # [B, C, H, W]


class LatentPool:
    """Rows for ``num_nodes`` nodes of each of B trees."""

    def __init__(self, num_nodes: int, latents: Tensor, lstm_states: Tensor) -> None:
        """Allocate for latents and LSTM states like these.

        Args:
            num_nodes: M + 1.
            latents: [B, *latent].
            lstm_states: [B, 2, L].
        """
        self.batch_size = len(latents)
        """B."""
        num_rows = num_nodes * self.batch_size
        self._latents = latents.new_empty((num_rows, *self._as_rows(latents).shape[1:]))
        self._lstm_states = lstm_states.new_empty((num_rows, *lstm_states.shape[1:]))
        self._trees = torch.arange(self.batch_size, device=latents.device)

    def write(self, node: int, latents: Tensor, lstm_states: Tensor, keeps: Tensor | None) -> None:
        """Store node ``node`` of every tree.

        Args:
            node: index of the simulation that made it; 0 for the roots.
            latents: [B, *latent].
            lstm_states: [B, 2, L].
            keeps: bool [B]; False stores a zero LSTM state. None keeps all.
        """
        rows = slice(node * self.batch_size, (node + 1) * self.batch_size)
        self._latents[rows] = self._as_rows(latents)
        if keeps is None:
            self._lstm_states[rows] = lstm_states
        else:
            torch.mul(lstm_states, keeps[:, None, None], out=self._lstm_states[rows])

    def rows(self, nodes: Tensor) -> Tensor:
        """Return where one node per tree lies, i64 [B] from node indices i64 [B]."""
        return nodes * self.batch_size + self._trees

    @staticmethod
    def gather(latents: Tensor, lstm_states: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents [B, *latent] and LSTM states [B, 2, L] of ``rows`` of a pool's storage."""
        chosen = latents.index_select(0, rows)
        if chosen.ndim == _IMAGE_RANK:
            chosen = chosen.permute(0, 3, 1, 2)  # [B, C, H, W], channels-last in memory
        return chosen, lstm_states.index_select(0, rows)

    @property
    def storage(self) -> tuple[Tensor, Tensor]:
        """All rows: latents [(M + 1) * B, *latent] (images [H, W, C]), LSTM states [.., 2, L]."""
        return self._latents, self._lstm_states

    def _as_rows(self, latents: Tensor) -> Tensor:
        return latents.permute(0, 2, 3, 1) if latents.ndim == _IMAGE_RANK else latents
