"""Reverb's C++ writer without its Python wrapper.

The wrapper walks through nested structures and builds a column object at every call: two thirds of
the CPU time of writing a step. Used by ``episode_writer``, which has two columns.
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
)  # Reverb wants defaults for unconfigured columns; we configure all


class CellRef(Protocol):
    """An appended cell; items can refer to it while the writer keeps it."""

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
            num_kept: for each column, the number of newest cells that items may refer to.
            chunk_lengths: for each column, the number of cells sent and stored together.
        """
        load = reverb_lite.load()
        self._deadline_exceeded = load.DeadlineExceededError
        options = sys.modules["reverb.libpybind"].ConstantChunkerOptions
        # To validate items, Reverb would request the service's tables without a time limit.
        self._writer: Any = vars(client)["_client"].NewTrajectoryWriter(
            options(*_LATE_COLUMNS), False
        )
        for column, sizes in enumerate(zip(chunk_lengths, num_kept, strict=True)):
            self._writer.ConfigureChunker(column, options(*sizes))
        # Items are made once for every env_step, so constant objects are looked up here.
        self._create_item = self._writer.CreateItem
        self._not_squeezed = [False] * len(num_kept)

    def __del__(self) -> None:
        """Close: Reverb's destructor would wait for its thread while it holds the GIL."""
        if hasattr(self, "_writer"):
            self.close()

    def append(self, cells: Sequence[Any]) -> list[Any]:
        """Add one cell to each of the first columns; None adds no cell.

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
        """Drop unconfirmed items."""
        self._writer.Close()
