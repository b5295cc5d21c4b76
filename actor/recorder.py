"""Writes played env_steps to replay: rewards, priorities, endings.

Called by the actor's loop. Independent of search and environments; uses only replay's writers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from actor.turn import PendingStep
from efficientzero.config import Config
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import F64, Ending, EnvSteps, Observed, ReplayStep, Shown

_HAND_OVER_S = 3.0
_SMALLEST_ERROR = 1e-6  # added to every value error (PER, section 3.3)

log = logging.getLogger(__name__)


class EpisodeSink(Protocol):
    """Writes one environment's steps."""

    @property
    def bytes_sent(self) -> int:
        """Compressed bytes sent since the process started."""

    def append(self, step: ReplayStep) -> None:
        """Add one env_step."""

    def end(self, last: Shown, ending: Ending) -> None:
        """Close the episode with what the environment shows last."""

    def close(self) -> None:
        """Send buffered steps."""


def _shown_in(observed: Observed, row: int) -> Shown:
    """Return what the environment of a row shows, as copies."""
    legal, to_play = observed.legal_actions, observed.to_play
    return Shown(
        observed.frames[row].copy(),
        None if legal is None else legal[row].copy(),
        0 if to_play is None else int(to_play[row]),
    )


class Recorder:
    """Writes the episodes of all environments of an actor."""

    def __init__(self, config: Config, writers: Sequence[EpisodeSink]) -> None:
        """Store the parts; one writer per environment."""
        self._config, self._writers = config, writers
        self._newest: list[Shown] = [Shown(np.empty(0))] * len(writers)
        self._is_recording = [False] * len(writers)  # the episode has steps and is not closed

    @property
    def bytes_sent(self) -> int:
        """Return the compressed bytes sent to replay since the process started."""
        return sum(writer.bytes_sent for writer in self._writers)

    def start(self, envs: Sequence[int], observed: Observed) -> None:
        """Begin episodes with what these G environments show first."""
        for row, i in enumerate(envs):
            self._newest[i] = _shown_in(observed, row)

    def record(self, pending: PendingStep, steps: EnvSteps) -> None:
        """Write one env_step of each environment of ``pending``."""
        rewards = np.sign(steps.rewards) if self._config.env.clip_rewards else steps.rewards
        priorities = self._priorities(pending)
        is_continuous = pending.actions.ndim > 1
        thought, result = pending.thought, pending.thought.result
        movers = [0] * len(pending.envs) if thought.movers is None else thought.movers.tolist()
        others = thought.opponent_train_step
        weights_of = (pending.train_step, pending.train_step if others is None else others)
        for row, i in enumerate(pending.envs):
            seen = self._newest[i]
            self._writers[i].append(
                ReplayStep(
                    frame=seen.frame,
                    action=0 if is_continuous else int(pending.actions[row]),
                    reward=float(rewards[row]),
                    search_policy=result.policies[row],
                    root_value=float(result.root_values[row]),
                    priority=float(priorities[row]),
                    weights_version=weights_of[movers[row] > 0],
                    env_step=pending.grant.env_steps + row,
                    legal_actions=seen.legal_actions,
                    to_play=seen.to_play,
                    mover=movers[row],
                    continuous_action=pending.actions[row] if is_continuous else None,
                    policy_actions=result.slot_actions[row] if is_continuous else None,
                )
            )
            self._is_recording[i] = True
            self._newest[i] = _shown_in(steps.observed, row)
            if steps.terminated[row] or steps.truncated[row]:
                self._end(i, self._ending(is_terminated=bool(steps.terminated[row])))

    def cut(self, stop: StopSignal) -> None:
        """Close running episodes as truncated: collection ended, the task did not.

        On a stop replay may be gone already: episodes that it does not accept soon are dropped.
        """
        started = time.monotonic()
        for i, writer in enumerate(self._writers):
            if stop.is_set() and time.monotonic() - started > _HAND_OVER_S:
                log.warning("replay takes no more: %d episodes are lost", len(self._writers) - i)
                return
            if self._is_recording[i]:
                self._end(i, Ending.TRUNCATED)
            writer.close()

    def _end(self, env: int, ending: Ending) -> None:
        self._writers[env].end(self._newest[env], ending)
        self._is_recording[env] = False

    def _ending(self, *, is_terminated: bool) -> Ending:
        as_terminal = is_terminated or self._config.compat.truncation_is_terminal
        return Ending.TERMINATED if as_terminal else Ending.TRUNCATED

    def _priorities(self, pending: PendingStep) -> F64:
        """Return the initial priorities of the steps, f64 [G].

        Without a search (during warm-up) there is no value error, and the largest priority is used.
        """
        replay = self._config.replay
        by_error = replay.initial_priority == "value_error" and replay.priority_exponent > 0
        if by_error and not pending.grant.is_random:
            found = pending.thought.result.root_values
            predicted = pending.thought.result.predicted_values
            errors: F64 = np.abs(found - predicted).astype(np.float64) + _SMALLEST_ERROR
            return errors
        return np.full(len(pending.envs), pending.grant.max_priority)
