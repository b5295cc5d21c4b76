"""How steps lie in replay: the one place that knows the packing, writing and reading.

A block holds the frames and rows of L steps (``block_codec``) and is shared by all items whose
windows touch it. What is not a frame is one float32 row a step, laid out by ``row_layout``.

Blocks and positions count from the episode's start; the closing row (position T) holds the ending
and zeros. The item of step t refers to the blocks with frames t-S+1 .. t+K+n, clipped to the
episode, and to its place: t less the position of the first row in them. Places are cells that
all items of a stream share, because each item-specific cell costs hundreds of bytes on
the server. Used by ``episode_writer`` and ``slice_sampler``; knows no Reverb.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from efficientzero.blocks import BlockPacker, BlockUnpacker, block_format
from efficientzero.blocks._blocks import Block
from efficientzero.config import AgentConfig, num_actions_in_slice
from efficientzero.schema import (
    F32,
    Bool,
    Ending,
    EnvSpec,
    Frames,
    PolicyShape,
    ReplayStep,
    Shown,
    SliceBatch,
)
from replay.format.row_layout import (
    MAX_EXACT_INTEGER,
    RowLayout,
    flags_of_words,
    has_optional_groups,
    words_of_flags,
)
from replay.format.window_frames import copy_then_zeros, repeat_edges

_RUNNING = int(Ending.RUNNING)  # not the enum: numpy converts it slowly


class SliceCodec:
    """Packs steps and unpacks windows; not thread-safe."""

    def __init__(
        self,
        env_spec: EnvSpec,
        agent: AgentConfig,
        *,
        frames_per_block: int,
        whole_behaviour: bool = False,
        sampled_actions: int = 0,
        has_movers: bool = False,
    ) -> None:
        """Fix the shapes of everything packed or unpacked.

        Args:
            env_spec: of the environment.
            agent: K, n, and whether action values are trained.
            frames_per_block: steps in a block.
            whole_behaviour: unpack actions and policies of all K + n steps of a window.
            sampled_actions: W with continuous actions; others do not read it.
            has_movers: steps say whose weights moved, in runs with a pool of opponents.
        """
        self._env_spec = env_spec
        self._num_stacked = env_spec.num_stacked_frames
        self.window_steps = agent.num_unroll_steps + agent.td_steps
        """Rows after t that the item of step t wants: K + n."""
        self._num_policies = agent.num_unroll_steps + 1
        self._num_actions = num_actions_in_slice(agent)
        if whole_behaviour:
            self._num_policies, self._num_actions = self.window_steps + 1, self.window_steps
        self.num_frames = self._num_stacked + self.window_steps
        """Frames in a window: S + K + n."""
        self.frames_per_block = frames_per_block
        self._policy_shape = PolicyShape.of(env_spec, sampled_actions)
        self._has_movers = has_movers
        self._layout = RowLayout(env_spec, self._policy_shape, has_movers=has_movers)
        self._has_groups = has_optional_groups(env_spec)
        self._first, self._policy = self._layout.first, self._layout.columns("search policy")
        self.num_places = frames_per_block + self._num_stacked - 1
        """Places that an item's step can have in its blocks."""
        self._format = block_format(
            env_spec, row_size=self._layout.row_size, frames_per_block=frames_per_block
        )
        self.max_blocks = 2 + (self.num_frames - 1) // frames_per_block
        """Blocks that a window can touch."""
        self._unpacker = BlockUnpacker(self._format)
        policy_size = self._policy_shape.width * (1 + self._policy_shape.action_size)
        self._no_policy = np.zeros(policy_size, np.float32)

    def make_packer(self) -> BlockPacker:
        """Return what makes one writer's blocks."""
        return BlockPacker(self._format)

    def pack_step(self, packer: BlockPacker, step: ReplayStep, *, position: int) -> bool:
        """Append one env_step to a block; return whether it is full now."""
        if not (0 <= step.weights_version <= MAX_EXACT_INTEGER and position <= MAX_EXACT_INTEGER):
            raise ValueError(
                f"weights_version and position: got {step.weights_version} and {position}, "
                f"wanted 0..{MAX_EXACT_INTEGER}"
            )
        numbers = (  # in the order of the layout's groups
            step.action,
            step.reward,
            step.root_value,
            _RUNNING,
            step.weights_version,
            position,
            # Only ever a part of an age: past 2^24 float32's rounding does not matter.
            step.env_step,
        )
        if not self._has_groups:
            return packer.add(step.frame, numbers, step.search_policy)
        groups = self._groups(step.legal_actions, step.to_play, step.mover, step.continuous_action)
        policy = step.search_policy
        if self._policy_shape.action_size:
            assert step.policy_actions is not None
            policy = np.concatenate([policy, step.policy_actions.ravel()])
        return packer.add(step.frame, numbers + groups, policy)

    def pack_ending(
        self,
        packer: BlockPacker,
        last: Shown,
        ending: Ending,
        *,
        position: int,
    ) -> None:
        """Append an episode's closing row, with what the environment shows last."""
        if ending == Ending.RUNNING:
            raise ValueError("ending of an ended episode: got RUNNING, wanted one of the others")
        groups = self._groups(last.legal_actions, last.to_play) if self._has_groups else ()
        numbers = (0, 0, 0, int(ending), 0, position, 0, *groups)
        packer.add(last.frame, numbers, self._no_policy)

    def _groups(
        self,
        legal_actions: Bool | None,
        to_play: int,
        mover: int = 0,
        continuous_action: F32 | None = None,
    ) -> tuple[float, ...]:
        """Return the numbers of a row's optional groups, in the order of the layout."""
        spec = self._env_spec
        numbers: tuple[float, ...] = ()
        if spec.has_legal_actions:
            if legal_actions is None:
                raise ValueError(f"legal actions: got none, wanted bool [{spec.num_actions}]")
            numbers += words_of_flags(legal_actions)
        if spec.num_players > 1:
            numbers += (to_play,)
        if self._has_movers:
            numbers += (mover,)
        if spec.action_size:
            no_action = np.zeros(spec.action_size, np.float32)  # in the closing row
            numbers += tuple(
                (no_action if continuous_action is None else continuous_action).tolist()
            )
        return numbers

    def windows(self, positions: range, *, last_row: int) -> Iterator[tuple[range, range, int]]:
        """Yield neighbours whose items refer to the same blocks.

        Yields:
            Steps, blocks, and the first of the steps' places; those of the others follow.
        """
        length, num_before = self.frames_per_block, self._num_stacked - 1
        start = positions.start
        while start < positions.stop:
            first = max(0, start - num_before) // length
            stop = min(start + self.window_steps, last_row) // length + 1
            changes_at = [positions.stop, (first + 1) * length + num_before]
            if start + self.window_steps < last_row:
                changes_at.append(stop * length - self.window_steps)
            end = min(changes_at)
            yield range(start, end), range(first, stop), start - first * length
            start = end

    def allocate(self, num: int) -> SliceBatch:
        """Return a batch of ``num`` slices with undefined content."""
        spec, policy = self._env_spec, self._policy_shape
        frames_shape = (num, self.num_frames, *spec.frame_shape)
        num_observations, num_policies = self.window_steps + 1, self._num_policies
        num_flags = spec.num_actions if spec.has_legal_actions else 0
        has_players = spec.num_players > 1
        # At each position of a policy: what was played may count as its best action.
        num_played = max(num_policies, self._num_actions)
        return SliceBatch(
            frames=np.empty(frames_shape, spec.frame_dtype),
            actions=np.empty((num, self._num_actions), np.int32),
            rewards=np.empty((num, self.window_steps), np.float32),
            search_policies=np.empty((num, num_policies, policy.width), np.float32),
            root_values=np.empty((num, num_observations), np.float32),
            steps_left=np.empty(num, np.int32),
            endings=np.empty(num, np.uint8),
            positions=np.empty(num, np.int64),
            env_steps=np.empty(num, np.int64),
            weights_versions=np.empty(num, np.int64),
            keys=np.empty(num, np.uint64),
            probabilities=np.empty(num, np.float64),
            table_sizes=np.empty(num, np.int64),
            priorities=np.empty(num, np.float64),
            legal_actions=np.empty((num, num_observations, num_flags), np.bool_),
            to_play=np.empty((num, num_observations * has_players), np.uint8),
            movers=np.empty((num, num_policies * self._has_movers), np.int32),
            continuous_actions=np.empty((num, num_played, policy.action_size), np.float32),
            policy_actions=np.empty(
                (num, num_policies, policy.width, policy.action_size), np.float32
            ),
        )

    def decode_into(
        self, batch: SliceBatch, i: int, *, blocks: Sequence[bytes], place: int
    ) -> None:
        """Unpack one item into place ``i`` of ``batch``, all but what prioritised replay says.

        Raises:
            ValueError: the blocks are damaged, do not hold the whole window, or hold what no actor
                writes.
        """
        if not 1 <= len(blocks) <= self.max_blocks or not 0 <= place < self.num_places:
            raise ValueError(
                f"item: got {len(blocks)} blocks and place {place}, wanted 1 to {self.max_blocks} "
                f"blocks and a place below {self.num_places}"
            )
        unpacked = [self._unpacker.unpack(block) for block in blocks]
        rows = self._rows_from(place, [block.rows() for block in unpacked])
        max_rows = self.window_steps + 1
        first = self._first
        position = int(rows[0, first["position"]])
        ending = int(rows[-1, first["ending"]])
        copy_then_zeros(batch.actions[i], rows[:, first["action"]])
        copy_then_zeros(batch.rewards[i], rows[:, first["reward"]])
        copy_then_zeros(batch.search_policies[i], rows[:, self._policy])
        copy_then_zeros(batch.root_values[i], rows[:, first["root value"]])
        if self._has_groups:
            self._decode_groups(batch, i, rows)
        # Without the ending, an episode that ends exactly at t+K+n would look like one going on.
        batch.steps_left[i] = max_rows if ending == Ending.RUNNING else len(rows) - 1
        batch.endings[i] = ending
        batch.positions[i] = position
        batch.env_steps[i] = int(rows[0, first["env_step"]])
        batch.weights_versions[i] = int(rows[0, first["weights_version"]])
        num_before = min(position, self._num_stacked - 1)
        start, stop = self._num_stacked - 1 - num_before, self._num_stacked - 1 + len(rows)
        if num_before > place:
            raise ValueError(f"frames before step {position}: got {place}, wanted {num_before}")
        self._copy_frames(batch.frames[i][start:stop], unpacked, place - num_before)
        repeat_edges(batch.frames[i], first=start, stop=stop)
        if batch.frames.dtype.kind == "f" and not np.isfinite(batch.frames[i]).all():
            raise ValueError("frames: got numbers that are not finite, wanted finite ones")

    def _decode_groups(self, batch: SliceBatch, i: int, rows: F32) -> None:
        """Unpack what only some environments have; all zero past the end of an episode."""
        spec, columns = self._env_spec, self._layout.columns
        if spec.has_legal_actions:
            legal = flags_of_words(rows[:, columns("legal actions")], spec.num_actions)
            if not legal.any(axis=1).all():
                raise ValueError("legal actions: got none of a step, wanted at least one")
            copy_then_zeros(batch.legal_actions[i], legal)
        if spec.num_players > 1:
            copy_then_zeros(batch.to_play[i], rows[:, self._first["to_play"]])
        if self._has_movers:
            copy_then_zeros(batch.movers[i], rows[:, self._first["mover"]])
        if spec.action_size:
            copy_then_zeros(batch.continuous_actions[i], rows[:, columns("continuous action")])
            slots = rows[:, columns("policy actions")]
            shape = (len(rows), *batch.policy_actions.shape[2:])
            copy_then_zeros(batch.policy_actions[i], slots.reshape(shape))

    def _rows_from(self, place: int, pieces: Sequence[F32]) -> F32:
        """Return rows t .. t+K+n, clipped to the episode, of the blocks' consecutive rows."""
        rows = np.concatenate(pieces)
        self._layout.check(rows)
        positions = rows[:, self._first["position"]]
        if not np.array_equal(positions, positions[0] + np.arange(len(rows))):
            got = positions.tolist()
            raise ValueError(f"positions in {len(pieces)} blocks: got {got}, wanted one by one")
        rows = rows[place : place + self.window_steps + 1]
        if len(rows) <= self.window_steps and (
            not len(rows) or rows[-1, self._first["ending"]] == Ending.RUNNING
        ):
            raise ValueError(
                f"rows of a window in {len(pieces)} blocks: got {len(rows)}, "
                f"wanted {self.window_steps + 1} or an ending"
            )
        return rows

    @staticmethod
    def _copy_frames(target: Frames, blocks: Sequence[Block], skipped: int) -> None:
        """Copy the blocks' frames, all but the first ``skipped``, until ``target`` is full."""
        filled = 0
        for block in blocks:
            filled += block.copy_frames(target[filled:], skipped)
            skipped = max(0, skipped - block.num_steps)
