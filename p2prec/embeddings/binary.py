"""What tables of bits share: a row of real numbers while they are learned, signs on the device."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.packed import HALF_BYTES, OVERHEAD_BYTES, PackedTable, bytes_of_bits
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats, budget_bytes
from p2prec.errors import ConfigError


class BinaryRows(OwnRows):
    """Signs of an item's row, each worth the scale of its column: ``v = a * sign(x)``.

    A merge is the mean of the real rows, in which whoever is surer has more to say: a weighted vote
    on each bit. No more bits are taken than there are columns, so that a small compression leaves
    room unused; where the budget has less than a bit a column, vectors end in zeros.

    Attributes:
        n_bits: Of an item. The first pieces are as many scales.
    """

    smallest: ClassVar[int] = 100

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        room = budget_bytes(self) - OVERHEAD_BYTES - HALF_BYTES * size
        self.n_bits = int(min(8 * room // self.n_items, size))
        if self.n_bits < 1:
            raise ConfigError(
                f"a catalogue of {self.n_items} items is too small for a table {self.name!r} of "
                f"{room} bytes; take a smaller compression, or a larger embedding_size"
            )
        self.row_width = self.n_bits

    def first_scales(self) -> Floats:
        """So that vectors are as long as those of a full table."""
        return np.full(self.n_bits, 0.5 / np.sqrt(self.n_bits), np.float32)

    def widened(self, columns: Floats) -> Floats:
        """Zeros where there is no bit."""
        vectors = np.zeros((len(columns), self.size), np.float32)
        vectors[:, : self.n_bits] = columns
        return vectors

    def pack(self, device: Device) -> PackedTable:
        """Scales and bits."""
        bits = np.packbits(self.whole(device) >= 0, axis=None, bitorder="little")
        arrays: dict[str, NDArray[np.generic]] = {
            "scales": device.pieces[: self.n_bits].astype(np.float16),
            "bits": bits,
        }
        return self._packed(arrays, packed_arrays(arrays, form=self.form))

    def unpack(self, data: bytes) -> PackedTable:
        """Read them."""
        n = bytes_of_bits(self.n_items * self.n_bits)
        parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]] = {
            "scales": (np.dtype(np.float16), (self.n_bits,)),
            "bits": (np.dtype(np.uint8), (n,)),
        }
        return self._packed(read_arrays(data, parts, form=self.form), data)

    def _packed(self, arrays: dict[str, NDArray[np.generic]], data: bytes) -> PackedTable:
        scales = arrays["scales"].astype(np.float32)
        bits = np.unpackbits(
            arrays["bits"].astype(np.uint8), count=self.n_items * self.n_bits, bitorder="little"
        ).reshape(self.n_items, self.n_bits)
        # The octets of one column of octets lie together; each stands for eight signs.
        octets = np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little").T)
        numbers = np.arange(256, dtype=np.uint8)[:, None]
        signs = 2 * np.unpackbits(numbers, axis=1, bitorder="little").astype(np.float32) - 1
        weights = np.zeros((len(octets), 8), np.float32)
        weights.ravel()[: self.n_bits] = scales
        entries = signs * weights[:, None]

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            found = np.empty((len(items), len(octets), 8), np.float32)
            for at, (eight, column) in enumerate(zip(entries, octets, strict=True)):
                found[:, at] = eight.take(column[items], axis=0)
            return self.widened(found.reshape(len(items), weights.size)[:, : self.n_bits])

        def products(query: Floats) -> Floats:
            # Eight bits at once: what each of 256 octets is worth is summed once a query. Counting
            # equal bits instead would need a query of bits, and owners' vectors are real.
            worth = np.zeros(weights.size, np.float32)
            worth[: self.n_bits] = query[: self.n_bits] * scales
            found = np.zeros(self.n_items, np.float32)
            for table, column in zip(worth.reshape(-1, 8) @ signs.T, octets, strict=True):
                found += table[column]
            return found

        return PackedTable(data=data, of=of, products=products, n_items=self.n_items)


def passed_on(rows: Floats, by_bits: Floats, bound: Floats | np.float32) -> Floats:
    """The straight-through gradient of rows: that of their signs, if they are not too sure.

    A row beyond its bound that is pushed further out would need as many pushes to turn again, and
    its bit would never change (Courbariaux et al. 2016 stop it in the same way).

    Args:
        rows: Shape ``(n, n_bits)``.
        by_bits: Of the same shape, derivatives by the signs.
        bound: That broadcasts to it.
    """
    outwards = by_bits * rows < 0
    return np.where((np.abs(rows) > bound) & outwards, np.float32(0.0), by_bits)


def signs_of(rows: Floats) -> Floats:
    """-1 and 1; zero counts as 1."""
    return np.where(rows >= 0, np.float32(1.0), np.float32(-1.0))
