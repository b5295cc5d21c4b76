"""The league service: opponents for actors, results of games, and the ladder.

Checks requests and passes them to the league.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from efficientzero.rpc.stubs import league_pb2, league_pb2_grpc, weights_pb2
from learner.services.call_refused import CallRefused
from learner.services.claims import Claims
from learner.weights import League, WeightPublisher

_REPORTERS = ("actor", "evaluator")
_SCORES = (0.0, 0.5, 1.0)
_MOST_RESULTS = 10_000
"""Of one report; a larger one would hold the league's lock for long."""


class LeagueServicer(league_pb2_grpc.LeagueServiceServicer):
    """Answers from the league."""

    def __init__(
        self,
        league: League,
        publisher: WeightPublisher,
        *,
        is_closing: Callable[[], bool],
        claims: Claims | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            league: members and games.
            publisher: knows the newest weights.
            is_closing: returns true once waits should end.
            claims: checks that a caller has its place; None: it is not checked.
        """
        self._league, self._publisher = league, publisher
        self._is_closing, self._claims = is_closing, claims

    def GetMatch(  # noqa: N802  named by the contract
        self, request: league_pb2.GetMatchRequest, context: grpc.ServicerContext
    ) -> league_pb2.Match:
        """Draw an opponent."""
        self._check_place(context, "actor", request.actor_index, request.process)
        drawn = self._league.draw()
        if drawn.member is None:
            return league_pb2.Match(name=drawn.baseline)
        member = drawn.member
        return league_pb2.Match(
            member=member.number, name=member.name, train_step=member.train_step
        )

    def ReportMatches(  # noqa: N802
        self, request: league_pb2.ReportMatchesRequest, context: grpc.ServicerContext
    ) -> league_pb2.ReportMatchesReply:
        """Add ended games."""
        if request.role not in _REPORTERS:
            raise CallRefused(f"role: got {request.role!r}, wanted one of {_REPORTERS}")
        self._check_place(context, request.role, request.index, request.process)
        if len(request.results) > _MOST_RESULTS:
            got = len(request.results)
            raise CallRefused(f"results: got {got}, wanted at most {_MOST_RESULTS:,}")
        train_steps = {member.number: member.train_step for member in self._league.members()}
        for result in request.results:  # all or none
            self._check(result, by_evaluator=request.role == "evaluator")
            if result.is_evaluation and train_steps.get(result.member) == result.weights_version:
                raise CallRefused(
                    f"result: got train_step {result.weights_version} against itself, wanted "
                    "another member or a baseline"
                )
        for result in request.results:
            if not result.is_evaluation:
                self._league.add_training_game(result.name, result.score)
            elif not result.member:
                self._league.add_evaluation_game(result.weights_version, result.name, result.score)
            elif result.member in train_steps:  # else it has left the pool by now
                self._league.add_evaluation_game(
                    result.weights_version, train_steps[result.member], result.score
                )
        return league_pb2.ReportMatchesReply()

    def GetLadder(  # noqa: N802
        self, request: league_pb2.GetLadderRequest, context: grpc.ServicerContext
    ) -> league_pb2.Ladder:
        """Return members and ratings."""
        del request, context
        return league_pb2.Ladder(
            players=[league_pb2.LadderPlayer(**place._asdict()) for place in self._league.ladder()]
        )

    def _check(self, result: league_pb2.MatchResult, *, by_evaluator: bool) -> None:
        newest = self._publisher.newest(weights_pb2.LATEST)
        published = 0 if newest is None else newest.train_step
        if not result.is_evaluation:
            # An actor may have played with weights that a restarted learner has not made again.
            published = max(published, result.weights_version)
        is_named = result.member > 0 or result.name in self._league.config.baselines
        is_sound = result.score in _SCORES and result.seat in (0, 1) and result.length > 0
        is_sound &= (
            0 <= result.weights_version <= published and result.is_evaluation is by_evaluator
        )
        if not (is_named and is_sound):
            raise CallRefused(
                f"result: got member {result.member} {result.name!r}, weights_version "
                f"{result.weights_version}, seat {result.seat}, score {result.score:g}, length "
                f"{result.length}, is_evaluation {result.is_evaluation}, wanted a member or one of "
                f"{', '.join(self._league.config.baselines)}, 0 to {published}, 0 or 1, one of "
                f"{_SCORES}, 1 or more, {by_evaluator}"
            )

    def _check_place(
        self, context: grpc.ServicerContext, role: str, index: int, process: int
    ) -> None:
        claims = self._claims
        if claims is None:
            return
        try:
            claims.check_place(
                role,
                index,
                process,
                given_up=lambda: self._is_closing() or not context.is_active(),
            )
        except ValueError as error:
            raise CallRefused(str(error)) from error
