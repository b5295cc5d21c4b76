"""Random episodes and, by plain loops, the windows that replay must give back for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from efficientzero.config import num_actions_in_slice
from efficientzero.config.fields import AgentConfig, Config
from efficientzero.schema import F32, I32, I64, Ending, EnvSpec, Frames, ReplayStep, SliceBatch
from replay.format import TrainingBatch
from replay.format.batch_codec import batch_spec

IMAGES = EnvSpec(
    env_id="images",
    frame_shape=(3, 12, 10),
    frame_dtype="uint8",
    num_actions=6,
    num_stacked_frames=4,
)
VECTORS = EnvSpec(
    env_id="vectors",
    frame_shape=(5,),
    frame_dtype="float32",
    num_actions=2,
    num_stacked_frames=2,
)
POSITIONS_PER_EPISODE = 10_000


class TrajectorySlice(NamedTuple):
    """The window of an episode round step t, padded to fixed length.

    Left padding repeats the episode's first frame, right padding its last; rewards, policies and
    root values past the end are zero, actions past the end are zero and masked by ``steps_left``.
    """

    frames: Frames  # [S + K + n, *frame]; frames[S - 1] is o_t's newest frame
    actions: I32  # [K]
    rewards: F32  # [K + n]
    search_policies: F32  # [K + 1, A]
    root_values: F32  # [K + n + 1]
    steps_left: int  # T - t, clipped to K + n + 1 (rewards that exist from t on)
    ending: int  # Ending of the episode if it ends inside the window, else RUNNING
    position: int  # t
    env_step: int  # of the run, when t was played
    weights_version: int  # train_step of the weights that acted at t


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What an actor saw and did; ``root_values`` tell episode and position."""

    frames: Frames  # [T + 1, *frame]
    actions: I64  # [T]
    rewards: F32  # [T]
    search_policies: F32  # [T, A]
    root_values: F32  # [T] number * POSITIONS_PER_EPISODE + t
    weights_versions: I64  # [T]
    env_steps: I64  # [T]
    ending: Ending

    def __len__(self) -> int:
        return len(self.actions)

    def step(self, t: int) -> ReplayStep:
        return ReplayStep(
            frame=self.frames[t],
            action=int(self.actions[t]),
            reward=float(self.rewards[t]),
            search_policy=self.search_policies[t],
            root_value=float(self.root_values[t]),
            priority=1.0,
            weights_version=int(self.weights_versions[t]),
            env_step=int(self.env_steps[t]),
        )


def random_episode(
    spec: EnvSpec, rng: np.random.Generator, *, number: int, length: int, ending: Ending
) -> Episode:
    shape = (length + 1, *spec.frame_shape)
    if spec.frame_dtype == "uint8":
        frames: Frames = rng.integers(0, 256, shape, dtype=np.uint8)
    else:
        frames = rng.normal(size=shape).astype(np.float32)
    return Episode(
        frames=frames,
        actions=rng.integers(0, spec.num_actions, length),
        rewards=rng.normal(size=length).astype(np.float32),
        search_policies=rng.dirichlet(np.ones(spec.num_actions), length).astype(np.float32),
        root_values=(number * POSITIONS_PER_EPISODE + np.arange(length)).astype(np.float32),
        weights_versions=rng.integers(0, 120_000, length),
        env_steps=1_000 * number + 4 * np.arange(length),  # four environments in lock step
        ending=ending,
    )


def window(
    episode: Episode, t: int, spec: EnvSpec, agent: AgentConfig, *, whole_behaviour: bool = False
) -> TrajectorySlice:
    """Return the padded window round step ``t``, by the words of ``TrajectorySlice``."""
    length = len(episode)
    unroll, span = agent.num_unroll_steps, agent.num_unroll_steps + agent.td_steps
    num_actions, num_policies = num_actions_in_slice(agent), unroll + 1
    if whole_behaviour:
        num_actions, num_policies = span, span + 1
    first_frame = t - spec.num_stacked_frames + 1
    frames = [episode.frames[min(max(i, 0), length)] for i in range(first_frame, t + span + 1)]

    def or_zeros(values: I64 | F32, count: int) -> NDArray[Any]:
        zeros = np.zeros(values.shape[1:], values.dtype)
        return np.array([values[i] if i < length else zeros for i in range(t, t + count)])

    return TrajectorySlice(
        frames=np.array(frames),
        actions=or_zeros(episode.actions, num_actions).astype(np.int32),
        rewards=or_zeros(episode.rewards, span),
        search_policies=or_zeros(episode.search_policies, num_policies),
        root_values=or_zeros(episode.root_values, span + 1),
        steps_left=min(length - t, span + 1),
        ending=int(episode.ending) if length <= t + span else int(Ending.RUNNING),
        position=t,
        env_step=int(episode.env_steps[t]),
        weights_version=int(episode.weights_versions[t]),
    )


def random_training_batch(spec: EnvSpec, config: Config, *, seed: int) -> TrainingBatch:
    rng = np.random.default_rng(seed)
    fields = batch_spec(spec, config).items()
    arrays: dict[str, Any] = {
        name: rng.integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)
        for name, (dtype, shape) in fields
    }
    return TrainingBatch(**arrays)


def assert_same_training_batch(got: TrainingBatch, wanted: TrainingBatch) -> None:
    for name in TrainingBatch._fields:
        got_field, wanted_field = getattr(got, name), getattr(wanted, name)
        assert got_field.dtype == wanted_field.dtype
        assert got_field.flags.writeable
        np.testing.assert_array_equal(got_field, wanted_field)


def assert_slice_equals(batch: SliceBatch, i: int, wanted: TrajectorySlice) -> None:
    """Compare place ``i`` of ``batch`` with ``wanted``, bit by bit."""
    for got, field in (
        (batch.frames[i], wanted.frames),
        (batch.actions[i], wanted.actions),
        (batch.rewards[i], wanted.rewards),
        (batch.search_policies[i], wanted.search_policies),
        (batch.root_values[i], wanted.root_values),
    ):
        assert got.dtype == field.dtype
        np.testing.assert_array_equal(got, field)
    assert batch.steps_left[i] == wanted.steps_left
    assert batch.endings[i] == wanted.ending
    assert batch.positions[i] == wanted.position
    assert batch.env_steps[i] == wanted.env_step
    assert batch.weights_versions[i] == wanted.weights_version
