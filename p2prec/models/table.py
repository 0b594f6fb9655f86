"""A row-sparse item table: the realm's initial rows, and the few that this peer has changed."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

OTHERS, BIAS = -2, -1  # columns of a row behind its embedding
_BLOCK_ROWS = 1_024  # rows drawn by one generator; fixed for ever, since it defines the values


@lru_cache(maxsize=8)
def initial_table(digest: bytes, name: str, n_rows: int, width: int) -> NDArray[np.float32]:
    """The realm's common starting point, shape ``(n_rows, width)``, read-only.

    Row *i* is a pure function of (digest, name, width, *i*), so that peers start from the same
    point without a message. The last two columns, popularity among others and a bias, start at
    zero; the rest is normal with a standard deviation of ``0.5 / sqrt(width - 2)``, so that
    embeddings have a length near 0.5.
    """
    table = np.empty((n_rows, width), np.float32)
    for start in range(0, n_rows, _BLOCK_ROWS):
        label = b"p2prec/table/1" + digest + f"{name}/{width}/{start}".encode()
        seed = int.from_bytes(hashlib.sha256(label).digest(), "big")
        block = np.random.Generator(np.random.Philox(seed=seed)).standard_normal(
            (_BLOCK_ROWS, width)
        )
        table[start : start + _BLOCK_ROWS] = block[: n_rows - start]
    table *= 0.5 / np.sqrt(max(width - 2, 1))
    table[:, -2:] = 0.0
    table.setflags(write=False)
    return table


class RowTable:
    """Rows that differ from the initial ones, with their optimiser state and evidence.

    Memory follows the touched rows: ``width + 2`` floats each, and four bytes an item.
    """

    def __init__(self, initial: NDArray[np.float32], *, accumulator: float) -> None:
        self.initial = initial
        self._start = accumulator
        self._slot = np.full(len(initial), -1, np.int32)
        self.rows = np.empty(0, np.int64)
        self.values = np.empty((0, initial.shape[1]), np.float32)
        self.accumulator = np.empty(0, np.float32)
        self.evidence = np.empty(0, np.float32)

    def touch(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Make sure that unique ``rows`` are held; returns their slots."""
        fresh = rows[self._slot[rows] < 0].astype(np.int64)
        if len(fresh):
            self._slot[fresh] = np.arange(len(self.rows), len(self.rows) + len(fresh))
            self.rows = np.concatenate([self.rows, fresh])
            self.values = np.concatenate([self.values, self.initial[fresh]])
            more = np.full(len(fresh), self._start, np.float32)
            self.accumulator = np.concatenate([self.accumulator, more])
            self.evidence = np.concatenate([self.evidence, np.zeros(len(fresh), np.float32)])
        slots: NDArray[np.int32] = self._slot[rows]
        return slots

    def gather(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Values of any rows, a copy of shape ``(len(rows), width)``."""
        slot = self._slot[rows]
        values: NDArray[np.float32] = self.initial[rows]
        held = slot >= 0
        values[held] = self.values[slot[held]]
        return values

    def evidence_of(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Evidence of any rows; 0 where the row was never touched."""
        slot = self._slot[rows]
        return np.where(slot >= 0, self.evidence[slot] if len(self.evidence) else 0.0, 0.0).astype(
            np.float32
        )

    def dense(self) -> NDArray[np.float32]:
        """The whole table, a copy."""
        table = self.initial.copy()
        table[self.rows] = self.values
        return table

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays, enough for ``restore``."""
        return {
            "rows": self.rows.astype(np.uint32),
            "values": self.values,
            "accumulator": self.accumulator,
            "evidence": self.evidence,
        }

    def restore(
        self,
        *,
        rows: NDArray[np.uint32],
        values: NDArray[np.float32],
        accumulator: NDArray[np.float32],
        evidence: NDArray[np.float32],
    ) -> None:
        """Take over the rows of ``state``."""
        self._slot[:] = -1
        self.rows = rows.astype(np.int64)
        self._slot[self.rows] = np.arange(len(rows))
        self.values, self.accumulator, self.evidence = (
            values.copy(),
            accumulator.copy(),
            evidence.copy(),
        )
