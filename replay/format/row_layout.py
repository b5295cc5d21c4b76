"""The layout of stored rows: one float32 row per step, in named groups of columns with a range.

Used by ``slice_codec``, which checks the rows of every item that is decoded before a number is
cast: what is too large for an integer would wrap around.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from efficientzero.schema import F32, Bool, Ending, EnvSpec, PolicyShape

MAX_EXACT_INTEGER = 2**24
"""The last integer up to which float32 holds all of them."""
_LARGEST = 1e30  # a sum of hundreds of them is still finite in float32
_MAX_ENV_STEP = 2.0**40  # float32 holds it, and int64 a sum of many
_ROUNDING = 1e-3  # of a policy's float32
_FLAGS_PER_WORD = 24  # integers below 2^24 are exact
_FLAGS = 1 << np.arange(_FLAGS_PER_WORD)


class Group(NamedTuple):
    """Neighbouring columns with one meaning."""

    name: str
    low: float
    high: float
    width: int = 1
    """0: runs of this kind do not store it."""


class RowLayout:
    """The groups of a run's rows, in order; what a group of width 0 would hold takes no byte."""

    def __init__(self, spec: EnvSpec, policy: PolicyShape, *, has_movers: bool = False) -> None:
        """Lay out the rows of an environment; 7 + W columns if it has none of what is optional.

        Args:
            spec: of the environment.
            policy: sizes of a policy.
            has_movers: rows say whose weights moved, in runs with a pool of opponents.
        """
        self.num_actions = spec.num_actions
        """A."""
        num_words = -(-spec.num_actions // _FLAGS_PER_WORD) if spec.has_legal_actions else 0
        has_players = int(spec.num_players > 1)
        groups = (
            Group("action", 0, max(0, spec.num_actions - 1)),
            Group("reward", -_LARGEST, _LARGEST),
            Group("root value", -_LARGEST, _LARGEST),
            Group("ending", min(Ending), max(Ending)),
            Group("weights_version", 0, MAX_EXACT_INTEGER),
            Group("position", 0, MAX_EXACT_INTEGER),
            Group("env_step", 0, _MAX_ENV_STEP),
            Group("legal actions", 0, 2**_FLAGS_PER_WORD - 1, num_words),
            Group("to_play", 0, 1, has_players),
            Group("mover", 0, MAX_EXACT_INTEGER, int(has_movers)),
            Group("continuous action", -1 - _ROUNDING, 1 + _ROUNDING, spec.action_size),
            Group("search policy", 0, 1 + _ROUNDING, policy.width),
            Group(
                "policy actions",
                -1 - _ROUNDING,
                1 + _ROUNDING,
                policy.width * policy.action_size,
            ),
        )
        columns = [group for group in groups for _ in range(group.width)]
        self.row_size = len(columns)
        self.first = {group.name: columns.index(group) for group in groups if group.width}
        """The first column of each group that is stored."""
        self._names = [group.name for group in columns]
        self._low = np.array([group.low for group in columns], np.float32)
        self._high = np.array([group.high for group in columns], np.float32)

    def columns(self, name: str) -> slice:
        """Return the columns of a group; none where it is not stored."""
        first = self.first.get(name, 0)
        return slice(first, first + self._names.count(name))

    def check(self, rows: F32) -> None:
        """Check rows [N, row_size]. Two comparisons find NaN, infinities and what is out of range.

        Raises:
            ValueError: a number is not finite or out of range.
        """
        good = (rows >= self._low) & (rows <= self._high)
        if good.all():
            return
        row, column = np.argwhere(~good)[0]
        raise ValueError(
            f"{self._names[column]} near env_step {rows[row, self.first['env_step']]:.0f}: got "
            f"{rows[row, column]:.6g}, wanted {self._low[column]:.6g} to {self._high[column]:.6g}"
        )


def has_optional_groups(spec: EnvSpec) -> bool:
    """Return whether rows hold more than those of one player whose actions are always legal."""
    return spec.has_legal_actions or spec.num_players > 1 or spec.action_kind != "discrete"


def words_of_flags(flags: Bool) -> tuple[float, ...]:
    """Return flags [A] as numbers of 24 each, the first one the lowest bit of the first number."""
    padded = np.zeros((-(-len(flags) // _FLAGS_PER_WORD), _FLAGS_PER_WORD), np.bool_)
    padded.reshape(-1)[: len(flags)] = flags
    return tuple((padded @ _FLAGS).tolist())


def flags_of_words(words: F32, num_flags: int) -> Bool:
    """Return what ``words_of_flags`` packed, bool [N, A], of words [N, ceil(A / 24)]."""
    flags = words.astype(np.int32)[:, :, None] & _FLAGS.astype(np.int32)
    return flags.reshape(len(words), -1)[:, :num_flags] > 0
