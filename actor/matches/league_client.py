"""Calls to the learner's league service, and the weights of the pool's members.

Used by actors that play against the pool, and by the evaluator for the ladder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.stubs import league_pb2, league_pb2_grpc, weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.runs.checkpoint import weights_sha256

_WEIGHTS_S = 15.0
"""For a member's weights. One that has left the pool meanwhile never comes."""

_DIGITS = 12

log = logging.getLogger(__name__)


class Opponent(NamedTuple):
    """Whom games are against."""

    member: int  # its number from 1; 0: a baseline
    name: str
    train_step: int  # of the member's weights


class EndedMatch(NamedTuple):
    """One ended game of the newest weights."""

    opponent: Opponent
    train_step: int  # of the newest weights
    seat: int  # 0: they moved first
    outcome: float  # what they earned
    length: int  # moves of both
    is_evaluation: bool


class LeagueClient:
    """One process's calls; use from the thread that uses ``run_client``."""

    def __init__(
        self, run_client: RunClient, address: str, stop: StopSignal, *, role: str, index: int
    ) -> None:
        """Use the connection of ``run_client``.

        Args:
            run_client: of this process.
            address: of the learner, for weights.
            stop: ends every call.
            role: of this process.
            index: of this process.
        """
        self._run_client, self._address, self._stop = run_client, address, stop
        self._role, self._index = role, index
        self._stub = league_pb2_grpc.LeagueServiceStub(run_client.channel)

    def next_opponent(self) -> Opponent | None:
        """Return whom to play next; None on stop, or while there is no opponent.

        Raises:
            LearnerUnavailable: no answer within the client's patience.
            LearnerRefused: the learner refused the request.
        """
        request = league_pb2.GetMatchRequest(
            actor_index=self._index, process=self._run_client.member
        )
        match = self._run_client.call(self._stub.GetMatch, request)
        if match is None or not match.name:
            return None
        return Opponent(match.member, match.name, match.train_step)

    def members(self) -> list[Opponent]:
        """Return the pool's members, oldest first; none on stop. Raises as ``next_opponent``."""
        ladder = self._run_client.call(self._stub.GetLadder, league_pb2.GetLadderRequest())
        players = () if ladder is None else ladder.players
        return [Opponent(p.member, p.name, p.train_step) for p in players if p.member]

    def report(self, matches: Sequence[EndedMatch]) -> bool:
        """Report ended games; return False on stop. Raises as ``next_opponent``."""
        results = [
            league_pb2.MatchResult(
                member=match.opponent.member,
                name=match.opponent.name,
                weights_version=match.train_step,
                seat=match.seat,
                score=0.5 if match.outcome == 0 else float(match.outcome > 0),
                length=match.length,
                is_evaluation=match.is_evaluation,
            )
            for match in matches
        ]
        request = league_pb2.ReportMatchesRequest(
            role=self._role, index=self._index, process=self._run_client.member, results=results
        )
        return self._run_client.call(self._stub.ReportMatches, request) is not None

    def weights(
        self, member: Opponent, expected: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor] | None:
        """Return a member's weights; None on stop, or if it has left the pool.

        Args:
            member: the opponent, not a baseline.
            expected: tensors of the names, shapes and dtypes to receive.

        Raises:
            WeightsRefused: they are of another network.
            RuntimeError: the learner's weight service failed.
        """
        client = WeightClient(
            self._address, weights_pb2.MEMBER, expected, self._stop, member=member.member
        )
        try:
            if not client.wait_first(f"the weights of {member.name}", timeout_s=_WEIGHTS_S):
                return None
            newest = client.take_newer()
        except TimeoutError as error:
            log.warning("%s; another opponent is asked for", error)
            return None
        finally:
            client.close()
        if newest is None:
            return None
        digest = weights_sha256(newest.state_dict)
        log.info("next games are against %s (sha256 %s)", member.name, digest[:_DIGITS])
        return newest.state_dict
