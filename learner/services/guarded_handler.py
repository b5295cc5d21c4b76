"""The layer between the gate and the service that answers a call.

An unreadable message, a refusal and a failure of the service each give one answer and a bounded
number of log lines; gRPC would log a traceback for each. A call is counted from its headers on, and
the wait for its message is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from efficientzero.rpc.refusals import Refusals
from learner.services.call_refused import CallRefused
from learner.services.held_calls import HeldCall, HeldCalls

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class GuardedHandler:
    """A service's handler of calls with one message."""

    def __init__(
        self, handler: _Handler, method: str, *, refusals: Refusals, held: HeldCalls
    ) -> None:
        """Keep the parts.

        Args:
            handler: the service's; its answer is one message or a stream.
            method: its name in gRPC.
            refusals: counts and logs refused and failed calls.
            held: bounds the calls that hold a thread.
        """
        self._service, self._method = handler, method
        self._refusals, self._held = refusals, held

    def handler(self) -> _Handler:
        """Return the handler for gRPC."""
        write = self._service.response_serializer
        # For gRPC both accept a stream of messages. With a single-message handler it would wait in
        # a thread, without a limit, for the message before it calls our code.
        if self._service.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._answer, self._read, write)
        return grpc.stream_stream_rpc_method_handler(self._stream, self._read, write)

    def _read(self, raw: bytes) -> Any:  # noqa: ANN401  a message of the method's type
        assert self._service.request_deserializer is not None
        try:
            return self._service.request_deserializer(raw)
        except Exception:  # every implementation of protobuf has a different class
            return _Malformed()

    def _answer(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        assert self._service.unary_unary is not None
        with self._guarded(context), self._held.hold(context) as call:
            return self._service.unary_unary(self._message(requests, call), context)

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        assert self._service.unary_stream is not None  # there are no other kinds of calls
        with self._guarded(context), self._held.hold(context) as call:
            yield from self._service.unary_stream(self._message(requests, call), context)

    def _message(self, requests: Iterator[Any], call: HeldCall) -> Any:  # noqa: ANN401
        message = next(requests, None)
        if message is None and call.is_ended:  # gRPC may see the end before the cause
            raise _Ended
        if message is None or isinstance(message, _Malformed):
            what = "no message" if message is None else "malformed message"
            raise CallRefused(f"{what} for {self._method}")
        call.has_message = True
        return message

    @contextmanager
    def _guarded(self, context: grpc.ServicerContext) -> Iterator[None]:
        peer = context.peer()  # gRPC forgets it with the connection
        try:
            yield
        except CallRefused as refusal:
            code, said = refusal.code, str(refusal)
            if context.is_active():  # a call that its caller gave up looks like one without message
                self._refusals.note(peer, f"{self._method} {refusal.cause}", said)
        except _Ended:
            code, said = grpc.StatusCode.CANCELLED, f"{self._method}: no message in time"
        except grpc.RpcError:
            raise  # by gRPC itself: the call was cancelled during the wait for its message
        except Exception as error:
            code, said = grpc.StatusCode.UNKNOWN, f"{self._method} failed: {type(error).__name__}"
            self._refusals.note(peer, said, failure=error)
        else:
            return
        context.abort(code, said)


class _Ended(Exception):
    """The call was ended during the wait for its message."""


class _Malformed:
    """Placeholder for a message that could not be read."""
