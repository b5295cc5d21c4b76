"""How a service refuses a call; the gate in front of it answers, counts and logs the refusal."""

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
            reason: ``what: got ..., wanted ...``; may contain texts of the caller.
            code: of the answer.
        """
        super().__init__(clean(reason, most=_LONGEST_REASON))
        self.code = code

    @property
    def cause(self) -> str:
        """The part of the reason that no caller can vary: up to "got", without numbers."""
        return re.sub(r"\d+", "", str(self).partition("got ")[0])
