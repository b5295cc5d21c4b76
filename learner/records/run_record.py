"""A run's counts and scores in memory, and every result as a line in the run folder.

Filled by the run service, read for the status; safe to call from any thread.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from efficientzero.process.disk_space import DiskPause
from efficientzero.rpc.run_client import BaselineScore
from efficientzero.runs.results.episode_lines import (
    EPISODES_FILE,
    MOST_LINES,
    num_env_steps,
    num_episodes,
)
from efficientzero.runs.results.run_summary import COLLAPSES_FILE
from learner.records.result_files import ResultFiles
from replay.steps import MIN_PRIORITY

_PRIORITY_DECAY = 0.99  # per training batch
_NUM_LAST_RETURNS = 20


class EpisodeResult(NamedTuple):
    """One ended game."""

    episode_return: float  # raw score
    length: int  # env_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSnapshot:
    """The record at one instant."""

    episodes: int
    """Ended training episodes."""
    last_returns: tuple[float, ...]
    """Their raw scores, oldest first, at most 20."""
    replay_items: int
    """Items in the prioritised table, as last reported."""
    last_eval_return_mean: float
    """NaN before the first evaluation."""
    last_eval_version: int
    """Train_step of the weights it used; 0 before the first."""
    final_evaluation_received: bool
    steps_inserted: int
    """Env_steps that ever reached replay, as last reported."""
    collapses: tuple[str, ...]
    """What has collapsed, a line each, oldest first."""


class RunRecord:
    """Writes ``evaluations.jsonl`` and others, one line a result, and keeps the newest results."""

    def __init__(
        self,
        directory: Path,
        pause: DiskPause | None = None,
        *,
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        """Append to the files in ``directory``; wall time counts from now.

        Args:
            directory: the run folder.
            pause: notes a full disk; its lines wait in memory. None: a full disk is an error.
            check_lease: raises if another process owns the folder now.
        """
        self._check_lease, self._files = check_lease, ResultFiles(pause, check_lease)
        self._evaluations_path = directory / "evaluations.jsonl"
        self._episodes_path = directory / EPISODES_FILE
        self._collapses_path = directory / COLLAPSES_FILE
        self._started = time.monotonic()
        self._lock = threading.Lock()
        # Under the lock:
        self._num_episode_lines = 0
        self._episodes = 0
        self._episode_env_steps = 0  # of all of them
        self._last_returns: deque[float] = deque(maxlen=_NUM_LAST_RETURNS)
        self._replay_items = 0
        self._last_eval_return_mean = float("nan")
        self._last_eval_version = 0
        self._final_evaluation_received = False
        self._max_priority = 1.0
        self._has_priorities = False
        self._steps_inserted = 0
        self._collapses: dict[str, str] = {}  # kind -> message

    def state(self) -> dict[str, float]:
        """Return the state that a checkpoint needs in addition to the files."""
        return {"wall_s": self.wall_s, "max_priority": self._max_priority}

    def restore(self, state: Mapping[str, float], *, env_steps: int, train_steps: int) -> None:
        """Continue from a checkpoint and from the lines written up to it.

        Lines written after the checkpoint belong to train_steps that are made again: they are
        removed.

        Args:
            state: a result of ``state``.
            env_steps: the run's count now.
            train_steps: the run's count now.
        """
        self._check_lease()
        evaluations = self._files.kept(
            self._evaluations_path, lambda line: line["weights_version"] <= train_steps
        )
        episodes = self._files.kept(
            self._episodes_path, lambda line: line["env_steps"] <= env_steps
        )
        collapses = self._files.kept(
            self._collapses_path, lambda line: line["train_steps"] <= train_steps
        )
        with self._lock:
            self._started = time.monotonic() - state["wall_s"]
            self._collapses = {line["kind"]: line["message"] for line in collapses}
            self._max_priority, self._has_priorities = state["max_priority"], True
            self._num_episode_lines = len(episodes)
            self._episodes = sum(map(num_episodes, episodes))
            self._episode_env_steps = sum(map(num_env_steps, episodes))
            self._last_returns.extend(line["return"] for line in episodes)
            for line in evaluations:
                self._last_eval_return_mean = line["return_mean"]
                self._last_eval_version = line["weights_version"]
            self._final_evaluation_received = any(line["is_final"] for line in evaluations)

    @property
    def wall_s(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self._started

    @property
    def episode_env_steps(self) -> int:
        """Env_steps of all ended training episodes."""
        return self._episode_env_steps

    @property
    def max_priority(self) -> float:
        """Largest recent priority; 1 before the first ones."""
        return self._max_priority

    def add_priorities(self, largest: float) -> None:
        """Follow the largest priority of each training batch.

        New steps enter replay with the largest, so that all are soon trained on (PER, algorithm
        1). The service does not report its largest priority, so it is estimated here, with a slow
        decay, because priorities of outliers fall when they are sampled again.
        """
        decayed = self._max_priority * _PRIORITY_DECAY if self._has_priorities else 0.0
        self._max_priority, self._has_priorities = max(largest, decayed, MIN_PRIORITY), True

    def set_replay_counts(self, *, items: int, steps_inserted: int) -> None:
        """Store the number of items in the prioritised table, now and ever inserted."""
        with self._lock:
            self._replay_items, self._steps_inserted = items, steps_inserted

    def add_episodes(
        self, actor_index: int, episodes: Sequence[EpisodeResult], *, env_steps: int
    ) -> None:
        """Add ended training episodes, one line each; ``env_steps`` is the run's count now."""
        lines = [
            {
                "actor": actor_index,
                "return": episode.episode_return,
                "length": episode.length,
                "env_steps": env_steps,
                "wall_s": round(self.wall_s, 3),
            }
            for episode in episodes
        ]
        with self._lock:
            self._files.append(self._episodes_path, lines)
            self._num_episode_lines += len(lines)
            if self._num_episode_lines > MOST_LINES:
                shortened = self._files.shorten(self._episodes_path)
                if shortened is not None:
                    self._num_episode_lines = shortened
            self._episodes += len(episodes)
            self._episode_env_steps += sum(episode.length for episode in episodes)
            self._last_returns.extend(episode.episode_return for episode in episodes)

    def add_evaluation(
        self,
        *,
        weights_version: int,
        is_final: bool,
        episodes: Sequence[EpisodeResult],
        seconds: float,
        scores: Sequence[BaselineScore] = (),
        env_steps: int,
        train_steps: int,
    ) -> None:
        """Add one evaluation of at least one episode.

        Args:
            weights_version: train_step of the weights evaluated.
            is_final: whether they are the finished run's last weights.
            episodes: their results.
            seconds: wall time of the evaluation.
            scores: with two players, those against each baseline.
            env_steps: the run's count now.
            train_steps: the run's count now.
        """
        returns = [episode.episode_return for episode in episodes]
        mean = statistics.fmean(returns)
        line = {
            "weights_version": weights_version,
            "is_final": is_final,
            "return_mean": mean,
            "returns": returns,
            "lengths": [episode.length for episode in episodes],
            "env_steps": env_steps,
            "train_steps": train_steps,
            "wall_s": round(self.wall_s, 3),
            "seconds": seconds,
            **({"scores": [score._asdict() for score in scores]} if scores else {}),
        }
        with self._lock:
            self._files.append(self._evaluations_path, [line])
            self._last_eval_return_mean, self._last_eval_version = mean, weights_version
            self._final_evaluation_received = self._final_evaluation_received or is_final

    def add_collapse(self, line: Mapping[str, Any]) -> None:
        """Add a part of the network that has collapsed; each kind counts once.

        Args:
            line: with ``kind``, ``message`` and ``train_steps``.
        """
        with self._lock:
            if line["kind"] not in self._collapses:
                self._files.append(self._collapses_path, [dict(line)])
                self._collapses[line["kind"]] = line["message"]

    def snapshot(self) -> RecordSnapshot:
        """Return the record at this instant."""
        with self._lock:
            return RecordSnapshot(
                episodes=self._episodes,
                last_returns=tuple(self._last_returns),
                replay_items=self._replay_items,
                last_eval_return_mean=self._last_eval_return_mean,
                last_eval_version=self._last_eval_version,
                final_evaluation_received=self._final_evaluation_received,
                steps_inserted=self._steps_inserted,
                collapses=tuple(self._collapses.values()),
            )

    def check(self) -> None:
        """Raise the error of a failed write; the learner's loop calls this.

        Raises:
            OSError: folder gone, disk full for too long. Later results would be lost.
            Fenced: another process owns the folder.
        """
        with self._lock:
            self._files.check()

    def finish(self) -> None:
        """Try a last time to write the lines that a full disk has not accepted.

        Raises:
            OSError: the lines are lost.
        """
        self._files.stop_waiting()
        self.check()
