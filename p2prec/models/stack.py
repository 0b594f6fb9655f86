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
        peer: Shape ``(n_held,)``, the peer of each held row.
        slots: Shape ``(n_held,)``, where in the shelf's columns each held row lies.
        keys: Shape ``(n_held,)``, in no order.
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

    def _lay_out(self) -> None:
        lengths = self.shelf.length[self.seats]
        self._starts = self.shelf.start[self.seats]
        self.peer = np.repeat(np.arange(len(self.seats)), lengths)
        self.slots = spans(self._starts, lengths)
        self.keys = self.peer * self.n_items
        self.keys += self.shelf.rows.take(self.slots)
        self._where: NDArray[np.int32] | None = None

    def store(self) -> None:
        """Give the vectors, which were changed here, back to the shelf."""
        self.shelf.dense[self.seats] = self.dense
        self.shelf.private[self.seats] = self.private

    def locate(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Position of the row of each key, and whether it is held at all.

        Where it is not, the position means nothing. The notes of a stack need no clearing between
        two stacks, since what they say is compared with the keys (Briggs & Torczon, 1993).
        """
        positions = self._notes().take(keys)
        if not len(self.keys):
            return positions, np.zeros(keys.shape, np.bool_)
        return positions, self.keys.take(positions, mode="clip") == keys

    def _notes(self) -> NDArray[np.int32]:
        if self._where is None:
            self._where = self.shelf.where(len(self.seats))
            self._where[self.keys] = np.arange(len(self.keys), dtype=np.int32)
        return self._where

    def hold(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """Positions of rows, which are held from now on; earlier positions stay good."""
        positions, held = self.locate(keys)
        if held.all():
            return positions
        fresh = np.sort(keys[~held])
        fresh = fresh[np.diff(fresh, prepend=-1) > 0]
        peer, item = np.divmod(fresh, self.n_items)
        seats = self.seats.take(peer)
        places = self.shelf.length.take(seats) + placed(peer)
        stayed = self.shelf.insert(seats, item)
        n_held = len(self.keys)
        if not stayed:
            starts = self.shelf.start.take(self.seats)
            self.slots += (starts - self._starts).take(self.peer)
            self._starts = starts
        self.slots = np.concatenate([self.slots, self.shelf.start.take(seats) + places])
        self.peer = np.concatenate([self.peer, peer])
        self.keys = np.concatenate([self.keys, fresh])
        self._notes()[fresh] = np.arange(n_held, len(self.keys), dtype=np.int32)
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


def placed(owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each among those of the same owner; owners ascend."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    lengths = np.diff(starts, append=len(owner))
    return np.arange(len(owner)) - np.repeat(starts, lengths)


def found(
    ascending: NDArray[np.integer], keys: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where keys lie among others, and whether they are there at all; shapes of ``keys``."""
    at = np.searchsorted(ascending, keys)
    if not len(ascending):
        return at, np.zeros(keys.shape, np.bool_)
    return at, ascending.take(at, mode="clip") == keys
