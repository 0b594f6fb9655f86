"""Full table: a row of single precision an item, the reference of all others.

A row that nobody has changed is the realm's initial one, a pure function of its number, and takes
no room: what lies on a device are the rows that differ, with their numbers, where these are
smaller than all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats, Stored

_SINGLE, _NUMBER = np.dtype(np.float32), np.dtype(np.uint32)


@dataclass(frozen=True, slots=True)
class PackedRows:
    """A table that is as well asked as a whole.

    Attributes:
        table: Shape ``(n_items, size)``.
        data: As it lies on the device.
    """

    table: Floats
    data: bytes

    @property
    def nbytes(self) -> int:
        """Of what lies on the device."""
        return len(self.data)

    def to_bytes(self) -> bytes:
        """As it lies on the device."""
        return self.data

    def vectors(self, items: NDArray[np.integer[Any]]) -> Floats:
        """Rows."""
        found: Floats = self.table[items]
        return found

    def dots(self, query: Floats) -> Floats:
        """One product."""
        products: Floats = self.table @ query
        return products


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

    def pack(self, device: Device) -> PackedRows:
        """Changed rows with their numbers, or all rows, whatever is smaller."""
        table = self.whole(device)
        if len(device.items) * (self.size + 1) < self.n_items * self.size:
            arrays = {"items": device.items.astype(np.uint32), "rows": device.rows}
        else:
            arrays = {"table": table}
        return PackedRows(table=table, data=packed_arrays(arrays, form=self.form))

    def unpack(self, data: bytes) -> PackedRows:
        """Read either form."""
        if b'"table"' in data[:256]:
            parts = {"table": (_SINGLE, (self.n_items, self.size))}
            table = read_arrays(data, parts, form=self.form)["table"].astype(np.float32)
            return PackedRows(table=table, data=data)
        arrays = read_arrays(
            data,
            {"items": (_NUMBER, (None,)), "rows": (_SINGLE, (None, self.size))},
            form=self.form,
        )
        table = self.initial.copy()
        table[self.checked(arrays["items"], len(arrays["rows"]))] = arrays["rows"]
        return PackedRows(table=table, data=data)
