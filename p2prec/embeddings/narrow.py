"""Narrow table: fewer columns, and zeros behind them. The baseline of every compact form.

    v_x = (e_x, 0, ..., 0),   e_x of so many columns as fit the budget in half precision

The "equal size" and "small uniform" rows of CIESS (Qu et al., SIGIR 2023, section 4) and BET (Qu
et al., WSDM 2024), above which few searches for sizes come out. Merges as a full table does. Where
a budget is less than one column of all items, rows that have moved least from the start are left
out on the device.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.quantised import HALF_BITS
from p2prec.embeddings.sparse import Form, Shape, SparseRows, fitted_rows, packed_rows, read_rows
from p2prec.embeddings.table import Device, Floats, Stored, budget_bytes

_HALF_BYTES = 2


class Narrow(OwnRows):
    """The first columns only."""

    name: ClassVar[str] = "narrow"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        columns = round(budget_bytes(self) / (_HALF_BYTES * max(self.n_items, 1)))
        self.row_width = min(max(columns, 1), size)
        self.packed_form = Form(
            name=self.form,
            n_items=self.n_items,
            size=size,
            shape=Shape.SAME,
            bits=HALF_BITS,
            width=self.row_width,
        )

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The row, and zeros."""
        return self._widened(stored.rows), len(stored.pieces)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of the first columns."""
        return by_vectors[:, : self.row_width].copy(), np.zeros((tape, 0), np.float32)

    def pack(self, device: Device) -> SparseRows:
        """Rows in half precision."""
        kept = np.zeros((len(device.items), self.size), np.bool_)
        kept[:, : self.row_width] = True
        moved = self.moved(device.items, device.rows)
        kept = fitted_rows(self.packed_form, kept, moved, budget_bytes(self))
        return packed_rows(self.packed_form, device.items, self._widened(device.rows), kept)

    def unpack(self, data: bytes) -> SparseRows:
        """Read them."""
        return read_rows(self.packed_form, data)

    def _widened(self, rows: Floats) -> Floats:
        return np.pad(rows, ((0, 0), (0, self.size - self.row_width)))
