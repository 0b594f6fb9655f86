"""A row-sparse item table: the realm's initial rows, and the few that this peer has changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.shelf import BIAS, OTHERS, Shelf

__all__ = ["BIAS", "OTHERS", "RowTable"]


class RowTable:
    """The rows of one peer: those that differ from the initial ones, with state and evidence.

    A view of one seat of a shelf, so that memory follows the touched rows. What its properties give
    is good until the next ``touch``.
    """

    __slots__ = ("seat", "shelf")

    def __init__(self, shelf: Shelf, seat: int) -> None:
        self.shelf = shelf
        self.seat = seat

    @property
    def initial(self) -> NDArray[np.float32]:
        """Shape ``(n_items, width)``, the realm's initial rows."""
        return self.shelf.initial

    @property
    def _segment(self) -> slice:
        start = int(self.shelf.start[self.seat])
        return slice(start, start + int(self.shelf.length[self.seat]))

    @property
    def rows(self) -> NDArray[np.int32]:
        """Shape ``(n_held,)``, ascending items."""
        return self.shelf.rows[self._segment]

    @property
    def values(self) -> NDArray[np.float32]:
        """Shape ``(n_held, width)``; may be written to, and its column ``OTHERS`` means nothing."""
        return self.shelf.values[self._segment]

    @property
    def others(self) -> NDArray[np.float32]:
        """Shape ``(n_held,)``, popularity among others; may be written to."""
        return self.shelf.others[self._segment]

    @property
    def whole_rows(self) -> NDArray[np.float32]:
        """Shape ``(n_held, width)``, a copy with all columns."""
        return self.shelf.rows_at(self._segment)

    @property
    def accumulator(self) -> NDArray[np.float32]:
        """Shape ``(n_held,)``, of row-wise Adagrad; may be written to."""
        return self.shelf.accumulator[self._segment]

    @property
    def own(self) -> NDArray[np.bool_]:
        """Shape ``(n_held,)``, whether the owner has met the item; may be written to."""
        return self.shelf.own[self._segment]

    @property
    def evidence(self) -> NDArray[np.float32]:
        """Shape ``(n_held,)``; may be written to."""
        return self.shelf.evidence[self._segment]

    def touch(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Make sure that unique ``rows`` are held; returns their places in the segment."""
        fresh = rows[~self._found(rows)[1]]
        if len(fresh):
            self.shelf.insert(np.full(len(fresh), self.seat), fresh)
        return self._found(rows)[0]

    def gather(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Values of any rows, a copy of shape ``(len(rows), width)``."""
        place, held = self._found(rows)
        values: NDArray[np.float32] = self.initial[rows]
        values[held] = self.whole_rows[place[held]]
        return values

    def evidence_of(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Evidence of any rows; 0 where the row was never touched."""
        return self._of(self.evidence, rows)

    def others_of(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Popularity of any rows among others; 0 where nobody has spoken of the row."""
        return self._of(self.others, rows)

    def _of(self, column: NDArray[np.float32], rows: NDArray[np.integer]) -> NDArray[np.float32]:
        place, held = self._found(rows)
        numbers = np.zeros(len(rows), np.float32)
        numbers[held] = column[place[held]]
        return numbers

    def dense(self) -> NDArray[np.float32]:
        """The whole table, a copy."""
        table = self.initial.copy()
        table[self.rows] = self.whole_rows
        return table

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays, enough for ``restore``; copies."""
        return {
            "rows": self.rows.astype(np.uint32),
            "values": self.whole_rows,
            "accumulator": self.accumulator.copy(),
            "evidence": self.evidence.copy(),
        }

    def restore(
        self,
        *,
        rows: NDArray[np.integer],
        values: NDArray[np.float32],
        accumulator: NDArray[np.float32],
        evidence: NDArray[np.float32],
    ) -> None:
        """Take over the rows of ``state``; what is the owner's is to be marked again."""
        order = np.argsort(rows)  # what an earlier version has stored is in no order
        columns = {
            "rows": rows[order],
            "values": values[order],
            "others": values[order, OTHERS],
            "accumulator": accumulator[order],
            "evidence": evidence[order],
            "own": np.zeros(len(rows), np.bool_),
        }
        self.shelf.replace(self.seat, columns)

    def _found(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        held = self.rows
        if not len(held):
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
        place = np.minimum(np.searchsorted(held, rows), len(held) - 1)
        return place, held[place] == rows
