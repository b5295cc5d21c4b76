"""Lines that stay at the bottom of a terminal, below what is printed meanwhile.

``rich.live`` with one addition: a window that becomes narrower wraps the lines that are there, so
that rich erases too few of them and leaves the rest behind.
"""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.text import Text


class LiveBlock:
    """The block at the bottom; for one thread at a time."""

    def __init__(self, console: Console) -> None:
        """Show nothing before ``start``."""
        self._console, self._block = console, Text("starting")
        self._live = Live(self._block, console=console, auto_refresh=False, transient=True)
        self._width, self._lengths = console.width, [len(self._block)]

    @property
    def width(self) -> int:
        """Columns that a line may take: in the last one some terminals wrap."""
        return max(1, self._console.width - 1)

    def start(self) -> None:
        """Show the block."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Take the block away."""
        self._follow_window()
        self._live.stop()

    def print(self, text: Text) -> None:
        """Print above the block; the terminal wraps what is too long."""
        self._follow_window()
        self._console.print(text, soft_wrap=True)

    def update(self, block: RenderableType) -> None:
        """Show another block; lines that are too long are cut."""
        self._follow_window()
        self._live.update(block, refresh=True)
        lines = self._console.render_lines(block, pad=False)
        self._lengths = [Segment.get_line_length(line) for line in lines]

    def _follow_window(self) -> None:
        """Erase all rows of a block that a narrower window has wrapped."""
        width, height = self._console.width, len(self._lengths)
        rows = sum(max(1, -(-length // width)) for length in self._lengths)
        if width < self._width and rows > height:
            # To its first row, erase to the end, and to where rich takes the last row to be.
            self._console.file.write(f"\r\x1b[{rows - 1}A\x1b[J" + "\n" * (height - 1))
            self._console.file.flush()
        if width != self._width:
            self._width = width
            self._lengths = [min(length, width) for length in self._lengths]
