"""Reverb's C++ writer without the Python round it.

Reverb's own wrapper walks through nested structures and builds a column object at every call: two
thirds of the CPU time of writing a step. Used by ``episode_writer``, whose columns are two.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

from replay.driver import reverb_lite

_NOT_IN_TIME = "Timeout exceeded"
_LATE_COLUMNS = (
    1,
    1,
)  # chunk length and cells kept of columns that were not configured; there are none


class CellRef(Protocol):
    """A cell that was appended; items refer to it while the writer keeps it."""

    @property
    def expired(self) -> bool:
        """Whether the writer has dropped the cell."""


class ColumnWriter:
    """One stream of steps and items; only ``flush`` waits for the service.

    Every method raises RuntimeError when the stream is broken for good.
    """

    def __init__(
        self, client: reverb_lite.Client, *, num_kept: Sequence[int], chunk_lengths: Sequence[int]
    ) -> None:
        """Open a stream; neither connects nor waits.

        Args:
            client: of the service.
            num_kept: how many of its newest cells items may refer to, for each column.
            chunk_lengths: how many cells of each column travel and are stored together.
        """
        load = reverb_lite.load()
        self._deadline_exceeded = load.DeadlineExceededError
        options = sys.modules["reverb.libpybind"].ConstantChunkerOptions
        # Validated items would need the service's tables, asked for without a time limit.
        self._writer: Any = vars(client)["_client"].NewTrajectoryWriter(
            options(*_LATE_COLUMNS), False
        )
        for column, sizes in enumerate(zip(chunk_lengths, num_kept, strict=True)):
            self._writer.ConfigureChunker(column, options(*sizes))
        # Items are made once for every env_step: what does not change is looked up here.
        self._create_item = self._writer.CreateItem
        self._not_squeezed = [False] * len(num_kept)

    def __del__(self) -> None:
        """Close: Reverb's destructor would wait for its thread with the interpreter locked."""
        if hasattr(self, "_writer"):
            self.close()

    def append(self, cells: Sequence[Any]) -> list[Any]:
        """Add one cell to each of the first columns, none where it is None.

        Returns:
            A ``CellRef`` for each, or None.
        """
        refs: list[Any] = self._writer.Append(cells)
        return refs

    def create_item(
        self, table: str, priority: float, columns: Sequence[Sequence[CellRef]]
    ) -> None:
        """Send an item of these cells of every column; an empty one would crash the process."""
        self._create_item(table, priority, columns, self._not_squeezed)

    def flush(self, num_left: int, *, timeout_ms: int) -> None:
        """Wait until all but ``num_left`` items are confirmed.

        Raises:
            DeadlineExceededError: Reverb's; they were not in time.
        """
        try:
            self._writer.Flush(num_left, timeout_ms)
        except RuntimeError as error:
            if _NOT_IN_TIME in str(error):
                raise self._deadline_exceeded(str(error)) from None
            raise

    def close(self) -> None:
        """Give up what is not confirmed."""
        self._writer.Close()
