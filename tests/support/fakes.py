"""What an actor, a reanalyzer and a learner talk to, in memory: each fake refuses what is wrong.

Used by the unit tests of the roles, where replay and gRPC are left out. A fake takes the place of
a process boundary only and checks shapes, dtypes and order of everything that crosses it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from efficientzero.config.fields import Config
from efficientzero.config.preset_files import load_preset
from efficientzero.envs import probe_env_spec
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import run_pb2
from efficientzero.rpc.weight_client import Weights
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import (
    F64,
    U64,
    Bool,
    Ending,
    EnvSpec,
    Frames,
    Grant,
    Phase,
    ReplayStep,
    Shown,
    SliceBatch,
)
from replay.format import BATCH_FIELDS, TrainingBatch
from replay.format.batch_codec import batch_spec

_METRIC = re.compile(r"[a-z]+(/[a-z][a-z0-9_]*){1,2}")


def tiny_config(**env: Any) -> Config:
    """Return Catch with two stacked frames, a convolutional network of a few thousand weights.

    Batches of 8. Its heads do not start at zero, so that values and policies differ between
    observations.
    """
    preset = load_preset("catch")
    sizes = {
        "trunk": "auto",  # the preset's has no running statistics
        "channels": 4,
        "reduced_channels": 2,
        "head_hidden_size": 8,
        "lstm_hidden_size": 6,
        "projector_hidden_size": 8,
        "projection_size": 8,
        "predictor_hidden_size": 4,
    }
    return dataclasses.replace(
        preset,
        env=dataclasses.replace(preset.env, num_stacked_frames=2, **env),
        budget=dataclasses.replace(
            preset.budget, env_steps=100, warmup_env_steps=10, train_steps=20, last_train_steps=4
        ),
        network=dataclasses.replace(preset.network, zero_init_heads=False, **sizes),
        search=dataclasses.replace(preset.search, num_simulations=6),
        actor=dataclasses.replace(preset.actor, num_envs=4),
        learner=dataclasses.replace(preset.learner, batch_size=8),
        cluster=dataclasses.replace(preset.cluster, metrics_interval_seconds=1e-9),
    )


def tiny_run(directory: Path, config: Config) -> RunInfo:
    """Return a run of ``config`` that has its folder and no addresses."""
    return RunInfo(
        run_id="tiny",
        run_uid="0123abcd",
        group="tiny",
        directory=directory,
        config=config,
        env_spec=probe_env_spec(config.env),
        replay_address="127.0.0.1:0",
        learner_address="127.0.0.1:0",
        tracking_mode="disabled",
        versions={},
    )


class MemoryTracker:
    """Keeps metric rows; names are role/thing or role/time/thing, values finite numbers."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def log(self, row: Mapping[str, float]) -> None:
        for key, value in row.items():
            assert _METRIC.fullmatch(key), f"metric name: got {key!r}"
            assert math.isfinite(value), f"{key}: got {value}"
        self.rows.append(dict(row))

    def close(self, exit_code: int = 0) -> None:
        raise AssertionError("a tracker is closed by the process, not by its loop")


class FakeWeights:
    """A weight client whose publications the test makes."""

    def __init__(self, expected: Mapping[str, Tensor]) -> None:
        self._expected = {k: (v.shape, v.dtype) for k, v in expected.items()}
        self._newest: Weights | None = None
        self._version = 0

    def publish(self, state: Mapping[str, Tensor], train_step: int) -> None:
        assert {k: (v.shape, v.dtype) for k, v in state.items()} == self._expected
        self._version += 1
        self._newest = Weights({k: v.clone() for k, v in state.items()}, self._version, train_step)

    def wait_first(self, what: str, *, timeout_s: float | None = None) -> bool:
        assert what
        return self._newest is not None  # nobody can publish during the wait: as if stopped

    def take_newer(self) -> Weights | None:
        newest, self._newest = self._newest, None
        return newest


class FakeRunClient:
    """Grants a budget of env_steps in shares that the test chooses; counts like the governor."""

    def __init__(self, *, budget: int, warmup: int = 0, shares: Iterable[int] = ()) -> None:
        self.budget, self.warmup = budget, warmup
        self.completed = 0
        self.train_steps = 0
        self.episodes: list[tuple[float, int]] = []
        self.grants: list[int] = []
        self.before_grant: Callable[[], object] = lambda: None
        self.max_priority = 1.0
        self._shares = iter(shares)
        self._held = 0

    def acquire_env_steps(
        self, actor_index: int, *, completed: int, wanted: int, wait_s: float
    ) -> Grant:
        assert 0 <= completed <= self._held, f"completed: got {completed} of {self._held} held"
        assert wanted >= 0
        assert (wait_s > 0) == (wanted > 0), "a mere report does not wait"
        self.completed += completed
        self._held -= completed
        if not wanted:
            return Grant(0, self.completed >= self.budget, Phase.COLLECTING, self.max_priority)
        self.before_grant()
        left = self.budget - self.completed - self._held
        granted = min(wanted, next(self._shares, wanted), left)
        before = self.completed + self._held
        phase = Phase.COLLECTING
        if before < self.warmup:
            phase, granted = Phase.WARMUP, min(granted, self.warmup - before)
        self._held += granted
        self.grants.append(granted)
        ended = self.completed >= self.budget
        return Grant(granted, ended, phase, self.max_priority, before)

    def status(self) -> run_pb2.RunStatus:
        return run_pb2.RunStatus(env_steps=self.completed, train_steps=self.train_steps)

    def report_episodes(self, actor_index: int, episodes: Iterable[tuple[float, int]]) -> bool:
        reported = list(episodes)
        assert reported, "an empty report"
        assert all(math.isfinite(score) and length >= 1 for score, length in reported)
        self.episodes.extend(reported)
        return True


@dataclasses.dataclass
class RecordedEpisode:
    """What one ``EpisodeSink`` was told between two ends."""

    steps: list[ReplayStep] = dataclasses.field(default_factory=list)
    copies: list[Frames] = dataclasses.field(default_factory=list)
    last_frame: Frames | None = None
    last_legal_actions: Bool | None = None
    ending: Ending = Ending.RUNNING

    def frames(self) -> Frames:
        """Return all frames [T + 1, *frame]; none may have changed after it was handed over."""
        handed_over = [step.frame for step in self.steps]
        assert self.last_frame is not None
        frames = np.array([*handed_over, self.last_frame])
        np.testing.assert_array_equal(frames, np.array(self.copies))
        return frames


class RecordingWriter:
    """An ``EpisodeSink`` for one environment."""

    def __init__(self, spec: EnvSpec) -> None:
        self.episodes: list[RecordedEpisode] = []
        self.is_closed = False
        self.num_appended = 0
        self.bytes_sent = 0
        self._spec = spec
        self._open = RecordedEpisode()

    def append(self, step: ReplayStep) -> None:
        assert not self.is_closed
        self._check_frame(step.frame)
        assert type(step.action) is int
        assert 0 <= step.action < self._spec.num_actions
        assert step.search_policy.dtype == np.float32
        assert step.search_policy.shape == (self._spec.num_actions,)
        np.testing.assert_allclose(step.search_policy.sum(), 1.0, rtol=1e-5)
        for number in (step.reward, step.root_value, step.priority):
            assert type(number) is float
            assert math.isfinite(number)
        assert step.weights_version >= 0
        assert type(step.env_step) is int
        assert step.env_step >= 0
        self._open.steps.append(step)
        self._open.copies.append(step.frame.copy())
        self.num_appended += 1
        self.bytes_sent += step.frame.nbytes

    def end(self, last: Shown, ending: Ending) -> None:
        assert not self.is_closed
        assert self._open.steps, "an episode of no steps"
        assert ending in (Ending.TERMINATED, Ending.TRUNCATED)
        self._check_frame(last.frame)
        self._open.last_frame, self._open.ending = last.frame, ending
        self._open.last_legal_actions = last.legal_actions
        self._open.copies.append(last.frame.copy())
        self.episodes.append(self._open)
        self._open = RecordedEpisode()

    def close(self) -> None:
        assert not self._open.steps, "closed in the middle of an episode"
        self.is_closed = True

    def _check_frame(self, frame: Frames) -> None:
        assert frame.shape == self._spec.frame_shape
        assert frame.dtype == self._spec.frame_dtype


class FakeSlices:
    """A ``SliceSource``: the given batches, then a stop, as if from the supervisor.

    Like the real one it uses its memory again: a batch is overwritten when the next is taken.
    """

    def __init__(self, batches: Iterable[SliceBatch], stop: StopSignal) -> None:
        self.batches = deque(batches)
        self._stop = stop
        self._lent: SliceBatch | None = None
        self.dropped_items = 0

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        assert timeout_s > 0
        if self._lent is not None:
            self._lent.frames.fill(0)
        if not self.batches:
            self._stop.set("no more slices")
            return None
        batch = self.batches.popleft()
        assert len(batch.keys) == num
        self._lent = SliceBatch(*(field.copy() for field in batch))
        return self._lent


class FakeBatchSink:
    """A ``BatchSink`` that is full at first and takes batches of the run's shapes only."""

    def __init__(self, spec: EnvSpec, config: Config, *, full_for: int = 0) -> None:
        self.taken: list[TrainingBatch] = []
        self.refused: list[TrainingBatch] = []
        self._spec, self._config, self._full_for = spec, config, full_for

    def put(self, batch: TrainingBatch, *, timeout_s: float) -> bool:
        assert timeout_s > 0
        check_training_batch(batch, self._spec, self._config)
        if len(self.refused) < self._full_for:
            self.refused.append(batch)
            return False
        self.taken.append(TrainingBatch(*(field.copy() for field in batch)))
        return True


class FakeBatchSource:
    """A ``BatchSource``: the given batches and no more."""

    def __init__(self, batches: Iterable[TrainingBatch], stop: StopSignal) -> None:
        self._batches = iter(batches)
        self._stop = stop
        self.dropped: list[str] = []

    @property
    def dropped_batches(self) -> int:
        return len(self.dropped)

    def drop(self, why: str) -> None:
        self.dropped.append(why)

    def passed(self) -> None:
        pass

    def get(self, *, timeout_s: float) -> TrainingBatch | None:
        assert timeout_s > 0
        if (batch := next(self._batches, None)) is None:
            self._stop.wait(min(timeout_s, 0.01))
        return batch


class FakePriorities:
    """A ``PrioritySink`` that keeps what it gets."""

    def __init__(self, batch_size: int) -> None:
        self.updates: list[tuple[U64, F64]] = []
        self.dropped_updates = 0
        self._batch_size = batch_size

    def update(self, keys: U64, priorities: F64) -> None:
        assert keys.shape == priorities.shape
        assert len(keys) >= self._batch_size
        assert keys.dtype == np.uint64
        assert priorities.dtype == np.float64
        assert np.isfinite(priorities).all()
        assert (priorities >= 0).all()
        self.updates.append((keys, priorities))


def check_training_batch(batch: TrainingBatch, spec: EnvSpec, config: Config) -> None:
    """Check shapes, dtypes and what must hold for every training batch."""
    for name, (dtype, shape) in batch_spec(spec, config).items():
        field = getattr(batch, name)
        assert (field.dtype.name, field.shape) == (dtype, shape), name
        assert BATCH_FIELDS[name].is_finite or not np.isinf(field).any(), name
        assert np.isfinite(field).all() or not BATCH_FIELDS[name].is_finite, name
    assert ((batch.actions >= 0) & (batch.actions < spec.num_actions)).all()
    sums = batch.policies.sum(2)
    assert (np.isclose(sums, 1.0, atol=1e-5) | (sums == 0.0)).all()
    assert (sums[:, 0] > 0).all(), "a slice without its own step"
    assert (np.diff(batch.action_mask.astype(int), axis=1) <= 0).all(), "a gap in an episode"
    assert ((batch.probabilities > 0) & (batch.probabilities <= 1)).all()
    assert (batch.table_sizes >= 1).all()
