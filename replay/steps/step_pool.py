"""Prioritised sampling in memory, drawn from the run's seed tree.

The distribution is Reverb's: P(i) = p_i^alpha / sum of p^alpha, with replacement; the oldest items
are evicted first (Schaul et al. 2016, eq. 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from efficientzero.schema import F64

_Item = TypeVar("_Item")
_DISCARDED = -1.0
"""In place of a priority."""


class Draw(NamedTuple, Generic[_Item]):
    """One drawn item with its probability and priority."""

    item: _Item
    key: int
    probability: float
    table_size: int
    priority: float


class StepPool(Generic[_Item]):
    """The newest ``capacity`` items, each with a priority. Keys count them from 0."""

    def __init__(self, capacity: int, exponent: float, generator: np.random.Generator) -> None:
        """Start empty; ``exponent`` is alpha, ``generator`` draws."""
        self._capacity, self._exponent, self._generator = capacity, exponent, generator
        self._items: list[_Item] = []  # the item of key k at place k modulo capacity
        self._keys = np.empty(0, np.int64)
        self._priorities = np.empty(0, np.float64)
        self.num_added = 0
        """Items ever added."""

    def add(self, item: _Item, priority: float) -> None:
        """Add an item; the oldest is evicted if the pool is full."""
        place = self.num_added % self._capacity
        if place == len(self._items):
            self._items.append(item)
            self._grow()
        self._items[place] = item
        self._keys[place], self._priorities[place] = self.num_added, priority
        self.num_added += 1

    def update(self, keys: Iterable[int], priorities: Iterable[float]) -> None:
        """Set priorities one after the other; evicted items are ignored."""
        for key, priority in zip(keys, priorities, strict=True):
            place = key % self._capacity
            if self._keys[place] == key and self._priorities[place] != _DISCARDED:
                self._priorities[place] = priority

    def discard(self, key: int) -> bool:
        """Never draw that item again; return False if it was evicted already."""
        place = key % self._capacity
        if self._keys[place] != key or self._priorities[place] == _DISCARDED:
            return False
        self._priorities[place] = _DISCARDED
        return True

    def has_any(self) -> bool:
        """Return whether there is an item to draw."""
        return bool((self._weights() > 0).any())

    def draw(self, num: int) -> list[Draw[_Item]]:
        """Return ``num`` items, drawn independently of each other.

        Raises:
            ValueError: there are none.
        """
        size = len(self._items)
        if not size:
            raise ValueError(f"draw: got {num} from an empty pool, wanted at least one step in it")
        weights = self._weights()
        cumulated = np.cumsum(weights)
        total = cumulated[-1]
        places = np.searchsorted(cumulated, self._generator.random(num) * total, side="right")
        # A product can round up to the total itself.
        places = np.minimum(places, size - 1)
        chances = weights[places] / total
        return [
            Draw(self._items[place], int(self._keys[place]), chance, size, self._priorities[place])
            for place, chance in zip(places.tolist(), chances.tolist(), strict=True)
        ]

    def _weights(self) -> F64:
        """Return each item's weight in drawing, f64 [N]; 0 for discarded items."""
        priorities = self._priorities[: len(self._items)]
        weights: F64 = np.maximum(priorities, 0.0) ** self._exponent * (priorities != _DISCARDED)
        return weights

    def _grow(self) -> None:
        """Make the arrays as long as the list, by doubling."""
        if len(self._items) > len(self._keys):
            length = min(self._capacity, max(1_024, 2 * len(self._keys)))
            self._keys = np.resize(self._keys, length)
            self._priorities = np.resize(self._priorities, length)
