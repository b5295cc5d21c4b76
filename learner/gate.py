"""Lets in who has a token and sends whole messages; everybody else costs next to nothing.

In front of all of the learner's services. Two tokens: one of the workers, one that only reads.
Without a token, on loopback, only the messages count. A stranger is refused by the headers of a
call: nothing waits for its message, which may never come.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc

from efficientzero.refusals import Refusals

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

READ_ONLY = frozenset(
    ("/efficientzero.RunService/GetStatus", "/efficientzero.ClusterService/GetCluster")
)
"""Methods that the token for reading opens."""

_WRONG_TOKEN = (
    "got a wrong token or none, wanted this run's: --credentials DIR, the folder that "
    "make_certs.sh made or, on loopback, RUN/credentials"
)


class Gate(grpc.ServerInterceptor):
    """Checks every call before it reaches a service."""

    def __init__(self, token: str | None, read_token: str | None = None) -> None:
        """Want a token of every caller, as ``authorization: Bearer <token>``.

        Args:
            token: opens every method; None: all of them are open.
            read_token: opens those of ``READ_ONLY``; None: nobody has one.

        Where a service raises, gRPC logs the traceback and answers its caller "unknown". That does
        not end the process as a failing thread does: whoever can call could end the run.
        """
        self._wanted, self._wanted_to_read = (
            None if given is None else f"Bearer {given}".encode() for given in (token, read_token)
        )
        self._refusals = Refusals()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler | None],
        details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the service's handler, or one that refuses."""
        cause = self._why_refused(details)
        if cause:
            return self._refuse(cause)
        handler = continuation(details)
        if handler is not None and handler.request_deserializer is not None:
            return _quiet(handler, details.method, self._refusals)
        return handler

    def _why_refused(self, details: grpc.HandlerCallDetails) -> str:
        if self._wanted is None:
            return ""
        given = dict(details.invocation_metadata or ()).get("authorization", "")
        got = given if isinstance(given, bytes) else given.encode()
        if hmac.compare_digest(got, self._wanted):
            return ""
        if self._wanted_to_read is None or not hmac.compare_digest(got, self._wanted_to_read):
            return _WRONG_TOKEN
        if details.method in READ_ONLY:
            return ""
        return f"{details.method}: got the token for reading, wanted the workers'"

    def _refuse(self, cause: str) -> _Handler:
        def refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            del requests
            self._refusals.note(context.peer(), cause)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, cause)
            yield b""  # never reached; what makes this a stream's handler

        # A handler of single messages would hold a thread until one comes; this one is called
        # with the headers. To the caller both look alike.
        return grpc.stream_stream_rpc_method_handler(refuse)


class _Malformed:
    """Stands in for a message that could not be read."""


def _quiet(handler: _Handler, method: str, refusals: Refusals) -> _Handler:
    """Answer what cannot be read with one line; gRPC would log a traceback for each."""
    read = handler.request_deserializer
    assert read is not None

    def read_or_mark(raw: bytes) -> Any:  # noqa: ANN401  a message of the method's type
        try:
            return read(raw)
        except Exception:  # protobuf has one of its own for every implementation
            return _Malformed()

    def refuse_malformed(request: Any, context: grpc.ServicerContext) -> None:  # noqa: ANN401
        if isinstance(request, _Malformed):
            refusals.note(context.peer(), f"malformed message for {method}")
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
