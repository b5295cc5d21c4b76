"""Batch norm over the batches of all ranks, so that the number of ranks changes only rounding.

Used by ``group``. On CUDA this is torch's ``SyncBatchNorm``, which has no CPU version. This file
adds one, so that a learner on several processes can run and be tested without a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def with_synced_norms(network: nn.Module) -> None:
    """Replace the batch norms inside ``network``; parameters, buffers and names stay."""
    if next(network.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, _CpuSyncedBatchNorm.of(child))


class _CpuSyncedBatchNorm(_BatchNorm):
    """Normalises by mean and variance over the equal batches of all ranks while it trains."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> _CpuSyncedBatchNorm:
        """Return one that shares the parameters and buffers of ``norm``."""
        synced = cls(norm.num_features, norm.eps, norm.momentum, device="meta")
        synced._parameters.update(norm._parameters)
        synced._buffers.update(norm._buffers)
        return synced.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # as the norm that was replaced: any number of dimensions

    def forward(self, input: Tensor) -> Tensor:
        """Return ``input``, [B, C, ...], normalised."""
        if not self.training:
            return super().forward(input)
        dims = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        mean = _mean_over_ranks(input.mean(dims))
        centered = input - mean.view(shape)
        variance = _mean_over_ranks(centered.square().mean(dims))
        self._follow(mean, variance, input.numel() // input.shape[1] * dist.get_world_size())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centered * scale.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)  # unbiased


def _mean_over_ranks(numbers: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(numbers)  # type: ignore[no-untyped-call]
    return total / dist.get_world_size()


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose gradient is that of the sum of all ranks' losses: an all-reduce again."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:  # noqa: ANN401  torch's context
        del ctx
        total = numbers.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        del ctx
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
