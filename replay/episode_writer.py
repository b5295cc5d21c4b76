"""Writes one environment's episodes into replay: a step at a time in, overlapping items out.

An actor holds one per environment. Knows Reverb's writer and its traps, not what a search is.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from efficientzero.config import Config
from efficientzero.runtime import PlainError, StopSignal, WaitReason
from efficientzero.schema import F32, Ending, EnvSpec, Frames, ReplayStep
from replay import reverb_lite
from replay.column_writer import CellRef, ColumnWriter
from replay.priorities import clip_priority
from replay.slice_codec import SliceCodec
from replay.tables import STORED_STEPS, TRAJECTORIES

_MAX_UNCONFIRMED = 24  # at least a block, so that chunks stay whole; Reverb complains from 50 on
_TURN_MS = 500  # a blocked call does not see signals: look at the stop signal in between

log = logging.getLogger(__name__)


class StepsLost(PlainError):
    """Replay took no items in a run that depends on all of them."""


class EpisodeWriter:
    """Turns the steps of one episode after another into one item per step.

    The item of step t is sent as soon as the block with row t+K+n is full, or at the episode's
    end. When replay takes nothing for ``budget_s`` the rest of the episode is dropped and counted
    in ``lost_items``, so that an actor never hangs for longer.

    In a deterministic run every item is confirmed before ``append`` returns, so that the items of
    an actor's writers have one order, and a loss raises ``StepsLost``.
    """

    def __init__(
        self,
        address: str,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        budget_s: float = 30.0,
    ) -> None:
        """Open the stream; returns at once, whether or not replay is up."""
        self.lost_items = 0
        """Steps that never got into replay, at most (some may have, unconfirmed)."""
        self.bytes_sent = 0
        """Blocks and rows handed to the stream, compressed."""
        self._reverb = reverb_lite.load()
        self._client = self._reverb.Client(address)
        self._stop = stop
        self._budget_s = budget_s
        self._in_order = config.cluster.deterministic
        self._for_refresh = config.replay.priority_refresh_share > 0
        # Each step then makes two items, and those of an episode's end come at once.
        self._most_unconfirmed = _MAX_UNCONFIRMED // (2 if self._for_refresh else 1)
        frames_per_block = config.replay.frames_per_block
        self._codec = SliceCodec(env_spec, config.agent, frames_per_block=frames_per_block)
        self._block = np.empty((frames_per_block, *env_spec.frame_shape), env_spec.frame_dtype)
        self._unconfirmed = 0
        # All that an item may refer to when it is made, block borders included.
        self._num_kept = self._codec.num_frames + 2 * frames_per_block
        self._block_refs: deque[CellRef] = deque(maxlen=self._num_kept)
        self._row_refs: deque[CellRef] = deque(maxlen=self._num_kept)
        self._start_episode()
        self._writer = self._open()

    def append(self, step: ReplayStep) -> None:
        """Add one env_step; blocks up to ``budget_s`` when replay is slow."""
        self._codec.check_frame(step.frame)
        row = self._codec.encode_step(step, position=self._num_rows)
        self._priorities.append(clip_priority(step.priority))
        self._add_row(step.frame, row, is_last=False)

    def end(self, last_frame: Frames, ending: Ending) -> None:
        """Close the episode with the frame after its last step and wait for the service."""
        if self._num_rows == 0:
            raise ValueError("end of an episode: got no steps, wanted at least one")
        self._codec.check_frame(last_frame)
        row = self._codec.encode_ending(ending, position=self._num_rows)
        self._add_row(last_frame, row, is_last=True)
        if not self._is_abandoned:
            self._confirm(lambda: self._writer.end_episode(timeout_ms=_TURN_MS), leaving=0)
        self._start_episode()

    def close(self) -> None:
        """Close the stream; steps of a running episode that have no item yet are lost."""
        with contextlib.suppress(self._reverb.DeadlineExceededError, RuntimeError):
            self._writer.flush(0, timeout_ms=_TURN_MS)
            self._unconfirmed = 0
        if not self._is_abandoned:
            self._abandon_episode()
        self._writer.close()

    def _start_episode(self) -> None:
        self._num_rows = 0  # of this episode so far, the closing row included
        self._num_items = 0  # items made = the next position to make one for
        self._priorities: list[float] = []  # of positions 0..T-1
        self._is_abandoned = False
        self._block_refs.clear()
        self._row_refs.clear()

    def _open(self) -> ColumnWriter:
        # Blocks are compressed already, and one of them is a chunk of its own.
        lengths = (1, self._codec.frames_per_block)  # blocks, rows
        return ColumnWriter(self._client, num_kept=self._num_kept, chunk_lengths=lengths)

    def _add_row(self, frame: Frames, row: F32, *, is_last: bool) -> None:
        place = self._num_rows % self._codec.frames_per_block
        self._num_rows += 1
        if self._is_abandoned:
            self.lost_items += not is_last
            return
        self._block[place] = frame
        block_cell = None
        block_is_full = is_last or place + 1 == self._codec.frames_per_block
        if block_is_full:
            block = self._codec.encode_block(self._block[: place + 1])
            block_cell = np.array(block, dtype=object)
            self.bytes_sent += len(block)
        self.bytes_sent += row.nbytes
        try:
            block_ref, row_ref = self._writer.append((block_cell, row))
            if row_ref is not None:
                self._row_refs.append(row_ref)
            if block_ref is not None:
                self._block_refs.append(block_ref)
                self._create_items(episode_ended=is_last)
        except RuntimeError as error:  # the stream is broken for good
            self._reopen(str(error))
            return
        if block_is_full and not is_last:
            leaving = 0 if self._in_order else self._most_unconfirmed
            self._confirm(lambda: self._writer.flush(leaving, timeout_ms=_TURN_MS), leaving=leaving)

    def _create_items(self, *, episode_ended: bool) -> None:
        """Make the items whose windows are complete; all blocks up to the last row are full."""
        last = self._num_rows - 1
        window = self._codec.window_steps
        num_positions = last if episode_ended else last - window + 1
        blocks, rows = list(self._block_refs), list(self._row_refs)
        num_blocks = last // self._codec.frames_per_block + 1
        first_block, first_row = num_blocks - len(blocks), self._num_rows - len(rows)
        for position in range(self._num_items, num_positions):
            last_row = min(position + window, last)
            wanted = self._codec.blocks_for(position, last_row=last_row)
            columns = (
                blocks[wanted.start - first_block : wanted.stop - first_block],
                rows[position - first_row : last_row + 1 - first_row],
            )
            # An item with an empty column crashes the process.
            if not all(columns):
                raise ValueError(f"item {position}..{last_row}: got an empty column, wanted rows")
            self._writer.create_item(TRAJECTORIES, self._priorities[position], columns)
            if self._for_refresh:
                self._writer.create_item(STORED_STEPS, 1.0, columns)
            self._unconfirmed += 1
        self._num_items = max(self._num_items, num_positions)

    def _confirm(self, attempt: Callable[[], None], *, leaving: int) -> None:
        """Repeat ``attempt`` until at most ``leaving`` items are unconfirmed, or give up."""
        deadline = time.monotonic() + self._budget_s
        reason = WaitReason("replay to take items")
        while True:
            try:
                attempt()
            except self._reverb.DeadlineExceededError:
                reason.tick()
                if self._stop.is_set() or time.monotonic() > deadline:
                    self._reopen("replay takes no items")
                    return
            except RuntimeError as error:
                self._reopen(str(error))
                return
            else:
                self._unconfirmed = min(self._unconfirmed, leaving)
                return

    def _reopen(self, why: str) -> None:
        """Give up this episode: a new stream cannot refer to the rows of the old one."""
        if self._in_order and not self._stop.is_set():
            raise StepsLost(f"{why}; a deterministic run cannot go on without these steps")
        lost_before = self.lost_items
        self._abandon_episode()
        log.warning("episode dropped, %d items: %s", self.lost_items - lost_before, why)
        self._writer.close()
        self._writer = self._open()

    def _abandon_episode(self) -> None:
        self._is_abandoned = True
        self.lost_items += self._unconfirmed + len(self._priorities) - self._num_items
        self._unconfirmed = 0
