"""Several peers of a shelf as one: their rows addressed by keys, gathered and changed at once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.models.shelf import Shelf, spans


class Stack:
    """Some peers of a shelf, addressed as one.

    Item ``i`` of the stack's peer ``p`` has the key ``p * n_items + i``. Held rows have positions,
    which are those of ``keys``. What is laid out for them is computed where it is asked for.

    Attributes:
        shelf: Where the peers sit.
        seats: Shape ``(n_peers,)``.
        dense: Shape ``(n_peers, n_dense)``, a copy until ``store``.
        private: Shape ``(n_peers, n_private)``, a copy until ``store``.
        notes: What a family has computed of the rows and statistics of a peer, by its number, and
            keeps where steps change neither.
    """

    def __init__(self, shelf: Shelf, seats: NDArray[np.int64]) -> None:
        self.shelf = shelf
        self.seats = seats
        self.n_items = len(shelf.initial)
        self.dense = shelf.dense[seats]
        self.private = shelf.private[seats]
        self.notes: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.seats)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Shape ``(n_peers,)``, where in the shelf's columns the segment of each peer begins."""
        return self.shelf.start[self.seats]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Shape ``(n_peers,)``, rows that each peer holds."""
        return self.shelf.length[self.seats]

    @property
    def addresses(self) -> NDArray[np.int64]:
        """Shape ``(n_peers, 5)``: where in memory the segment of each peer begins.

        Of items, values, evidence, popularity among others, and whether the owner goes there.
        They hold until a segment of the shelf grows.
        """
        shelf, starts = self.shelf, self.starts
        columns = (shelf.rows, shelf.values, shelf.evidence, shelf.others, shelf.own)
        return np.stack([address(c) + c.strides[0] * starts for c in columns], axis=1)

    @cached_property
    def peer(self) -> NDArray[np.int64]:
        """Shape ``(n_held,)``, the peer of each held row."""
        return np.repeat(np.arange(len(self.seats)), self.lengths)

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Shape ``(n_held,)``, where in the shelf's columns each held row lies."""
        return spans(self.starts, self.lengths)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """Shape ``(n_held,)``, ascending."""
        keys: NDArray[np.int64] = self.peer * self.n_items
        keys += self.shelf.rows.take(self.slots)
        return keys

    def store(self) -> None:
        """Give the vectors, which were changed here, back to the shelf."""
        self.shelf.dense[self.seats] = self.dense
        self.shelf.private[self.seats] = self.private

    def locate(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Position of the row of each key, and whether it is held at all.

        Where it is not, the position means nothing.
        """
        return found(self.keys, keys)

    def hold(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of rows, which are held from now on; earlier positions mean nothing then."""
        positions, held = self.locate(keys)
        if held.all():
            return positions
        fresh = np.sort(keys[~held])
        fresh = fresh[np.diff(fresh, prepend=-1) > 0]
        peer, item = np.divmod(fresh, self.n_items)
        self.hold_more(np.bincount(peer, minlength=len(self)), item.astype(np.int32))
        return self.locate(keys)[0]

    def hold_more(self, extra: NDArray[np.int64], items: NDArray[np.int32]) -> None:
        """Hold rows that were not held.

        Args:
            extra: Shape ``(n_peers,)``, how many come to each peer.
            items: For one peer after the other, ascending.
        """
        changed = np.flatnonzero(extra)
        self.shelf.merge_in(self.seats[changed], extra[changed], items)
        for name in ("peer", "slots", "keys"):
            self.__dict__.pop(name, None)

    def gather(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of any keys, held or not; a copy of shape ``(len(keys), width)``."""
        positions, held = self.locate(keys)
        if held.all():
            return self.shelf.rows_at(self.slots.take(positions))
        rows: NDArray[np.float32] = self.shelf.initial.take(keys % self.n_items, axis=0)
        rows[held] = self.shelf.rows_at(self.slots[positions[held]])
        return rows


def address(array: NDArray[np.generic]) -> int:
    """Where in memory an array begins."""
    begin: int = array.__array_interface__["data"][0]
    return begin


def found(
    ascending: NDArray[np.integer], keys: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where keys lie among others, and whether they are there at all; shapes of ``keys``."""
    at = np.searchsorted(ascending, keys)
    if not len(ascending):
        return at, np.zeros(keys.shape, np.bool_)
    return at, ascending.take(at, mode="clip") == keys


def dotted(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Product of each row of ``a`` with that of ``b``, summed from left to right."""
    total = np.zeros(len(a), np.float32)
    for column in range(a.shape[1]):
        total += a[:, column] * b[:, column]
    return total
