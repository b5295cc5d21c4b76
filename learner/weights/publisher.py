"""The weights that the learner has published, as encoded snapshots.

The learner's loop publishes; actors, reanalyzers and the evaluator pull, each at its own time.
Knows no network: the input is tensors by name, the output is bytes.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weights_codec import encode_weights

WEIGHT_KINDS = (weights_pb2.LATEST, weights_pb2.TARGET)
_CHUNK_BYTES = 512 * 1024
"""Between 256 KiB and 1 MiB the speed over loopback is the same."""
_VERSIONS_PER_INCARNATION = 1 << 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One publication; immutable, so that any number of streams can read it."""

    version: int
    train_step: int
    payload: bytes
    """Empty for a member: nobody but its clients reads it, and the messages have it."""
    num_bytes: int
    messages: tuple[bytes, ...]
    """The serialised stream, made once: serialising it for each of many clients would hold the GIL,
    and delay the learner."""


class WeightPublisher:
    """The newest snapshot of each kind; safe to call from any thread."""

    def __init__(self, *, incarnation: int = 0) -> None:
        """Number publications from 1; later learners of the run begin at far larger numbers.

        Clients outlive a learner. Equal numbers of two learners would look like old weights.
        """
        self._first_version = 1 + incarnation * _VERSIONS_PER_INCARNATION
        self._lock = threading.Lock()
        self._snapshots: dict[int, Snapshot] = {}
        self._members: dict[int, Snapshot] = {}  # by number
        self._bytes_sent = 0

    def publish(
        self, kind: weights_pb2.WeightsKind, state: Mapping[str, Tensor], train_step: int
    ) -> int:
        """Copy ``state`` into a new snapshot of ``kind`` and return its version.

        Encoded once per publication, for any number of processes that pull it. ``Publications``
        does it without delaying the caller.

        Raises:
            ValueError: no such kind, or ``encode_weights`` refuses the tensors; earlier
                publications stay.
        """
        if kind not in WEIGHT_KINDS:
            raise ValueError(f"kind: got {kind}, wanted one of {WEIGHT_KINDS} (LATEST, TARGET)")
        return self.publish_encoded(kind, encode_weights(state), train_step)

    def publish_encoded(
        self, kind: weights_pb2.WeightsKind, payload: bytes, train_step: int
    ) -> int:
        """Publish weights that are encoded already; return their version."""
        header, chunks = _message_parts(kind, payload, train_step)
        with self._lock:
            before = self._snapshots.get(kind)
            version = header.version = before.version + 1 if before else self._first_version
            first = weights_pb2.WeightsMessage(header=header).SerializeToString()
            self._snapshots[kind] = Snapshot(
                version, train_step, payload, len(payload), (first, *chunks)
            )
        name = weights_pb2.WeightsKind.Name(kind).lower()
        log.debug("published %s weights %d of train_step %d", name, version, train_step)
        return version

    def publish_member(self, number: int, payload: bytes, train_step: int) -> None:
        """Serve a member of the pool, whose weights never change, until it is dropped."""
        header, chunks = _message_parts(weights_pb2.MEMBER, payload, train_step)
        header.version = self._first_version
        first = weights_pb2.WeightsMessage(header=header).SerializeToString()
        snapshot = Snapshot(header.version, train_step, b"", len(payload), (first, *chunks))
        with self._lock:
            self._members[number] = snapshot

    def drop_member(self, number: int) -> None:
        """Forget a member; streams that have begun end as usual."""
        with self._lock:
            self._members.pop(number, None)

    def member(self, number: int) -> Snapshot | None:
        """Return a member's snapshot, or None if there is no such member (any more)."""
        with self._lock:
            return self._members.get(number)

    @property
    def bytes_sent(self) -> int:
        """Bytes of weights streamed to all clients."""
        return self._bytes_sent

    def count_sent(self, num_bytes: int) -> None:
        """Count streamed bytes."""
        with self._lock:
            self._bytes_sent += num_bytes

    def newest(self, kind: int) -> Snapshot | None:
        """Return the newest snapshot of ``kind``, or None before the first."""
        with self._lock:
            return self._snapshots.get(kind)


def _message_parts(
    kind: weights_pb2.WeightsKind, payload: bytes, train_step: int
) -> tuple[weights_pb2.WeightsHeader, tuple[bytes, ...]]:
    """Return the header, still without a version, and the serialised chunks."""
    header = weights_pb2.WeightsHeader(
        kind=kind, train_step=train_step, total_bytes=len(payload), crc32=zlib.crc32(payload)
    )
    chunks = tuple(
        weights_pb2.WeightsMessage(chunk=payload[start : start + _CHUNK_BYTES]).SerializeToString()
        for start in range(0, len(payload), _CHUNK_BYTES)
    )
    return header, chunks


class PublishedTarget:
    """The newest target weights as they were published, which may lag behind the network's."""

    def __init__(self, publisher: WeightPublisher) -> None:
        """Keep those of ``publisher``."""
        self._publisher = publisher

    def state_dict(self) -> dict[str, Any] | None:
        """Return the payload, u8 [bytes], and its train_step; None before the first."""
        snapshot = self._publisher.newest(weights_pb2.TARGET)
        if snapshot is None:
            return None
        payload = torch.frombuffer(bytearray(snapshot.payload), dtype=torch.uint8)
        return {"train_step": snapshot.train_step, "payload": payload}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Publish them again."""
        if state is not None:
            payload = state["payload"].numpy().tobytes()
            self._publisher.publish_encoded(weights_pb2.TARGET, payload, state["train_step"])

    def begin_again(self) -> None:
        """Publish nothing: the learner does when it begins to train."""
