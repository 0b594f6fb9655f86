"""What many peers have learned, side by side in a few flat arrays.

A peer has a *seat*: its vectors, and a segment of the rows that differ from the realm's initial
ones, in ascending order of their items. Whoever works on many peers at once addresses all of them
through a ``Stack``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2prec.kernels import compiled

# Of one shelf. A shelf is copied as a whole when its peers grow, which costs each of them the same
# however many shelves there are; while it is copied it is in memory twice.
MAX_SEATS = 128
OTHERS, BIAS = -2, -1  # columns of a row behind its embedding
_SPARE = 1  # a segment that must move gets twice the room that it needs
_MOST = 4  # and one with a quarter of all items, room for all
_FREE = 8  # and beside all segments an eighth of the columns stays free
_VECTORS = (
    "dense", "dense_accumulator", "private", "private_accumulator", "private_start", "said",
)  # fmt: skip
_COLUMNS = ("rows", "values", "others", "accumulator", "evidence", "own")


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """All indices of some stretches, one stretch after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


class Shelf:
    """Rows and vectors of peers of one model.

    Attributes:
        initial: Shape ``(n_items, width)``, the realm's initial rows.
        rows: Shape ``(capacity,)``, item of each held row.
        values: Shape ``(capacity, width)``; what others say of an item stands in ``others``, and
            its column here means nothing.
        others: Shape ``(capacity,)``, popularity among others: it fades in every merge, whether a
            row is spoken of or not, which would touch all values.
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
        said: Shape ``(n_seats, n_statistics)``, what each owner adds to the statistics.
    """

    def __init__(
        self,
        initial: NDArray[np.float32],
        *,
        n_dense: int,
        n_private: int,
        accumulator: float,
        n_statistics: int = 0,
    ) -> None:
        self.initial = initial
        self._fresh_accumulator = accumulator
        self.rows = np.empty(0, np.int32)
        self.values = np.empty((0, initial.shape[1]), np.float32)
        self.others = np.empty(0, np.float32)
        self.accumulator = np.empty(0, np.float32)
        self.evidence = np.empty(0, np.float32)
        self.own = np.empty(0, np.bool_)
        self.dense = np.empty((0, n_dense), np.float32)
        self.dense_accumulator = np.empty((0, n_dense), np.float32)
        self.private = np.empty((0, n_private), np.float32)
        self.private_accumulator = np.empty((0, n_private), np.float32)
        self.private_start = np.empty((0, n_private), np.float32)
        self.said = np.empty((0, n_statistics), np.float32)
        self.start = np.empty(0, np.int64)
        self.length = np.empty(0, np.int64)
        self._room = np.empty(0, np.int64)
        self._end = 0  # of what is used of the columns
        self._left: list[int] = []

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
        self._resize(seats, lengths)
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

    def insert(self, seats: NDArray[np.int64], items: NDArray[np.integer]) -> None:
        """Hold more rows, at their initial values; segments stay in ascending order.

        Args:
            seats: Shape ``(n,)``, in any order.
            items: Shape ``(n,)``; with the seats unique pairs that are not held yet.
        """
        order = np.lexsort((items, seats))
        changed, extra = np.unique(seats, return_counts=True)
        self.merge_in(changed, extra, items[order].astype(np.int32))

    def merge_in(
        self, seats: NDArray[np.int64], extra: NDArray[np.int64], items: NDArray[np.int32]
    ) -> None:
        """Hold more rows, at their initial values.

        Args:
            seats: Unique ones.
            extra: How many items come to each.
            items: For one seat after the other, ascending, none of them held yet.
        """
        before = self.length[seats]
        self._resize(seats, before + extra)
        starts = self.start[seats]
        kernels = compiled()
        if kernels is not None:
            columns = [getattr(self, name) for name in _COLUMNS]
            fresh = np.float32(self._fresh_accumulator)
            width = (0,) * self.initial.shape[1]
            kernels.insert_rows(*columns, self.initial, starts, before, extra, items, fresh, width)
            return
        held = spans(starts, before)
        segment = np.concatenate(
            [np.repeat(np.arange(len(seats)), before), np.repeat(np.arange(len(seats)), extra)]
        )
        order = np.lexsort((np.concatenate([self.rows[held], items]), segment))
        fresh_rows = {
            "rows": items,
            "values": self.initial.take(items, axis=0),
            "others": np.zeros(len(items), np.float32),
            "accumulator": np.full(len(items), self._fresh_accumulator, np.float32),
            "evidence": np.zeros(len(items), np.float32),
            "own": np.zeros(len(items), np.bool_),
        }
        target = spans(starts, before + extra)
        for name in _COLUMNS:
            column = getattr(self, name)
            column[target] = np.concatenate([column[held], fresh_rows[name]])[order]

    def keep(
        self, seats: NDArray[np.int64], lengths: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> None:
        """Let go all rows of some seats but those at ``slots``.

        Args:
            seats: Unique ones.
            lengths: How many each keeps.
            slots: Of one seat after the other, ascending within each.
        """
        target = spans(self.start[seats], lengths)
        for name in _COLUMNS:
            column = getattr(self, name)
            column[target] = column.take(slots, axis=0)
        self.length[seats] = lengths

    def replace(self, seat: int, columns: dict[str, NDArray[np.generic]]) -> None:
        """Other rows for one seat, ascending, by name of the column."""
        self._resize(np.array([seat]), np.array([len(columns["rows"])], np.int64))
        stretch = slice(int(self.start[seat]), int(self.start[seat] + self.length[seat]))
        for name in _COLUMNS:
            getattr(self, name)[stretch] = columns[name]

    def rows_at(self, slots: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Whole rows, a copy of shape ``(n, width)``."""
        rows: NDArray[np.float32] = self.values[slots]
        if isinstance(slots, slice):  # of which indexing gives a view
            rows = rows.copy()
        rows[:, OTHERS] = self.others[slots]
        return rows

    def _resize(self, seats: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Longer or shorter segments; what they held lies at their beginning."""
        tight = lengths > self._room[seats]
        if tight.any():
            moving = seats[tight]
            room = self._roomy(lengths[tight])
            ends = self._end + np.cumsum(room)
            if ends[-1] > len(self.rows):
                self._repack(moving, lengths[tight])
            else:
                for name in _COLUMNS:
                    column = getattr(self, name)
                    copied(column, self.start[moving], self.length[moving], column, ends - room)
                self.start[moving], self._room[moving] = ends - room, room
                self._end = int(ends[-1])
        self.length[seats] = lengths

    def _roomy(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        # One peer alone has no use for spare room: its few rows are copied in no time.
        if len(self.start) <= 1:
            return lengths
        n_items = len(self.initial)
        spare = np.where(lengths * _MOST >= n_items, n_items, lengths // _SPARE)
        room: NDArray[np.int64] = np.minimum(lengths + spare, n_items)
        return room

    def _repack(self, seats: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Lay all segments out anew, with room for these lengths of some of them."""
        wanted_lengths = self.length.copy()
        wanted_lengths[seats] = lengths
        # More room for all: those who do not move now would bring all this about again.
        room = np.maximum(self._room, self._roomy(wanted_lengths))
        order = np.argsort(self.start, kind="stable")
        starts = np.empty_like(self.start)
        starts[order] = np.cumsum(room[order]) - room[order]
        wanted = int(room.sum())
        capacity = wanted + (wanted // _FREE if len(self.start) > 1 else 0)
        for name in _COLUMNS:
            old = getattr(self, name)
            column = np.empty((capacity, *old.shape[1:]), old.dtype)
            copied(old, self.start, self.length, column, starts)
            setattr(self, name, column)
        self.start, self._room, self._end = starts, room, wanted


def copied(
    column: NDArray[np.generic],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    target: NDArray[np.generic],
    to: NDArray[np.int64],
) -> None:
    """Copy stretches of one column to where they do not overlap."""
    kernels = compiled()
    if kernels is not None:
        kernels.copy_rows(column, starts, lengths, target, to)
    else:
        target[spans(to, lengths)] = column.take(spans(starts, lengths), axis=0)
