"""What many peers have learned, side by side in a few flat arrays.

A peer has a *seat*: its vectors, and a segment of the rows that differ from the realm's initial
ones, in the order in which they came. Whoever works on many peers at once addresses all of them
through a ``Stack``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

MAX_SEATS = 8_192  # of one shelf, so that no array grows beyond some hundred megabytes at once
_SPARE = 4  # a segment that must move gets a quarter more room than it needs
_Count = TypeVar("_Count", int, "NDArray[np.int64]")
_VECTORS = ("dense", "dense_accumulator", "private", "private_accumulator", "private_start")
_COLUMNS = ("rows", "values", "accumulator", "evidence", "own")


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """All indices of some stretches, one stretch after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


class Shelf:
    """Rows and vectors of peers of one model.

    Attributes:
        initial: Shape ``(n_items, width)``, the realm's initial rows.
        rows: Shape ``(capacity,)``, item of each held row.
        values: Shape ``(capacity, width)``.
        accumulator: Shape ``(capacity,)``, of row-wise Adagrad.
        evidence: Shape ``(capacity,)``, how often a row was trained, here or elsewhere.
        own: Shape ``(capacity,)``, whether the owner has met the item.
        start: Shape ``(n_seats,)``, where the segment of each seat begins.
        length: Shape ``(n_seats,)``, rows in it.
        dense: Shape ``(n_seats, n_dense)``.
        dense_accumulator: Shape ``(n_seats, n_dense)``.
        private: Shape ``(n_seats, n_private)``.
        private_accumulator: Shape ``(n_seats, n_private)``.
        private_start: Shape ``(n_seats, n_private)``, the private parameters before any training.
    """

    def __init__(
        self, initial: NDArray[np.float32], *, n_dense: int, n_private: int, accumulator: float
    ) -> None:
        self.initial = initial
        self._fresh_accumulator = accumulator
        self.rows = np.empty(0, np.int32)
        self.values = np.empty((0, initial.shape[1]), np.float32)
        self.accumulator = np.empty(0, np.float32)
        self.evidence = np.empty(0, np.float32)
        self.own = np.empty(0, np.bool_)
        self.dense = np.empty((0, n_dense), np.float32)
        self.dense_accumulator = np.empty((0, n_dense), np.float32)
        self.private = np.empty((0, n_private), np.float32)
        self.private_accumulator = np.empty((0, n_private), np.float32)
        self.private_start = np.empty((0, n_private), np.float32)
        self.start = np.empty(0, np.int64)
        self.length = np.empty(0, np.int64)
        self._room = np.empty(0, np.int64)
        self._end = 0  # of what is used of the columns
        self._left: list[int] = []
        self._where = np.empty(0, np.int32)

    @property
    def n_seats(self) -> int:
        """Seats taken."""
        return len(self.start) - len(self._left)

    def open(self, n: int) -> NDArray[np.int64]:
        """Seats for ``n`` more peers; their vectors are zeros and they hold no row."""
        again = [self._left.pop() for _ in range(min(n, len(self._left)))]
        more = n - len(again)
        fresh = np.arange(len(self.start), len(self.start) + more)
        for name in (*_VECTORS, "start", "length", "_room"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)]))
        return np.concatenate([np.array(again, np.int64), fresh])

    def close(self, seat: int) -> None:
        """The peer is gone, or sits elsewhere."""
        self.length[seat] = self._room[seat] = 0
        self._left.append(seat)

    def take_over(self, seats: NDArray[np.int64], parts: Sequence[tuple[Shelf, int]]) -> None:
        """Copy everything from one seat of another shelf into each of these empty ones."""
        lengths = np.array([shelf.length[seat] for shelf, seat in parts], np.int64)
        self._place(seats, lengths)
        target = spans(self.start[seats], lengths)
        stretches = [
            (shelf, slice(int(shelf.start[seat]), int(shelf.start[seat] + shelf.length[seat])))
            for shelf, seat in parts
        ]
        for name in _COLUMNS:
            getattr(self, name)[target] = np.concatenate(
                [getattr(shelf, name)[stretch] for shelf, stretch in stretches]
            )
        for name in _VECTORS:
            getattr(self, name)[seats] = np.stack([getattr(s, name)[seat] for s, seat in parts])

    def insert(self, seats: NDArray[np.int64], items: NDArray[np.integer]) -> bool:
        """Hold more rows, at their initial values, behind those that are held.

        Args:
            seats: Shape ``(n,)``, in any order.
            items: Shape ``(n,)``; with the seats unique pairs that are not held yet.

        Returns:
            Whether all other rows lie where they lay.
        """
        changed, extra = np.unique(seats, return_counts=True)
        lengths = self.length[changed]
        stayed = self._grow(changed, lengths + extra)
        # The new rows of one seat in the order given.
        order = np.argsort(seats, kind="stable")
        fresh = np.empty(len(seats), np.int64)
        fresh[order] = spans(self.start[changed] + lengths, extra)
        self.rows[fresh] = items
        self.values[fresh] = self.initial.take(items, axis=0)
        self.accumulator[fresh] = self._fresh_accumulator
        self.evidence[fresh] = 0.0
        self.own[fresh] = False
        return stayed

    def _grow(self, seats: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
        """Longer segments; whether none of them had to move."""
        tight = lengths > self._room[seats]
        if not tight.any():
            self.length[seats] = lengths
            return True
        moving = seats[tight]
        held = spans(self.start[moving], self.length[moving])
        before = self.length[moving]
        moved = {name: getattr(self, name).take(held, axis=0) for name in _COLUMNS}
        self._place(seats, lengths)
        target = spans(self.start[moving], before)
        for name, column in moved.items():
            getattr(self, name)[target] = column
        return False

    def replace(self, seat: int, columns: dict[str, NDArray[np.generic]]) -> None:
        """Other rows for one seat, by name of the column."""
        self._place(np.array([seat]), np.array([len(columns["rows"])], np.int64))
        stretch = slice(int(self.start[seat]), int(self.start[seat] + self.length[seat]))
        for name in _COLUMNS:
            getattr(self, name)[stretch] = columns[name]

    def where(self, n_peers: int) -> NDArray[np.int32]:
        """Room to note a position for each item of so many peers; what it holds is left over."""
        n = n_peers * len(self.initial)
        if len(self._where) < n:
            self._where = np.zeros(n, np.int32)
        return self._where

    def _place(self, seats: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Segments of new lengths, whose contents are to be written again."""
        self.length[seats] = lengths
        moving = seats[lengths > self._room[seats]]
        if not len(moving):
            return
        needed = self.length[moving]
        room = needed + self._spare(needed)
        self._room[moving] = 0
        if self._end + room.sum() > len(self.rows):
            self._repack(int(room.sum()))
        self._room[moving] = room
        ends = self._end + np.cumsum(room)
        self.start[moving] = ends - room
        self._end = int(ends[-1])

    def _spare(self, n: _Count) -> _Count:
        # One peer alone has no use for spare room: its few rows are copied in no time.
        return n // _SPARE if len(self.start) > 1 else n * 0

    def _repack(self, more: int) -> None:
        """Move the segments together, in larger columns where there is no room for more rows."""
        order = np.argsort(self.start, kind="stable")
        room = self._room[order]
        kept = spans(self.start[order], room)
        wanted, capacity = len(kept) + more, len(self.rows)
        # A good part stays free, or the next peers that move would bring all this about again.
        capacity = max(capacity, wanted + self._spare(2 * wanted))
        for name in _COLUMNS:
            old = getattr(self, name)
            column = (
                old if capacity == len(old) else np.empty((capacity, *old.shape[1:]), old.dtype)
            )
            column[: len(kept)] = old.take(kept, axis=0)
            setattr(self, name, column)
        self.start[order] = np.cumsum(room) - room
        self._end = len(kept)
