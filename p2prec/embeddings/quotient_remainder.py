"""Quotient-remainder table: a few small tables, of whose rows each item has another combination.

    v_x = E_1[p_1(x)] * ... * E_k[p_k(x)]      element by element
    p_j(x) = (x div M_j) mod m_j,   M_j = m_1 ... m_(j-1),   m_1 ... m_k >= n_items

Shi, Mudigere, Naumov & Yang, KDD 2020 (QR-embedding), section 3 (complementary partitions) with the
product as operation. ``k`` is 2, or 3 where two tables are too large for the budget. Neighbouring
numbers share rows: items are renumbered first by a permutation that the realm's digest gives, the
same in all peers. Ours: the first table starts like the rows of a full one and the others as signs,
so that products start as long as full rows, and those that share a row of the first table as
different from each other as any two: what is learned of one says nothing of the others.

On a device the tables lie in half precision. The products with one vector are one small matrix
product: ``sum_c u_c E_1[a, c] E_2[b, c]`` for all ``a, b``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import SharedPieces, summed
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.packed import HALF_BYTES, PackedTable
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats, PieceRows, Stored, budget_bytes
from p2prec.errors import ConfigError

_OVERHEAD_BYTES = 192  # of names and shapes


class QuotientRemainder(SharedPieces):
    """Products of rows of two or three small tables."""

    name: ClassVar[str] = "qrt"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        floats = (budget_bytes(self) - _OVERHEAD_BYTES) // HALF_BYTES
        self.lengths = _lengths(self.n_items, max(floats // size, 1))
        self.n_pieces = sum(self.lengths) * size
        # Of each item, the number of its combination; and what its rows are then.
        self.combination = realm_generator(catalogue.digest, "qrt").permutation(self.n_items)
        self.digits = np.stack(np.unravel_index(self.combination, self.lengths, order="F"))
        starts = np.cumsum([0, *self.lengths[:-1]])
        self.piece_rows = PieceRows(
            bounds=np.arange(0, self.n_pieces + 1, size), of_item=(self.digits + starts[:, None]).T
        )

    def initial_pieces(self) -> Floats:
        """The first table like full rows, the others signs."""
        rng = realm_generator(self.catalogue.digest, f"qrt/{self.size}/{self.lengths}")
        first, *others = self.lengths
        tables = [rng.normal(0.0, 0.5 / np.sqrt(self.size), (first, self.size))]
        tables += [rng.choice([-1.0, 1.0], (n, self.size)) for n in others]
        return np.concatenate(tables).astype(np.float32).ravel()

    def piece_rates(self) -> Floats:
        """All factors of a vector together move it as far as a row moves."""
        return np.full(self.n_pieces, 1.0 / len(self.lengths), np.float32)

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Products of rows."""
        tables = stored.pieces.reshape(len(stored.pieces), -1, self.size)
        starts = np.cumsum([0, *self.lengths[:-1]])
        at = self.digits[:, stored.items] + starts[:, None]
        factors = [tables[stored.owner, rows] for rows in at]
        vectors = factors[0].copy()
        for factor in factors[1:]:
            vectors *= factor
        return vectors, (stored.owner, at, factors, tables.shape[:2])

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of each factor: that of the product times all others."""
        owner, at, factors, shape = tape
        by_pieces = np.zeros((shape[0], self.n_pieces), np.float32)
        for j, rows in enumerate(at):
            by_factor = by_vectors
            for i, factor in enumerate(factors):
                if i != j:
                    by_factor = by_factor * factor
            by_pieces += summed(owner, rows, by_factor, shape)
        return np.zeros((len(owner), 0), np.float32), by_pieces

    def pack(self, device: Device) -> PackedTable:
        """In half precision."""
        half = device.pieces.astype(np.float16)
        return self._packed(half, packed_arrays({"tables": half}, form=self.form))

    def unpack(self, data: bytes) -> PackedTable:
        """Read them."""
        parts = {"tables": (np.dtype(np.float16), (self.n_pieces,))}
        return self._packed(read_arrays(data, parts, form=self.form)["tables"], data)

    def _packed(self, pieces: NDArray[np.generic], data: bytes) -> PackedTable:
        rows = pieces.astype(np.float32).reshape(-1, self.size)
        tables = np.split(rows, np.cumsum(self.lengths)[:-1])

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            """Products of rows."""
            found: Floats = tables[0][self.digits[0, items]]
            for table, digits in zip(tables[1:], self.digits[1:], strict=True):
                found = found * table[digits[items]]
            return found

        def products(query: Floats) -> Floats:
            """All combinations at once, then those that there are."""
            found = tables[0] * query
            for table in tables[1:-1]:
                found = (table[:, None] * found).reshape(-1, self.size)
            result: Floats = (tables[-1] @ found.T).ravel()[self.combination]
            return result

        return PackedTable(data=data, of=of, products=products, n_items=self.n_items)


def _lengths(n_items: int, n_rows: int) -> tuple[int, ...]:
    """Lengths of as few tables as fit: the first as long as the budget allows."""
    for n_tables in (2, 3):
        rest = 2 if n_tables == 2 else int(np.ceil((n_items / max(n_rows, 1)) ** 0.5))
        while True:
            first = n_rows - rest * (n_tables - 1)
            if first < rest:
                break
            if first * rest ** (n_tables - 1) >= n_items:
                return (first, *[rest] * (n_tables - 1))
            rest += 1
    raise ConfigError(
        f"a catalogue of {n_items} items is too small for a qrt table of {n_rows} rows; "
        "take a smaller compression, or a larger embedding_size"
    )
