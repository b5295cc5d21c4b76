"""Typed calls to the learner's run service, for actors and the evaluator.

A call survives a short absence of the learner, has a deadline and sees the stop signal.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import grpc

from efficientzero.process.runtime import PlainError, StopSignal, WaitReason
from efficientzero.rpc.channel import AWAY, open_channel, reason_of
from efficientzero.rpc.stubs import run_pb2, run_pb2_grpc
from efficientzero.schema import BatchTurn, Grant, Phase

_PATIENCE_S = 180.0
"""Enough for a restarted learner to read its checkpoint on a busy machine or another host."""
_LOOK_S = 0.25
"""Seconds between checks of the stop signal; also the time left to a call once stop is set."""

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")


class LearnerRefused(PlainError, ValueError):
    """The learner refused a request: this process was replaced, or the request is wrong."""


class LearnerUnavailable(PlainError, ConnectionError):
    """The learner did not answer within the time that a caller may wait."""


class BaselineScore(NamedTuple):
    """An evaluation's games against one fixed opponent in one seat, in games of two players."""

    name: str  # of ``league.baselines``
    seat: int  # 0: the network moved first
    wins: int
    draws: int
    losses: int


class RunClient:
    """One process's connection to the run service. Not for concurrent use by several threads."""

    def __init__(
        self,
        address: str,
        stop: StopSignal,
        *,
        member: int | None = None,
        index: int = 0,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Prepare a connection to ``host:port``; nothing is sent yet.

        Args:
            address: of the learner.
            stop: ends every call within a quarter of a second.
            member: holds this process's place in the run; None: a random number.
            index: of that place.
            patience_s: seconds that a call keeps trying while the learner does not answer.
        """
        self._address, self._stop, self._patience_s = address, stop, patience_s
        self.channel = open_channel(address)
        """The connection, for stubs of the learner's other services."""
        self._stub = run_pb2_grpc.RunServiceStub(self.channel)
        # Distinguishes this process from earlier ones of the same index; no part of the seed tree.
        self.member, self._index = member or secrets.randbits(62) + 1, index
        self._answered: dict[int, int] = {}  # newest answered request number, by actor index
        self.latest_train_step: int | None = None
        """Train_step of the newest acting weights published at the time of the last grant."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    def acquire_env_steps(
        self, actor_index: int, *, completed: int, wanted: int, wait_s: float
    ) -> Grant:
        """Report ``completed`` env_steps and ask for ``wanted``; wait up to ``wait_s`` seconds.

        Returns:
            The grant; on stop an empty one (then ``completed`` may not have been counted).

        Raises:
            LearnerUnavailable: no answer in ``wait_s`` and the client's patience.
            LearnerRefused: the learner refused the request.
        """
        number = self._answered.get(actor_index, 0) + 1
        request = run_pb2.AcquireEnvStepsRequest(
            actor_index=actor_index,
            completed=completed,
            wanted=wanted,
            wait_seconds=wait_s,
            incarnation=self.member,
            request=number,
        )
        reply = self.call(self._stub.AcquireEnvSteps, request, wait_s=wait_s)
        if reply is None:
            return Grant(0, False, Phase.COLLECTING)
        self._answered[actor_index] = number
        self.latest_train_step = reply.latest_train_step
        return Grant(
            reply.granted,
            reply.collection_ended,
            Phase(reply.phase),
            reply.max_priority,
            reply.env_steps,
        )

    def acquire_batch(self, train_step: int, *, wait_s: float) -> BatchTurn | None:
        """Wait up to ``wait_s`` seconds for the permission to make the batch of ``train_step``.

        Returns:
            The permission, or None if it did not come in time or on stop.

        Raises:
            LearnerUnavailable: no answer in ``wait_s`` and the client's patience.
            LearnerRefused: the learner refused the request: the run is not a deterministic one.
        """
        request = run_pb2.AcquireBatchRequest(
            train_step=train_step,
            wait_seconds=wait_s,
            reanalyzer_index=self._index,
            member=self.member,
        )
        reply = self.call(self._stub.AcquireBatch, request, wait_s=wait_s)
        if reply is None or not reply.granted:
            return None
        return BatchTurn(reply.target_train_step, reply.keys, reply.priorities)

    def report_episodes(self, actor_index: int, episodes: Iterable[tuple[float, int]]) -> bool:
        """Report (raw return, length in env_steps) of ended games; return False on stop.

        Raises:
            LearnerUnavailable: no answer within the client's patience.
            LearnerRefused: the learner refused the report.
        """
        request = run_pb2.ReportEpisodesRequest(
            actor_index=actor_index, episodes=_episode_results(episodes), member=self.member
        )
        return self.call(self._stub.ReportEpisodes, request) is not None

    def report_evaluation(
        self,
        *,
        weights_version: int,
        is_final: bool,
        episodes: Iterable[tuple[float, int]],
        seconds: float,
        scores: Iterable[BaselineScore] = (),
    ) -> bool:
        """Report the result of an evaluation; return False on stop.

        Args:
            weights_version: train_step of the weights evaluated.
            is_final: whether they are the finished run's last weights.
            episodes: (raw return, length in env_steps) of each.
            seconds: wall time of the evaluation.
            scores: with two players; the episodes are those against the first baseline.

        Raises:
            LearnerUnavailable: no answer within the client's patience.
            LearnerRefused: the learner refused the report.
        """
        request = run_pb2.ReportEvaluationRequest(
            weights_version=weights_version,
            is_final=is_final,
            episodes=_episode_results(episodes),
            seconds=seconds,
            member=self.member,
            scores=[run_pb2.BaselineScore(**score._asdict()) for score in scores],
        )
        return self.call(self._stub.ReportEvaluation, request) is not None

    def status(self) -> run_pb2.RunStatus | None:
        """Return the run's counters, or None on stop.

        Raises:
            LearnerUnavailable: no answer within the client's patience.
        """
        return self.call(self._stub.GetStatus, run_pb2.GetStatusRequest())

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Reply],
        request: _Request,
        *,
        wait_s: float = 0.0,
    ) -> _Reply | None:
        """Call a method of the learner, of a stub on ``channel``; return None on stop.

        Args:
            method: takes and returns one message.
            request: the message.
            wait_s: seconds that the learner may hold the call.

        Raises:
            LearnerUnavailable: no answer in ``wait_s`` and the client's patience.
            LearnerRefused: the learner refused the request.
        """
        reason = WaitReason(f"an answer of the learner at {self._address}", after_s=wait_s + 10.0)
        call = method.future(request, timeout=wait_s + self._patience_s, wait_for_ready=True)
        try:
            while True:
                try:
                    reply: _Reply = call.result(timeout=_LOOK_S)
                    return reply
                except grpc.FutureTimeoutError:
                    if self._stop.is_set():
                        return None
                    reason.tick()
        except grpc.RpcError as error:
            raise self._translated(error) from error
        finally:
            call.cancel()  # of no effect on a finished call

    def _translated(self, error: grpc.RpcError) -> Exception:
        code = error.code() if isinstance(error, grpc.Call) else None
        if code in AWAY:
            return LearnerUnavailable(
                f"learner at {self._address} cannot be reached for {self._patience_s:g} s "
                f"({reason_of(error)})"
            )
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return LearnerRefused(f"learner at {self._address} refused: {reason_of(error)}")
        return RuntimeError(f"learner at {self._address} failed: {reason_of(error)}")


def _episode_results(episodes: Iterable[tuple[float, int]]) -> list[run_pb2.EpisodeResult]:
    return [
        run_pb2.EpisodeResult(episode_return=total, length=length) for total, length in episodes
    ]
