"""The weights the learner has published, and the service that streams them to whoever asks.

The learner's loop publishes; actors, reanalyzers and the evaluator pull, each at its own time.
Knows no network: tensors by name come in, bytes go out.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import grpc
from torch import Tensor

from efficientzero.rpc import weights_pb2, weights_pb2_grpc
from efficientzero.weights_codec import encode_weights

_KINDS = (weights_pb2.LATEST, weights_pb2.TARGET)
_CHUNK_BYTES = 512 * 1024
"""Between 256 KiB and 1 MiB the speed over loopback is the same."""
_VERSIONS_PER_INCARNATION = 1 << 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One publication; never changed, so that any number of streams can read it."""

    version: int
    train_step: int
    payload: bytes
    crc32: int


class WeightPublisher:
    """The newest snapshot of each kind; safe to call from any thread."""

    def __init__(self, *, incarnation: int = 0) -> None:
        """Number publications from 1 on; learners that follow it in the run, from far above.

        Clients outlive a learner. Equal numbers of two learners would look like old weights.
        """
        self._first_version = 1 + incarnation * _VERSIONS_PER_INCARNATION
        self._lock = threading.Lock()
        self._snapshots: dict[int, Snapshot] = {}
        self._bytes_sent = 0

    def publish(
        self, kind: weights_pb2.WeightsKind, state: Mapping[str, Tensor], train_step: int
    ) -> int:
        """Copy ``state`` into a new snapshot of ``kind`` and return its version.

        Costs the caller one copy to the host, one into the payload and a checksum, however many
        processes pull it: encoded once per publication, never per client.

        Raises:
            ValueError: no such kind, or ``encode_weights`` refuses the tensors; what was
                published before stays.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind: got {kind}, wanted one of {_KINDS} (LATEST, TARGET)")
        return self.restore(kind, encode_weights(state), train_step)

    def restore(self, kind: weights_pb2.WeightsKind, payload: bytes, train_step: int) -> int:
        """Publish weights that are encoded already, from a checkpoint; return their version."""
        crc32 = zlib.crc32(payload)
        with self._lock:
            before = self._snapshots.get(kind)
            version = before.version + 1 if before else self._first_version
            self._snapshots[kind] = Snapshot(version, train_step, payload, crc32)
        name = weights_pb2.WeightsKind.Name(kind).lower()
        log.debug("published %s weights %d of train_step %d", name, version, train_step)
        return version

    @property
    def bytes_sent(self) -> int:
        """Bytes of weights that were streamed to anybody."""
        return self._bytes_sent

    def count_sent(self, num_bytes: int) -> None:
        """Count what was streamed."""
        with self._lock:
            self._bytes_sent += num_bytes

    def newest(self, kind: int) -> Snapshot | None:
        """Return the newest snapshot of ``kind``, or None before the first."""
        with self._lock:
            return self._snapshots.get(kind)


class WeightServicer(weights_pb2_grpc.WeightServiceServicer):
    """Streams a publisher's snapshots."""

    def __init__(self, publisher: WeightPublisher) -> None:
        self._publisher = publisher

    def GetWeights(  # noqa: N802  named by the contract
        self, request: weights_pb2.GetWeightsRequest, context: grpc.ServicerContext
    ) -> Iterator[weights_pb2.WeightsMessage]:
        """Stream the newest snapshot: its header, then its bytes in order."""
        if request.kind not in _KINDS:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"kind: got {request.kind}, wanted {_KINDS}"
            )
        snapshot = self._publisher.newest(request.kind)
        # Equal, not "at least": a caller who outlived another learner may know a higher version.
        if snapshot is None or snapshot.version == request.known_version:
            return
        yield weights_pb2.WeightsMessage(
            header=weights_pb2.WeightsHeader(
                kind=request.kind,
                version=snapshot.version,
                train_step=snapshot.train_step,
                total_bytes=len(snapshot.payload),
                crc32=snapshot.crc32,
            )
        )
        for start in range(0, len(snapshot.payload), _CHUNK_BYTES):
            yield weights_pb2.WeightsMessage(chunk=snapshot.payload[start : start + _CHUNK_BYTES])
        self._publisher.count_sent(len(snapshot.payload))
