"""How a service refuses a call; the gate in front of it answers, counts and logs it."""

from __future__ import annotations

import re

import grpc

from efficientzero.rpc.texts import clean

_LONGEST_REASON = 1_000


class CallRefused(Exception):
    """A call is refused: the caller gets code and reason."""

    def __init__(
        self, reason: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    ) -> None:
        """Keep both.

        Args:
            reason: ``what: got ..., wanted ...``; may have texts of the caller in it.
            code: of the answer.
        """
        super().__init__(clean(reason, most=_LONGEST_REASON))
        self.code = code

    @property
    def cause(self) -> str:
        """What the reason begins with, which no caller can vary: all but numbers, up to "got"."""
        return re.sub(r"\d+", "", str(self).partition("got ")[0])
