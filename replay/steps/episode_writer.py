"""Writes one environment's episodes into replay: takes single steps, sends overlapping items.

An actor holds one per environment.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from efficientzero.config import Config
from efficientzero.process.runtime import PlainError, StopSignal, WaitReason
from efficientzero.schema import Ending, EnvSpec, ReplayStep, Shown
from replay.driver import CellRef, ColumnWriter, reverb_lite
from replay.format import SliceCodec
from replay.steps.priorities import clip_priority
from replay.tables import STORED_STEPS, trajectories_table

_MAX_UNCONFIRMED = 48  # items; Reverb complains from 50 on
_END_OF_CHUNK = np.array(b"", dtype=object)
_POLL_MS = 500  # a blocked call does not see signals: check the stop signal in between

log = logging.getLogger(__name__)


class StepsLost(PlainError):
    """Replay accepted no items in a run that needs all of them."""


class EpisodeWriter:
    """Makes one item per step, for one episode after another.

    The item of step t is sent as soon as the block with row t+K+n is full, or at the episode's
    end. If replay accepts nothing for ``budget_s`` seconds, the rest of the episode is dropped and
    counted in ``lost_items``, so that an actor never hangs for longer.

    In a deterministic run every item is confirmed before ``append`` returns, so that the items of
    an actor's writers have a fixed order, and a loss raises ``StepsLost``.
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
        """Upper bound of the steps that did not reach replay (unconfirmed ones may have)."""
        self.bytes_sent = 0
        """Compressed blocks passed to the stream."""
        self._reverb = reverb_lite.load()
        self._client = self._reverb.Client(address)
        self._stop = stop
        self._budget_s = budget_s
        self._in_order = config.cluster.deterministic
        self._for_refresh = config.replay.priority_refresh_share > 0
        self._items_per_step = 2 if self._for_refresh else 1
        frames_per_block = config.replay.frames_per_block
        self._table = trajectories_table(env_spec, has_movers=config.league.has_pool)
        self._codec = SliceCodec(
            env_spec,
            config.agent,
            frames_per_block=frames_per_block,
            sampled_actions=config.search.sampled_actions,
            has_movers=config.league.has_pool,
        )
        self._packer = self._codec.make_packer()
        self._unconfirmed = 0  # steps whose items are in transit
        # Steps that items of the newest block may refer to, including block borders.
        self._num_kept_blocks = 2 + (self._codec.num_frames - 1) // frames_per_block
        self._block_refs: deque[CellRef] = deque(maxlen=self._num_kept_blocks)
        self._place_refs: list[CellRef] = []
        self._start_episode()
        self._writer = self._open()

    def append(self, step: ReplayStep) -> None:
        """Add one env_step; blocks up to ``budget_s`` when replay is slow."""
        if self._is_abandoned:
            self.lost_items += 1
        else:
            position = len(self._priorities)
            is_full = self._codec.pack_step(self._packer, step, position=position)
            self._priorities.append(clip_priority(step.priority))
            if is_full:
                self._send_block(episode_ended=False)

    def end(self, last: Shown, ending: Ending) -> None:
        """Close the episode with what follows its last step and wait for the service.

        Args:
            last: what the environment shows then.
            ending: why it ended.
        """
        num_steps = len(self._priorities)
        if not num_steps:
            raise ValueError("end of an episode: got no steps, wanted at least one")
        if not self._is_abandoned:
            self._codec.pack_ending(self._packer, last, ending, position=num_steps)
            self._send_block(episode_ended=True)
        if not self._is_abandoned:
            self._confirm(lambda: self._writer.flush(0, timeout_ms=_POLL_MS), leaving=0)
        self._start_episode()

    def close(self) -> None:
        """Close the stream; steps of a running episode that have no item yet are lost."""
        with contextlib.suppress(self._reverb.DeadlineExceededError, RuntimeError):
            self._writer.flush(0, timeout_ms=_POLL_MS)
            self._unconfirmed = 0
        if not self._is_abandoned:
            self._abandon_episode()
        self._writer.close()

    def _start_episode(self) -> None:
        self._priorities: list[float] = []  # of the steps so far
        self._num_items = 0  # items made = the next position to make one for
        self._is_abandoned = False
        self._packer.clear()
        self._block_refs.clear()

    def _open(self) -> ColumnWriter:
        self._place_refs.clear()
        # Blocks are compressed already, and each is a separate chunk. Blocks of unconfirmed items
        # are kept as well, for a stream that has to start again.
        num_waiting = -(-_MAX_UNCONFIRMED // self._codec.frames_per_block)
        num_places = self._codec.num_places
        return ColumnWriter(
            self._client,
            num_kept=(2 * (self._num_kept_blocks + num_waiting), num_places),
            chunk_lengths=(2, num_places),
        )

    def _send_block(self, *, episode_ended: bool) -> None:
        """Send the steps since the last block, and the items whose windows are complete."""
        block = self._packer.finish()
        self.bytes_sent += len(block)
        num_steps = len(self._priorities)
        last_row = num_steps if episode_ended else num_steps - 1
        stop = last_row if episode_ended else last_row - self._codec.window_steps + 1
        positions = range(self._num_items, max(self._num_items, stop))
        # All at once, except for long blocks and ends of episodes.
        at_once = _MAX_UNCONFIRMED // self._items_per_step
        first, others = positions[:at_once], positions[at_once:]
        self._make_room(len(first))
        if self._is_abandoned:
            return
        try:
            if not self._place_refs:
                self._append_places()
            (block_ref,) = self._writer.append((np.array(block, dtype=object),))
            self._block_refs.append(block_ref)
            self._create_items(first, last_row=last_row)
            self._writer.append((_END_OF_CHUNK,))
            while others and not self._is_abandoned:
                first, others = others[:at_once], others[at_once:]
                self._make_room(len(first))
                if not self._is_abandoned:
                    self._create_items(first, last_row=last_row)
        except RuntimeError as error:  # the stream is broken for good
            self._reopen(str(error))
            return
        if self._in_order and not episode_ended:
            self._flush(leaving=0)

    def _append_places(self) -> None:
        """Send the cells of all places; the writer keeps them, for all episodes of its stream."""
        for place in range(self._codec.num_places):
            _, place_ref = self._writer.append((None, np.int32(place)))
            self._place_refs.append(place_ref)

    def _create_items(self, positions: range, *, last_row: int) -> None:
        kept = list(self._block_refs)
        first_kept = last_row // self._codec.frames_per_block + 1 - len(kept)
        for steps, blocks, first_place in self._codec.windows(positions, last_row=last_row):
            wanted = kept[blocks.start - first_kept : blocks.stop - first_kept]
            # An item with an empty column crashes the process.
            if blocks.start < first_kept or len(wanted) != len(blocks):
                raise ValueError(f"items {steps}: got blocks from {first_kept}, wanted {blocks}")
            for place, position in enumerate(steps, start=first_place):
                columns = (wanted, (self._place_refs[place],))
                self._writer.create_item(self._table, self._priorities[position], columns)
                if self._for_refresh:
                    self._writer.create_item(STORED_STEPS, 1.0, columns)
        self._unconfirmed += len(positions)
        self._num_items = positions.stop

    def _make_room(self, num_steps: int) -> None:
        """Wait until ``num_steps`` more items keep the unconfirmed ones below their limit."""
        leaving = max(0, _MAX_UNCONFIRMED // self._items_per_step - num_steps)
        if self._unconfirmed > leaving:
            self._flush(leaving=leaving)

    def _flush(self, *, leaving: int) -> None:
        num_items = leaving * self._items_per_step
        self._confirm(lambda: self._writer.flush(num_items, timeout_ms=_POLL_MS), leaving=leaving)

    def _confirm(self, attempt: Callable[[], None], *, leaving: int) -> None:
        """Repeat ``attempt`` until at most ``leaving`` steps are unconfirmed, or give up."""
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
        """Drop this episode: a new stream cannot refer to the rows of the old one."""
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
