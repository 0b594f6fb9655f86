"""A packed table as bytes and two ways to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.table import Blocks, Floats, blocks

OVERHEAD_BYTES = 320  # of the names, types and shapes of a few arrays
HALF_BYTES = 2
PIECES_AT_MOST = 61_440  # a family's own parameters share the wire's bound with a table's


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTable:
    """As of ``p2prec.embeddings.table.Packed``.

    Attributes:
        data: As it lies on the device.
        of: Vectors of items.
        products: Inner products of a vector with those of all items.
        n_items: Of the catalogue.
        every: All items and their vectors, where there is a cheaper way than ``of``.
    """

    data: bytes
    of: Callable[[NDArray[np.integer[Any]]], Floats]
    products: Callable[[Floats], Floats]
    n_items: int
    every: Callable[[], Blocks] | None = None

    @property
    def nbytes(self) -> int:
        """Of what lies on the device."""
        return len(self.data)

    def to_bytes(self) -> bytes:
        """As it lies on the device."""
        return self.data

    def vectors(self, items: NDArray[np.integer[Any]]) -> Floats:
        """Shape ``(n, size)``."""
        return self.of(items)

    def in_blocks(self) -> Blocks:
        """All items, each once."""
        if self.every is not None:
            return self.every()
        items = np.arange(self.n_items)
        return ((block, self.of(items[block])) for block in blocks(self.n_items))

    def dots(self, query: Floats) -> Floats:
        """Shape ``(n_items,)``."""
        return self.products(query)


def bits_of(codes: NDArray[np.integer[Any]], width: int) -> NDArray[np.uint8]:
    """Whole numbers of ``width`` bits each, one after the other, without gaps.

    Args:
        codes: Any shape; each below ``2**width``.
        width: 0 to 16.
    """
    flat = codes.astype(np.uint16).ravel()
    planes = (flat[:, None] >> np.arange(width, dtype=np.uint16)) & np.uint16(1)
    return np.packbits(planes.astype(np.uint8).ravel(), bitorder="little")


def codes_of(data: NDArray[np.generic], width: int, n: int) -> NDArray[np.int64]:
    """The ``n`` numbers that ``bits_of`` has written."""
    if width == 8:
        return data.astype(np.uint8)[:n].astype(np.int64)
    bits = np.unpackbits(data.astype(np.uint8), count=n * width, bitorder="little")
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    found: NDArray[np.int64] = bits.reshape(n, width).astype(np.int64) @ weights
    return found


def bytes_of_bits(n: int) -> int:
    """Whole bytes that ``n`` bits take."""
    return -(-n // 8)
