"""Admits callers with a token that send complete messages; refusing others costs next to nothing.

In front of all of the learner's services. Two tokens: one of the workers, one for reading only. If
no token is set, on loopback, only the messages are checked. A caller without a token is refused by
the headers of its call: nothing waits for its message, which may never come. Of admitted callers, a
host can hold its share of the server's threads (``held_calls``).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc

from efficientzero.rpc.refusals import Refusals
from learner.services.guarded_handler import GuardedHandler
from learner.services.held_calls import HeldCalls

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

READ_ONLY = frozenset(
    (
        "/efficientzero.RunService/GetStatus",
        "/efficientzero.ClusterService/GetCluster",
        "/efficientzero.LeagueService/GetLadder",
    )
)
"""Methods allowed with the token for reading."""

_WRONG_TOKEN = (
    "got a wrong token or none, wanted this run's: --credentials DIR, the folder that "
    "make_certs.sh made or, on loopback, RUN/credentials"
)


class Gate(grpc.ServerInterceptor):
    """Checks every call before it reaches a service."""

    def __init__(
        self, token: str | None, read_token: str | None = None, *, held: HeldCalls
    ) -> None:
        """Require a token from every caller, as ``authorization: Bearer <token>``.

        Args:
            token: allows every method; None: all methods are open.
            read_token: allows the methods of ``READ_ONLY``; None: there is no such token.
            held: bounds the admitted calls.

        A service refuses a call with ``CallRefused``. If it raises another error, the traceback is
        logged and the caller gets the status "unknown". Unlike after the failure of a thread, the
        process continues: otherwise every caller could end the run.
        """
        self._wanted, self._wanted_to_read = (
            None if given is None else f"Bearer {given}".encode() for given in (token, read_token)
        )
        self._held, self._refusals = held, Refusals()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler | None],
        details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the service's handler, or one that refuses; called before a thread is taken."""
        self._held.end_overdue()
        cause = self._why_refused(details)
        if cause:
            return self._refuse(cause)
        handler = continuation(details)
        if handler is not None and handler.request_deserializer is not None:
            return GuardedHandler(
                handler, details.method, refusals=self._refusals, held=self._held
            ).handler()
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
            yield b""  # never reached; makes this a generator, as a stream's handler must be

        # A handler of single messages would hold a thread until one comes; this one is called
        # with the headers. The caller sees no difference.
        return grpc.stream_stream_rpc_method_handler(refuse)
