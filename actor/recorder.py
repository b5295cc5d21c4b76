"""From what happened in a turn to steps in replay: rewards, priorities, endings.

Called by the actor's loop. Knows no search and no environment, and of replay only its writers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from actor.turn import Turn
from efficientzero.config import Config
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import F64, Ending, EnvSteps, Frames, ReplayStep

_HAND_OVER_S = 3.0
_SMALLEST_ERROR = 1e-6  # added to every value error (PER, section 3.3)

log = logging.getLogger(__name__)


class EpisodeSink(Protocol):
    """Where one environment's steps go."""

    @property
    def bytes_sent(self) -> int:
        """Compressed, since the process started."""

    def append(self, step: ReplayStep) -> None:
        """Add one env_step."""

    def end(self, last_frame: Frames, ending: Ending) -> None:
        """Close the episode with its last frame."""

    def close(self) -> None:
        """Send what is left."""


class Recorder:
    """Writes the episodes of all environments of an actor."""

    def __init__(self, config: Config, writers: Sequence[EpisodeSink]) -> None:
        """Keep the parts; one writer per environment."""
        self._config, self._writers = config, writers
        # The newest frame of each environment.
        self._frames: list[Frames] = [np.empty(0)] * len(writers)
        self._is_recording = [False] * len(writers)  # the episode has steps and is not closed

    @property
    def bytes_sent(self) -> int:
        """Return what went to replay since the process started, compressed."""
        return sum(writer.bytes_sent for writer in self._writers)

    def start(self, env: int, frame: Frames) -> None:
        """Begin an episode with its first frame."""
        self._frames[env] = frame.copy()

    def record(self, turn: Turn, steps: EnvSteps) -> None:
        """Write one env_step of each environment of ``turn``."""
        rewards = np.sign(steps.rewards) if self._config.env.clip_rewards else steps.rewards
        priorities = self._priorities(turn)
        for row, i in enumerate(turn.envs):
            self._writers[i].append(
                ReplayStep(
                    frame=self._frames[i],
                    action=int(turn.actions[row]),
                    reward=float(rewards[row]),
                    search_policy=turn.result.policies[row],
                    root_value=float(turn.result.root_values[row]),
                    priority=float(priorities[row]),
                    weights_version=turn.train_step,
                    env_step=turn.grant.env_steps + row,
                )
            )
            self._is_recording[i] = True
            self._frames[i] = steps.observed.frames[row].copy()
            if steps.terminated[row] or steps.truncated[row]:
                self._end(i, self._ending(is_terminated=bool(steps.terminated[row])))

    def cut(self, stop: StopSignal) -> None:
        """Hand over running episodes: collection ended, the task did not, so they are truncated.

        When asked to stop, replay may be gone already: what it does not take soon is left behind.
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
        self._writers[env].end(self._frames[env], ending)
        self._is_recording[env] = False

    def _ending(self, *, is_terminated: bool) -> Ending:
        as_terminal = is_terminated or self._config.compat.truncation_is_terminal
        return Ending.TERMINATED if as_terminal else Ending.TRUNCATED

    def _priorities(self, turn: Turn) -> F64:
        """Return with which priority the turn's steps enter replay, f64 [G].

        Without a search (during warm-up) there is no value error, and the largest is taken.
        """
        replay = self._config.replay
        by_error = replay.initial_priority == "value_error" and replay.priority_exponent > 0
        if by_error and not turn.grant.is_random:
            found, predicted = turn.result.root_values, turn.result.predicted_values
            errors: F64 = np.abs(found - predicted).astype(np.float64) + _SMALLEST_ERROR
            return errors
        return np.full(len(turn.envs), turn.grant.max_priority)
