"""Lets in who has the token and sends whole messages; everybody else costs one log line.

In front of all of the learner's services. Without a token, on loopback, only the messages count.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from typing import Any, Never, TypeAlias

import grpc

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

log = logging.getLogger(__name__)


class Gate(grpc.ServerInterceptor):
    """Checks every call before it reaches a service."""

    def __init__(self, token: str | None) -> None:
        """Want ``token`` of every caller, as ``authorization: Bearer <token>``; None: nothing.

        Where a service raises, gRPC logs the traceback and answers its caller "unknown". That does
        not end the process as a failing thread does: whoever can call could end the run.
        """
        self._wanted = None if token is None else f"Bearer {token}".encode()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler | None],
        details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the service's handler, or one that refuses."""
        if not self._is_known(details):
            return _STRANGER
        handler = continuation(details)
        if handler is not None and handler.request_deserializer is not None:
            return _quiet(handler, details.method)
        return handler

    def _is_known(self, details: grpc.HandlerCallDetails) -> bool:
        if self._wanted is None:
            return True
        given = dict(details.invocation_metadata or ()).get("authorization", "")
        got = given if isinstance(given, bytes) else given.encode()
        return hmac.compare_digest(got, self._wanted)


class _Malformed:
    """Stands in for a message that could not be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _quiet(handler: _Handler, method: str) -> _Handler:
    """Answer what cannot be read with one line; gRPC would log a traceback for each."""
    read = handler.request_deserializer
    assert read is not None

    def read_or_mark(raw: bytes) -> Any:  # noqa: ANN401  a message of the method's type
        try:
            return read(raw)
        except Exception as error:  # protobuf has one of its own for every implementation
            return _Malformed(error)

    def refuse_malformed(request: Any, context: grpc.ServicerContext) -> None:  # noqa: ANN401
        if isinstance(request, _Malformed):
            log.warning(
                "refused a call of %s: malformed message for %s: %s",
                context.peer(),
                method,
                request.error,
            )
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{method}: malformed message")

    if handler.unary_unary is not None:
        answer = handler.unary_unary

        def unary(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
            refuse_malformed(request, context)
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(unary, read_or_mark, handler.response_serializer)
    stream_of = handler.unary_stream
    assert stream_of is not None  # there are no other kinds of calls

    def stream(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        refuse_malformed(request, context)
        return stream_of(request, context)

    return grpc.unary_stream_rpc_method_handler(stream, read_or_mark, handler.response_serializer)


def _refuse(request: object, context: grpc.ServicerContext) -> Never:
    del request
    log.warning("refused a call of %s: wrong token or none", context.peer())
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "got a wrong token or none, wanted this run's")
    raise AssertionError("abort always raises")


_STRANGER: _Handler = grpc.unary_unary_rpc_method_handler(_refuse)
"""Takes the message as bytes: a stranger's are not even read."""
