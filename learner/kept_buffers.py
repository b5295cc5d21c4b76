"""A network's buffers, put back on the device where a train_step must not have happened.

Used by ``learner.update``: batch-norm statistics move in the forward pass, before the loss is known
to be a number, and the host learns of it only later.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class KeptBuffers:
    """Copies of buffers, and their return; a few kernels whatever the number of buffers."""

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        """Follow ``buffers``, which keep their addresses."""
        of_dtype: dict[torch.dtype, list[Tensor]] = {}
        for buffer in buffers:
            of_dtype.setdefault(buffer.dtype, []).append(buffer)
        # A list of several dtypes would be copied tensor by tensor.
        self._groups = [_Group(group) for group in of_dtype.values()]

    def keep(self) -> None:
        """Remember what the buffers hold now."""
        for group in self._groups:
            torch._foreach_copy_(group.before_views, group.live)

    def put_back_where(self, is_unusable: Tensor) -> None:
        """Give the buffers back what was kept if ``is_unusable``, bool [], is true."""
        for group in self._groups:
            torch._foreach_copy_(group.after_views, group.live)
            # A product with 0 would not do: the statistics may be NaN.
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
