"""Publishes weights without delaying training.

Used by ``publishing``. The caller only copies the weights on their device; transfer to the host,
rounding, checks, encoding and checksum happen in a thread, once per publication.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor  # noqa: TID251  each future is read

import torch
from torch import Tensor

from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weights_codec import encode_weights
from learner.weights.members import Members
from learner.weights.publisher import WeightPublisher

_PATIENCE_S = 120.0
_NUM_COPIES = 2


class Publications:
    """Pending publications, in order; use from one thread."""

    def __init__(
        self,
        publisher: WeightPublisher,
        *,
        dtype: torch.dtype = torch.float32,
        members: Members | None = None,
    ) -> None:
        """Publish through ``publisher``.

        Args:
            publisher: of all kinds.
            dtype: see ``encode_weights``.
            members: of the pool, which acting weights join as they are published; None: no pool.
        """
        self._publisher, self._dtype, self._members = publisher, dtype, members
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._copies = [_Copy() for _ in range(_NUM_COPIES)]
        self._futures: list[Future[None]] = []  # oldest first, one for each copy in use
        self._num_published = 0

    def publish(
        self,
        kinds: Sequence[weights_pb2.WeightsKind],
        state: Mapping[str, Tensor],
        train_step: int,
    ) -> None:
        """Copy ``state`` and have it published as every one of ``kinds``, encoded once.

        Waits only if two earlier publications are still pending.

        Raises:
            ValueError: an earlier publication failed: its tensors were not finite.
            OSError: an earlier publication failed: its file of a member could not be written.
            TimeoutError: an earlier publication is still pending after two minutes.
        """
        self._look_after(_NUM_COPIES - 1)
        copy = self._copies[self._num_published % _NUM_COPIES]
        self._num_published += 1
        copy.take(state)
        self._futures.append(self._thread.submit(self._send, copy, tuple(kinds), train_step))

    def wait(self) -> None:
        """Wait until all are published; raises as ``publish`` does."""
        self._look_after(0)

    def check(self) -> None:
        """Raise the error of a failed publication, if there is one; never waits."""
        self._look_after(_NUM_COPIES)

    def _look_after(self, most_left: int) -> None:
        while self._futures and (len(self._futures) > most_left or self._futures[0].done()):
            self._futures.pop(0).result(_PATIENCE_S)

    def _send(
        self, copy: _Copy, kinds: tuple[weights_pb2.WeightsKind, ...], train_step: int
    ) -> None:
        payload = encode_weights(copy.on_host(), dtype=self._dtype)
        for kind in kinds:
            self._publisher.publish_encoded(kind, payload, train_step)
        if self._members is not None and weights_pb2.LATEST in kinds:
            self._members.admit(payload, train_step)


class _Copy:
    """A copy of the weights at one instant, on their device, in memory that is reused."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._stream: torch.cuda.Stream | None = None
        self._taken: torch.cuda.Event | None = None

    @torch.no_grad()
    def take(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state``, always the same tensors; on a GPU asynchronously."""
        if not self._tensors:
            self._tensors = {name: torch.empty_like(tensor) for name, tensor in state.items()}
            device = next(iter(state.values())).device
            if device.type == "cuda":
                self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        of_dtype: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, tensor in state.items():
            copies, originals = of_dtype.setdefault(tensor.dtype, ([], []))
            copies.append(self._tensors[name])
            originals.append(tensor)
        for copies, originals in of_dtype.values():
            torch._foreach_copy_(copies, originals)
        if self._stream is not None:
            self._taken = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._taken.record(torch.cuda.current_stream(self._stream.device))

    def on_host(self) -> dict[str, Tensor]:
        """Return the copies on the host; on a GPU by a stream that waits only for them."""
        if self._stream is not None and self._taken is not None:
            self._stream.wait_event(self._taken)
            with torch.cuda.stream(self._stream):
                return {name: tensor.cpu() for name, tensor in self._tensors.items()}
        return self._tensors
