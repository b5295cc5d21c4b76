"""How steps lie in replay: the one place that knows the packing, writing and reading.

Frames are zstd blocks of L steps, shared by all items whose window touches them. Everything else
of a step is one float32 row, because each further column costs 330 bytes per step on the server:

    row = [action, reward, root_value, ending, weights_version, position, env_step,
           search_policy[A]]

Blocks and positions count from the episode's start; the closing row (position T) holds the ending
and zeros. The item of step t refers to rows t .. t+K+n and to the blocks with frames
t-S+1 .. t+K+n, both clipped to the episode. Used by ``episode_writer`` and ``slice_sampler``;
knows no Reverb.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import zstandard

from efficientzero.config import AgentConfig
from efficientzero.schema import F32, Ending, EnvSpec, Frames, ReplayStep
from efficientzero.slices import SliceBatch
from replay.padding import copy_then_zeros, repeat_edges

_ACTION, _REWARD, _ROOT_VALUE, _ENDING, _WEIGHTS_VERSION, _POSITION, _ENV_STEP, _POLICY = range(8)
_MAX_EXACT_INTEGER = 2**24  # the last integer up to which float32 holds all of them
_ZSTD_LEVEL = 1


class SliceCodec:
    """Packs steps and unpacks windows; not thread-safe."""

    def __init__(self, env_spec: EnvSpec, agent: AgentConfig, *, frames_per_block: int) -> None:
        """Fix the shapes of everything packed or unpacked."""
        self._env_spec = env_spec
        self._num_stacked = env_spec.num_stacked_frames
        self._num_unroll_steps = agent.num_unroll_steps
        self.window_steps = agent.num_unroll_steps + agent.td_steps
        """Rows after t that the item of step t wants: K + n."""
        self.num_frames = self._num_stacked + self.window_steps
        """Frames in a window: S + K + n."""
        self.frames_per_block = frames_per_block
        self.row_size = _POLICY + env_spec.num_actions
        self._frame_dtype = np.dtype(env_spec.frame_dtype)
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def check_frame(self, frame: Frames) -> None:
        """Raise ValueError unless ``frame`` is one of this environment's."""
        got, wanted = (frame.dtype, frame.shape), (self._frame_dtype, self._env_spec.frame_shape)
        if got != wanted:
            raise ValueError(f"frame: got {got[0]} {got[1]}, wanted {wanted[0]} {wanted[1]}")

    def encode_step(self, step: ReplayStep, *, position: int) -> F32:
        """Return the row of one env_step, f32 [row_size]."""
        if step.search_policy.shape != (self._env_spec.num_actions,):
            wanted = (self._env_spec.num_actions,)
            raise ValueError(f"search_policy: got {step.search_policy.shape}, wanted {wanted}")
        for name, value in (("weights_version", step.weights_version), ("position", position)):
            if not 0 <= value <= _MAX_EXACT_INTEGER:
                raise ValueError(f"{name}: got {value}, wanted 0..{_MAX_EXACT_INTEGER}")
        row = np.empty(self.row_size, np.float32)
        row[_ACTION] = step.action
        row[_REWARD] = step.reward
        row[_ROOT_VALUE] = step.root_value
        row[_ENDING] = Ending.RUNNING
        row[_WEIGHTS_VERSION] = step.weights_version
        row[_POSITION] = position
        # Only ever a part of an age: past 2^24 float32's rounding does not matter.
        row[_ENV_STEP] = step.env_step
        row[_POLICY:] = step.search_policy
        return row

    def encode_ending(self, ending: Ending, *, position: int) -> F32:
        """Return the closing row, f32 [row_size]."""
        if ending == Ending.RUNNING:
            raise ValueError("ending of an ended episode: got RUNNING, wanted one of the others")
        row = np.zeros(self.row_size, np.float32)
        row[_ENDING] = ending
        row[_POSITION] = position
        return row

    def encode_block(self, frames: Frames) -> bytes:
        """Compress up to ``frames_per_block`` consecutive frames [L, *frame]."""
        return self._compressor.compress(np.ascontiguousarray(frames).data)

    def blocks_for(self, position: int, *, last_row: int) -> range:
        """Return the numbers of the blocks that the item of step ``position`` refers to."""
        first_frame = max(0, position - self._num_stacked + 1)
        return range(first_frame // self.frames_per_block, last_row // self.frames_per_block + 1)

    def allocate(self, num: int) -> SliceBatch:
        """Return a batch of ``num`` slices with undefined content."""
        steps, actions = self._num_unroll_steps, self._env_spec.num_actions
        frames_shape = (num, self.num_frames, *self._env_spec.frame_shape)
        return SliceBatch(
            frames=np.empty(frames_shape, self._frame_dtype),
            actions=np.empty((num, steps), np.int32),
            rewards=np.empty((num, self.window_steps), np.float32),
            search_policies=np.empty((num, steps + 1, actions), np.float32),
            root_values=np.empty((num, self.window_steps + 1), np.float32),
            steps_left=np.empty(num, np.int32),
            endings=np.empty(num, np.uint8),
            positions=np.empty(num, np.int64),
            env_steps=np.empty(num, np.int64),
            weights_versions=np.empty(num, np.int64),
            shards=np.empty(num, np.int32),
            keys=np.empty(num, np.uint64),
            probabilities=np.empty(num, np.float64),
            table_sizes=np.empty(num, np.int64),
            priorities=np.empty(num, np.float64),
        )

    def decode_into(self, batch: SliceBatch, i: int, *, blocks: Sequence[bytes], rows: F32) -> None:
        """Unpack one item into place ``i`` of ``batch``, all but what prioritised replay says."""
        max_rows = self.window_steps + 1
        if not 1 <= len(rows) <= max_rows or rows.shape[1:] != (self.row_size,):
            raise ValueError(f"rows: got {rows.shape}, wanted (1..{max_rows}, {self.row_size})")
        position = int(rows[0, _POSITION])
        ending = int(rows[-1, _ENDING])
        copy_then_zeros(batch.actions[i], rows[:, _ACTION])
        copy_then_zeros(batch.rewards[i], rows[:, _REWARD])
        copy_then_zeros(batch.search_policies[i], rows[:, _POLICY:])
        copy_then_zeros(batch.root_values[i], rows[:, _ROOT_VALUE])
        # Without the ending, an episode that ends exactly at t+K+n would look like one going on.
        batch.steps_left[i] = max_rows if ending == Ending.RUNNING else len(rows) - 1
        batch.endings[i] = ending
        batch.positions[i] = position
        batch.env_steps[i] = int(rows[0, _ENV_STEP])
        batch.weights_versions[i] = int(rows[0, _WEIGHTS_VERSION])
        self._decode_frames(batch.frames[i], blocks, position=position, num_rows=len(rows))

    def _decode_frames(
        self, target: Frames, blocks: Sequence[bytes], *, position: int, num_rows: int
    ) -> None:
        """Unpack frames t-S+1 .. t+num_rows-1 into ``target`` [S + K + n, *frame]."""
        first_frame = max(0, position - self._num_stacked + 1)
        first = max(0, self._num_stacked - 1 - position)
        stop = self._num_stacked - 1 + num_rows
        skipped = first_frame % self.frames_per_block
        filled = first
        for block in blocks:
            raw = np.frombuffer(self._decompressor.decompress(block), self._frame_dtype)
            frames = raw.reshape(-1, *self._env_spec.frame_shape)[skipped:][: stop - filled]
            target[filled : filled + len(frames)] = frames
            filled += len(frames)
            skipped = 0
        if filled != stop:
            raise ValueError(f"frames in {len(blocks)} blocks: got {filled}, wanted {stop}")
        repeat_edges(target, first=first, stop=stop)
