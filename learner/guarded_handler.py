"""What stands between a call that the gate lets in and the service that answers it.

A message that cannot be read, a refusal and a failure of the service end in one answer and a
bounded number of log lines; gRPC would log a traceback for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from learner.refusals import CallRefused, Refusals

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class GuardedHandler:
    """A service's handler of calls with one message."""

    def __init__(self, handler: _Handler, method: str, refusals: Refusals) -> None:
        """Keep the parts.

        Args:
            handler: the service's; its answer is one message or a stream.
            method: the name that gRPC calls it by.
            refusals: counts and logs what is not answered.
        """
        self._service, self._method, self._refusals = handler, method, refusals

    def handler(self) -> _Handler:
        """Return what gRPC is to call."""
        write = self._service.response_serializer
        if self._service.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._answer, self._read, write)
        return grpc.unary_stream_rpc_method_handler(self._stream, self._read, write)

    def _read(self, raw: bytes) -> Any:  # noqa: ANN401  a message of the method's type
        assert self._service.request_deserializer is not None
        try:
            return self._service.request_deserializer(raw)
        except Exception:  # protobuf has one of its own for every implementation
            return _Malformed()

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        assert self._service.unary_unary is not None
        with self._guarded(request, context):
            return self._service.unary_unary(request, context)

    def _stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401
        assert self._service.unary_stream is not None  # there are no other kinds of calls
        with self._guarded(request, context):
            yield from self._service.unary_stream(request, context)

    @contextmanager
    def _guarded(self, request: Any, context: grpc.ServicerContext) -> Iterator[None]:  # noqa: ANN401
        try:
            if isinstance(request, _Malformed):
                raise CallRefused(f"malformed message for {self._method}")
            yield
        except CallRefused as refusal:
            code, said = refusal.code, str(refusal)
            self._refusals.note(context.peer(), f"{self._method} {refusal.cause}", said)
        except Exception as error:
            code, said = grpc.StatusCode.UNKNOWN, f"{self._method} failed: {type(error).__name__}"
            self._refusals.note(context.peer(), said, failure=error)
        else:
            return
        context.abort(code, said)


class _Malformed:
    """Stands in for a message that could not be read."""
