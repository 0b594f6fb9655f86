"""Full table: a row of single precision an item, the reference of all others.

A row that nobody has changed is the realm's initial one, a pure function of its number, and takes
no room: what lies on a device are the rows that differ, with their numbers, where these are
smaller than all rows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.packed import PackedTable
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Blocks, Device, Floats, Stored, blocks

_SINGLE, _NUMBER = np.dtype(np.float32), np.dtype(np.uint32)


class Full(OwnRows):
    """One row of single precision an item."""

    name: ClassVar[str] = "full"
    smallest: ClassVar[int] = 1

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """The row."""
        return stored.rows, len(stored.pieces)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """The row's."""
        return by_vectors, np.zeros((tape, 0), np.float32)

    def pack(self, device: Device) -> PackedTable:
        """Changed rows with their numbers, or all rows, whatever is smaller."""
        table = self.whole(device)
        if len(device.items) * (self.size + 1) < self.n_items * self.size:
            arrays = {"items": device.items.astype(np.uint32), "rows": device.rows}
        else:
            arrays = {"table": table}
        return _packed(packed_arrays(arrays, form=self.form), table)

    def unpack(self, data: bytes) -> PackedTable:
        """Read either form."""
        if b'"table"' in data[:256]:
            parts = {"table": (_SINGLE, (self.n_items, self.size))}
            table = read_arrays(data, parts, form=self.form)["table"].astype(np.float32)
            return _packed(data, table)
        arrays = read_arrays(
            data,
            {"items": (_NUMBER, (None,)), "rows": (_SINGLE, (None, self.size))},
            form=self.form,
        )
        table = self.initial.copy()
        table[self.checked(arrays["items"], len(arrays["rows"]))] = arrays["rows"]
        return _packed(data, table)


def _packed(data: bytes, table: Floats) -> PackedTable:
    def every() -> Blocks:
        return ((block, table[block]) for block in blocks(len(table)))

    return PackedTable(
        data=data,
        of=table.__getitem__,
        products=table.__matmul__,
        n_items=len(table),
        every=every,
    )
