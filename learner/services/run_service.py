"""The run service: pace, results and status for the other processes.

Checks requests and passes them to the governor and the run's record.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import grpc

from efficientzero.rpc.run_client import BaselineScore
from efficientzero.rpc.stubs import run_pb2, run_pb2_grpc, weights_pb2
from efficientzero.schema import Phase
from learner.pacing import Governor, LockStepGovernor
from learner.records import EpisodeResult, RunRecord
from learner.services.call_refused import CallRefused
from learner.services.claims import Claims
from learner.weights import WeightPublisher

_MAX_WAIT_S = 60.0

_Answer = TypeVar("_Answer")

log = logging.getLogger(__name__)


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """Answers from the governor, the record and the published weights."""

    def __init__(
        self,
        governor: Governor,
        record: RunRecord,
        publisher: WeightPublisher,
        *,
        is_closing: Callable[[], bool],
        cause: Callable[[], str] = lambda: "",
        claims: Claims | None = None,
        has_ladder: bool = False,
        run_uid: str = "",
    ) -> None:
        """Keep the parts.

        Args:
            governor: grants env_steps.
            record: takes results.
            publisher: has the published weights.
            is_closing: returns true once long polls should end.
            cause: returns why the learner waits, if that is known.
            claims: checks workers' reports; None: reports are not checked.
            has_ladder: the league service answers, too.
            run_uid: of the run.
        """
        self._governor, self._record, self._publisher = governor, record, publisher
        self._is_closing, self._cause = is_closing, cause
        self._claims, self._has_ladder, self._run_uid = claims, has_ladder, run_uid
        self._lock_step = governor if isinstance(governor, LockStepGovernor) else None

    def AcquireEnvSteps(  # noqa: N802
        self, request: run_pb2.AcquireEnvStepsRequest, context: grpc.ServicerContext
    ) -> run_pb2.AcquireEnvStepsReply:
        """Count what an actor completed and wait for a grant."""
        _check_wait(request.wait_seconds)
        self._check_place(context, "actor", request.actor_index, request.incarnation)
        grant = _checked(
            lambda: self._governor.acquire_env_steps(
                request.actor_index,
                incarnation=request.incarnation,
                request=request.request,
                completed=request.completed,
                wanted=request.wanted,
                wait_s=request.wait_seconds,
                given_up=lambda: self._is_closing() or not context.is_active(),
            ),
        )
        return run_pb2.AcquireEnvStepsReply(
            granted=grant.granted,
            collection_ended=grant.collection_ended,
            phase=grant.phase.name,
            max_priority=self._record.max_priority,
            env_steps=grant.env_steps,
            latest_train_step=self._published_train_step(weights_pb2.LATEST),
        )

    def AcquireBatch(  # noqa: N802
        self, request: run_pb2.AcquireBatchRequest, context: grpc.ServicerContext
    ) -> run_pb2.AcquireBatchReply:
        """Wait for the turn to make a training batch."""
        if self._lock_step is None:
            raise CallRefused("turns: got a request for one, wanted cluster.deterministic")
        _check_wait(request.wait_seconds)
        self._check_place(context, "reanalyzer", request.reanalyzer_index, request.member)
        priorities = self._lock_step.wait_for_batch(
            request.train_step,
            request.wait_seconds,
            given_up=lambda: self._is_closing() or not context.is_active(),
        )
        if priorities is None:
            return run_pb2.AcquireBatchReply()
        return run_pb2.AcquireBatchReply(
            granted=True,
            target_train_step=self._published_train_step(weights_pb2.TARGET),
            keys=priorities.keys,
            priorities=priorities.priorities,
        )

    def ReportEpisodes(  # noqa: N802
        self, request: run_pb2.ReportEpisodesRequest, context: grpc.ServicerContext
    ) -> run_pb2.ReportEpisodesReply:
        """Record ended training episodes."""
        if request.actor_index < 0:
            raise CallRefused(f"actor_index: got {request.actor_index}, wanted 0 or more")
        self._check_place(context, "actor", request.actor_index, request.member)
        episodes = _checked(lambda: _episodes(request.episodes))
        if (claims := self._claims) is not None:
            recorded = self._record.episode_env_steps
            _checked(lambda: claims.check_training_episodes(episodes, recorded))
        self._record.add_episodes(request.actor_index, episodes, env_steps=self._governor.env_steps)
        return run_pb2.ReportEpisodesReply()

    def ReportEvaluation(  # noqa: N802
        self, request: run_pb2.ReportEvaluationRequest, context: grpc.ServicerContext
    ) -> run_pb2.ReportEvaluationReply:
        """Record an evaluation."""
        self._check_place(context, "evaluator", 0, request.member)
        episodes = _checked(lambda: _episodes(request.episodes))
        made = self._governor.train_steps
        if not episodes:
            raise CallRefused("episodes: got none, wanted at least one")
        if not 0 <= request.weights_version <= made:
            raise CallRefused(f"weights_version: got {request.weights_version}, wanted 0 to {made}")
        if not (math.isfinite(request.seconds) and request.seconds >= 0.0):
            raise CallRefused(f"seconds: got {request.seconds}, wanted a finite number from 0")
        if (claims := self._claims) is not None:
            _checked(
                lambda: claims.check_evaluation(
                    episodes,
                    scores=_scores(request.scores),
                    weights_version=request.weights_version,
                    is_final=request.is_final,
                    published=self._published_train_step(weights_pb2.LATEST),
                    phase=self._phase(),
                ),
            )
        self._record.add_evaluation(
            weights_version=request.weights_version,
            is_final=request.is_final,
            episodes=episodes,
            seconds=request.seconds,
            scores=_scores(request.scores),
            env_steps=self._governor.env_steps,
            train_steps=made,
        )
        if self._lock_step is not None:
            self._lock_step.evaluation_reported(request.weights_version)
        return run_pb2.ReportEvaluationReply()

    def GetStatus(  # noqa: N802
        self, request: run_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> run_pb2.RunStatus:
        """Return the run's counters."""
        del request, context
        governor, pace, record = self._governor, self._governor.pace, self._record.snapshot()
        phase = self._phase()
        waiting_for = governor.why_waiting()
        if phase is Phase.FINISHED and not record.final_evaluation_received:
            waiting_for = waiting_for or "final evaluation"
        return run_pb2.RunStatus(
            phase=phase.name,
            env_steps=governor.env_steps,
            env_steps_budget=pace.env_steps,
            warmup_env_steps=pace.warmup_env_steps,
            train_steps=governor.train_steps,
            train_steps_budget=pace.total_train_steps,
            episodes=record.episodes,
            last_returns=record.last_returns,
            replay_items=record.replay_items,
            last_eval_return_mean=record.last_eval_return_mean,
            last_eval_version=record.last_eval_version,
            waiting_for=waiting_for,
            steps_inserted=record.steps_inserted,
            final_evaluation_received=record.final_evaluation_received,
            cause=self._cause(),
            run_uid=self._run_uid,
            has_ladder=self._has_ladder,
        )

    def _check_place(
        self, context: grpc.ServicerContext, role: str, index: int, member: int
    ) -> None:
        claims = self._claims
        if claims is None:
            return
        _checked(
            lambda: claims.check_place(
                role,
                index,
                member,
                given_up=lambda: self._is_closing() or not context.is_active(),
            ),
        )

    def _published_train_step(self, kind: weights_pb2.WeightsKind) -> int:
        newest = self._publisher.newest(kind)
        return 0 if newest is None else newest.train_step

    def _phase(self) -> Phase:
        """Return the phase; FINISHED only once the last weights are published."""
        phase = self._governor.phase
        if phase is Phase.FINISHED:
            newest = self._publisher.newest(weights_pb2.LATEST)
            if newest is None or newest.train_step < self._governor.pace.total_train_steps:
                return Phase.LAST_STEPS
        return phase


def _episodes(episodes: Iterable[run_pb2.EpisodeResult]) -> list[EpisodeResult]:
    results = [EpisodeResult(episode.episode_return, episode.length) for episode in episodes]
    for result in results:
        if not math.isfinite(result.episode_return) or result.length < 1:
            raise ValueError(f"episode: got {result}, wanted a finite return and a length from 1")
    return results


def _scores(scores: Iterable[run_pb2.BaselineScore]) -> list[BaselineScore]:
    return [
        BaselineScore(score.name, score.seat, score.wins, score.draws, score.losses)
        for score in scores
    ]


def _checked(answer: Callable[[], _Answer]) -> _Answer:
    """Return ``answer()``; its ValueError becomes a refusal for the caller.

    Raises:
        CallRefused: ``answer`` raised ValueError.
    """
    try:
        return answer()
    except ValueError as error:
        raise CallRefused(str(error)) from error


def _check_wait(wait_s: float) -> None:
    if not 0.0 <= wait_s <= _MAX_WAIT_S:
        raise CallRefused(f"wait_seconds: got {wait_s}, wanted 0 to {_MAX_WAIT_S}")
