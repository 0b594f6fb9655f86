"""Several peers of a shelf as one: their rows addressed by keys, gathered and changed at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.shelf import Shelf, spans


class Stack:
    """Some peers of a shelf, addressed as one.

    Item ``i`` of the stack's peer ``p`` has the key ``p * n_items + i``. Held rows have positions,
    which are those of ``keys``.

    Attributes:
        shelf: Where the peers sit.
        seats: Shape ``(n_peers,)``.
        dense: Shape ``(n_peers, n_dense)``, a copy until ``store``.
        private: Shape ``(n_peers, n_private)``, a copy until ``store``.
        lengths: Shape ``(n_peers,)``, held rows of each.
        slots: Shape ``(n_held,)``, where in the shelf's columns each held row lies.
        keys: Shape ``(n_held,)``, ascending.
    """

    def __init__(self, shelf: Shelf, seats: NDArray[np.int64]) -> None:
        self.shelf = shelf
        self.seats = seats
        self.n_items = len(shelf.initial)
        self.dense = shelf.dense[seats]
        self.private = shelf.private[seats]
        self._lay_out()

    def __len__(self) -> int:
        return len(self.seats)

    def store(self) -> None:
        """Give the vectors, which were changed here, back to the shelf."""
        self.shelf.dense[self.seats] = self.dense
        self.shelf.private[self.seats] = self.private

    def bounds(self) -> NDArray[np.int64]:
        """Shape ``(n_peers + 1,)``: between which positions the rows of each peer lie."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def _lay_out(self) -> None:
        shelf, seats = self.shelf, self.seats
        self.lengths = shelf.length[seats]
        self.slots = spans(shelf.start[seats], self.lengths)
        offsets = np.arange(len(seats)) * self.n_items
        self.keys = np.repeat(offsets, self.lengths)
        self.keys += shelf.rows.take(self.slots)
        self._where = shelf.where(len(seats))
        self._where[self.keys] = np.arange(len(self.keys), dtype=np.int32)

    def locate(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Position of the row of each key, and whether it is held at all.

        Where it is not, the position means nothing. The notes of a stack need no clearing between
        two stacks, since what they say is compared with the keys (Briggs & Torczon, 1993).
        """
        positions = self._where.take(keys)
        if not len(self.keys):
            return positions, np.zeros(keys.shape, np.bool_)
        return positions, self.keys.take(positions, mode="clip") == keys

    def hold(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """Positions of rows, which are held from now on; earlier positions mean nothing more."""
        positions, held = self.locate(keys)
        if held.all():
            return positions
        fresh = np.unique(keys[~held])
        self.shelf.insert(self.seats[fresh // self.n_items], fresh % self.n_items)
        self._lay_out()
        return self.locate(keys)[0]

    def gather(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of any keys, held or not; a copy of shape ``(len(keys), width)``."""
        positions, held = self.locate(keys)
        if held.all():
            rows: NDArray[np.float32] = self.shelf.values.take(self.slots.take(positions), axis=0)
            return rows
        rows = self.shelf.initial.take(keys % self.n_items, axis=0)
        rows[held] = self.shelf.values.take(self.slots[positions[held]], axis=0)
        return rows


def counted(flags: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many flags are set between bounds, shape ``(len(bounds) - 1,)``."""
    before = np.zeros(len(flags) + 1, np.int64)
    np.cumsum(flags, out=before[1:])
    return np.diff(before.take(bounds))
