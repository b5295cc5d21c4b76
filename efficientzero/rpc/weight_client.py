"""The newest weights, fetched in the background so that no search waits for them.

Used by actors, reanalyzers and the evaluator. Knows names and shapes of the tensors to receive, but
no network.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import grpc
from torch import Tensor

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import PlainError, StopSignal, WaitReason
from efficientzero.rpc.channel import AWAY, MAX_CHUNK_BYTES, open_channel, reason_of
from efficientzero.rpc.stubs import weights_pb2, weights_pb2_grpc
from efficientzero.rpc.weights_codec import OtherNetwork, decode_weights

_POLL_S = 0.5
_PULL_DEADLINE_S = 30.0
_LOOK_S = 0.25
_NO_VERSION = -1

log = logging.getLogger(__name__)


class Weights(NamedTuple):
    """One published set of weights."""

    state_dict: dict[str, Tensor]  # on the CPU
    version: int  # number of the publication
    train_step: int  # number of train_steps they were trained for


class WeightSource(Protocol):
    """The part of a client that a role's loop uses."""

    def wait_first(self, what: str) -> bool:
        """Wait until there are weights; return False on stop."""

    def take_newer(self) -> Weights | None:
        """Return weights to use from now on, or None to keep the current ones."""


_ONE_NETWORK = ". All processes of a run must be of one version and read the same config.json"


class WeightsRefused(PlainError, ValueError):
    """The learner's weights do not fit this process's network."""


class WeightClient:
    """Holds the newest weights of one kind."""

    def __init__(
        self,
        address: str,
        kind: weights_pb2.WeightsKind,
        expected: Mapping[str, Tensor],
        stop: StopSignal,
        *,
        member: int = 0,
        poll_s: float = _POLL_S,
    ) -> None:
        """Start to fetch from ``host:port`` in a separate thread.

        Args:
            address: of the learner, which need not run yet.
            kind: LATEST, TARGET, or MEMBER of the pool of opponents.
            expected: tensors of the names, shapes and dtypes to receive.
            stop: ends the thread and every wait.
            member: which one, from 1.
            poll_s: seconds between checks for newer weights.
        """
        self._member = member
        self._address, self._kind, self._stop, self._poll_s = address, kind, stop, poll_s
        self._expected = dict(expected)
        # The format adds names and a header to the tensors; a far larger message is not ours.
        tensor_bytes = sum(t.numel() * t.element_size() for t in self._expected.values())
        self._most_bytes = 2 * tensor_bytes + MAX_CHUNK_BYTES
        self._closed = threading.Event()
        self._changed = threading.Condition()
        # Under the condition:
        self._newest: Weights | None = None  # fetched and not yet taken
        self._failure: Exception | None = None
        self._away_reason = ""  # empty while the learner answers
        self._call: grpc.Call | None = None  # the pull in flight
        self._is_awaited = False  # a caller waits for the next pull
        self._taken_train_step: int | None = None
        self._channel = open_channel(address)
        self._stub = weights_pb2_grpc.WeightServiceStub(self._channel)
        self._thread = guarded_thread(self._follow, stop, name="weight-client")

    def take_newer(self) -> Weights | None:
        """Return weights newer than the last ones taken, or None; never waits.

        Raises:
            WeightsRefused: the learner sent other than the expected weights.
            RuntimeError: the learner's weight service failed (being away is no failure).
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            return self._take()

    def take_at(self, train_step: int) -> Weights | None:
        """Wait for the weights of ``train_step``, which must be the newest.

        Returns:
            The weights, or None if they were the last ones taken, or on stop.

        Raises:
            WeightsRefused: as in ``take_newer``.
            RuntimeError: as in ``take_newer``, or newer ones came.
        """
        reason = WaitReason(f"the weights of train_step {train_step}")
        with self._changed:
            if self._taken_train_step == train_step:
                return None
            while not self._stop.is_set():
                if self._failure is not None:
                    raise self._failure
                known = self._newest.train_step if self._newest is not None else -1
                if known == train_step:
                    return self._take()
                if known > train_step:
                    raise RuntimeError(f"weights: got train_step {known}, wanted {train_step}")
                self._is_awaited = True
                self._changed.notify_all()
                self._changed.wait(_LOOK_S)
                reason.tick(self._away_reason)
        return None

    def wait_first(self, what: str, *, timeout_s: float | None = None) -> bool:
        """Wait until there are weights to take; return False on stop.

        Args:
            what: names the wait in the log.
            timeout_s: seconds to wait at most; None waits until stop.

        Raises:
            TimeoutError: nothing came in ``timeout_s``.
            WeightsRefused: as in ``take_newer``.
            RuntimeError: as in ``take_newer``.
        """
        reason = WaitReason(f"{what} from the learner at {self._address}")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while self._newest is None and not self._stop.is_set():
                if self._failure is not None:
                    raise self._failure
                if deadline is not None and time.monotonic() >= deadline:
                    why = self._away_reason or "none published yet"
                    raise TimeoutError(
                        f"{what}: none from learner {self._address} in {timeout_s:g} s ({why})"
                    )
                self._changed.wait(_LOOK_S)
                reason.tick(self._away_reason)
        return not self._stop.is_set()

    def close(self) -> None:
        """Stop fetching and end the thread."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
            if self._call is not None:
                self._call.cancel()
        self._thread.join(_PULL_DEADLINE_S)
        self._channel.close()

    def _take(self) -> Weights | None:
        """Called under the condition."""
        newest, self._newest = self._newest, None
        if newest is not None:
            self._taken_train_step = newest.train_step
        return newest

    def _follow(self) -> None:
        version = _NO_VERSION
        while not (self._stop.is_set() or self._closed.is_set()):
            try:
                weights = self._pull(version)
            except grpc.RpcError as error:
                if not self._survives(error):
                    return
            except ValueError as error:
                why = f"{error} (from the learner at {self._address})"
                self._fail(WeightsRefused(why + _ONE_NETWORK * isinstance(error, OtherNetwork)))
                return
            except Exception as error:
                # Pass every error on to the caller: nothing above this thread would see it.
                self._fail(error)
                return
            else:
                with self._changed:
                    self._away_reason = ""
                    if weights is not None:
                        version, self._newest = weights.version, weights
                        self._changed.notify_all()
                if weights is not None:
                    log.debug("weights %d of train_step %d", version, weights.train_step)
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_awaited or self._closed.is_set(), self._poll_s
                )
                self._is_awaited = False

    def _pull(self, known_version: int) -> Weights | None:
        request = weights_pb2.GetWeightsRequest(
            kind=self._kind, known_version=known_version, member=self._member
        )
        call = self._stub.GetWeights(request, timeout=_PULL_DEADLINE_S, wait_for_ready=True)
        with self._changed:
            self._call = call
        try:
            if self._closed.is_set():
                return None
            return self._read(iter(call))
        finally:
            call.cancel()  # of no effect on a finished stream
            with self._changed:
                self._call = None

    def _read(self, messages: Iterator[weights_pb2.WeightsMessage]) -> Weights | None:
        first = next(messages, None)
        if first is None:
            return None
        if first.WhichOneof("part") != "header":
            raise ValueError(f"weights: got {first.WhichOneof('part')} first, wanted the header")
        header = first.header
        if header.kind != self._kind:
            raise ValueError(f"weights: got kind {header.kind}, wanted {self._kind}")
        if not 0 < header.total_bytes <= self._most_bytes:
            raise ValueError(
                f"weights: got total_bytes {header.total_bytes}, wanted 1 to {self._most_bytes}"
            )
        payload = b"".join(_chunks(messages, header.total_bytes))
        crc32 = zlib.crc32(payload)
        if crc32 != header.crc32:
            raise ValueError(f"weights: got crc32 {crc32:#010x}, wanted {header.crc32:#010x}")
        return Weights(decode_weights(payload, self._expected), header.version, header.train_step)

    def _survives(self, error: grpc.RpcError) -> bool:
        code = error.code() if isinstance(error, grpc.Call) else None
        if code in AWAY or self._closed.is_set():
            with self._changed:
                self._away_reason = reason_of(error)
            return True
        self._fail(RuntimeError(f"weights from {self._address}: {reason_of(error)}"))
        return False

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


def _chunks(messages: Iterable[weights_pb2.WeightsMessage], total_bytes: int) -> Iterator[bytes]:
    """Yield the chunks, which must add up to ``total_bytes``."""
    received = 0
    for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise ValueError(f"weights: got {message.WhichOneof('part')}, wanted a chunk")
        received += len(message.chunk)
        if received > total_bytes:
            raise ValueError(f"weights: got more than {total_bytes} bytes, wanted {total_bytes}")
        yield message.chunk
    if received != total_bytes:
        raise ValueError(f"weights: got {received} bytes, wanted {total_bytes}")
