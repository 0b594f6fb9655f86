"""Rows of which only some entries are kept, as they lie on a device.

    how many rows, and bits of a value | which items | which entries of each row | scales | values

Items: a bit each, or gaps. Entries: nothing where all rows have the same ones (``SAME``), widths
of prefixes (``PREFIX``), a bit each (``MASK``), or the number of one of a few masks (``FEW``).
Values: see ``p2prec.embeddings.quantised``. What is not kept is zero, and an item without a row
has a vector of zeros: the realm's initial rows would be noise to whoever asks.

A budget is kept by choosing what is kept (``fitted_entries``, ``fitted_rows``). Rows that have
moved far from the realm's initial ones are what the owner and the neighbours learned from; a row
that hardly moved says hardly more than noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.packed import bits_of, bytes_of_bits, codes_of
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.quantised import (
    HALF_BITS,
    Bytes,
    Numbers,
    Reader,
    at_most,
    packed_ascending,
    packed_codes,
    quantised,
    read_ascending,
    read_codes,
    scales_of,
)
from p2prec.embeddings.table import Blocks, Floats, blocks
from p2prec.errors import StoreError

OVERHEAD_BYTES: Final = 128  # of names, and of how many rows there are
_COUNT = np.dtype("<u4")
_FEW_BITS = 4
_ABLE_BITS = (4, 8, HALF_BITS)


class Shape(StrEnum):
    """How it is written which entries a row has."""

    SAME = "same"  # all rows the same first ones
    PREFIX = "prefix"  # the first ones, of each row as many as a number says
    MASK = "mask"  # any
    FEW = "few"  # those of one of at most 16 masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What is known of a packed table before it is read.

    Attributes:
        name: Of the table.
        n_items: Of the catalogue.
        size: Of a vector.
        shape: Which entries rows have.
        bits: Of a value, at least.
        width: Entries of each row, where all have the same.
    """

    name: str
    n_items: int
    size: int
    shape: Shape
    bits: int
    width: int = 0

    def shape_bits(self) -> int:
        """A row, of what says which entries it has."""
        if self.shape is Shape.MASK:
            return self.size
        if self.shape is Shape.FEW:
            return _FEW_BITS
        return int(self.size - 1).bit_length() if self.shape is Shape.PREFIX else 0

    def masks_bytes(self) -> int:
        """Of the few masks, if there are such."""
        return bytes_of_bits(self.size << _FEW_BITS) if self.shape is Shape.FEW else 0

    def nbytes(self, n_rows: int, n_entries: int) -> int:
        """At most, of a table with so many rows and entries."""
        scales = 0 if self.bits == HALF_BITS else n_rows
        return (
            OVERHEAD_BYTES
            + at_most(n_rows, self.n_items)
            + bytes_of_bits(n_rows * self.shape_bits())
            + self.masks_bytes()
            + scales
            + bytes_of_bits(n_entries * self.bits)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseRows:
    """Kept entries, row after row.

    Attributes:
        form: What was known before.
        items: Shape ``(n_rows,)``, ascending.
        starts: Shape ``(n_rows + 1,)``, where the entries of each row begin; no row is empty.
        columns: Shape ``(n_entries,)``.
        codes: Shape ``(n_entries,)``, of half precision or small whole numbers.
        scales: Shape ``(n_rows,)``.
        data: As it lies on the device.
    """

    form: Form
    items: NDArray[np.int64]
    starts: NDArray[np.int64]
    columns: Bytes
    codes: NDArray[np.generic]
    scales: Floats
    data: bytes

    @property
    def nbytes(self) -> int:
        """Of what lies on the device."""
        return len(self.data)

    def to_bytes(self) -> bytes:
        """As it lies on the device."""
        return self.data

    def vectors(self, items: Numbers) -> Floats:
        """Kept entries, and zeros."""
        found = np.zeros((len(items), self.form.size), np.float32)
        if not len(self.items):
            return found
        place = np.minimum(np.searchsorted(self.items, items), len(self.items) - 1)
        at = np.flatnonzero(self.items[place] == items)
        place = place[at]
        lengths = np.diff(self.starts)[place]
        ends = np.cumsum(lengths)
        entries = np.arange(ends[-1] if len(ends) else 0)
        entries += np.repeat(self.starts[place] - ends + lengths, lengths)
        values = self.codes[entries].astype(np.float32) * np.repeat(self.scales[place], lengths)
        found[np.repeat(at, lengths), self.columns[entries]] = values
        return found

    def in_blocks(self) -> Blocks:
        """All items in their order."""
        items = np.arange(self.form.n_items)
        return ((block, self.vectors(items[block])) for block in blocks(self.form.n_items))

    def dots(self, query: Floats) -> Floats:
        """Sums over what is kept."""
        found = np.zeros(self.form.n_items, np.float32)
        if len(self.items):
            products = self.codes.astype(np.float32)
            products *= query[self.columns]
            found[self.items] = np.add.reduceat(products, self.starts[:-1]) * self.scales
        return found


def packed_rows(form: Form, items: Numbers, rows: Floats, kept: NDArray[np.bool_]) -> SparseRows:
    """The compact form.

    Args:
        form: What it is read as.
        items: Shape ``(n,)``, ascending.
        rows: Shape ``(n, size)``.
        kept: Of the same shape; prefixes where the form says so. Rows without any are left out.
    """
    held = kept.any(1)
    items, rows, kept = items[held], rows[held], kept[held]
    lengths = kept.sum(1)
    starts = np.cumsum(lengths) - lengths
    codes, scales = quantised(rows[kept].astype(np.float32), starts, form.bits)
    blob = np.concatenate(
        [
            np.frombuffer(np.array([len(items)], _COUNT).tobytes(), np.uint8),
            np.array([form.bits], np.uint8),
            packed_ascending(items, form.n_items),
            _packed_shape(form, kept),
            scales,
            packed_codes(codes, form.bits),
        ]
    )
    return read_rows(form, packed_arrays({"rows": blob}, form=form.name))


def finest(form: Form, kept: NDArray[np.bool_], budget: int) -> Form:
    """The same with as many bits a value as a budget has room for, but not less than it has."""
    n_rows, n_entries = int(kept.any(1).sum()), int(kept.sum())
    able = [replace(form, bits=bits) for bits in _ABLE_BITS if bits > form.bits]
    fits = [finer for finer in able if finer.nbytes(n_rows, n_entries) <= budget]
    return fits[-1] if fits else form


def read_rows(form: Form, data: bytes) -> SparseRows:
    """What ``packed_rows`` wrote.

    Raises:
        StoreError: These are not the bytes of such a form.
    """
    parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]]
    parts = {"rows": (np.dtype(np.uint8), (None,))}
    blob = read_arrays(data, parts, form=form.name)["rows"].astype(np.uint8)
    reader = Reader(blob)
    n = int(np.frombuffer(reader.take(_COUNT.itemsize).tobytes(), _COUNT)[0])
    if n > form.n_items:
        raise StoreError("a packed table has more rows than there are items")
    form = replace(form, bits=int(reader.take(1)[0]))
    if form.bits not in _ABLE_BITS:
        raise StoreError(f"a packed table cannot have values of {form.bits} bits")
    items = read_ascending(reader, n, form.n_items)
    kept = _read_shape(form, reader, n)
    lengths = kept.sum(1)
    if (lengths == 0).any():
        raise StoreError("a packed table has rows without entries")
    scales = reader.take(0 if form.bits == HALF_BITS else n)
    codes = read_codes(reader, int(lengths.sum()), form.bits)
    reader.end()
    return SparseRows(
        form=form,
        items=items,
        starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        columns=np.nonzero(kept)[1].astype(np.uint8),
        codes=codes,
        scales=scales_of(scales) if len(scales) else np.ones(n, np.float32),
        data=data,
    )


def _packed_shape(form: Form, kept: NDArray[np.bool_]) -> Bytes:
    if form.shape is Shape.MASK:
        return bits_of(kept.astype(np.uint8), 1)
    if form.shape is Shape.FEW:
        masks, numbers = np.unique(kept, axis=0, return_inverse=True)
        room = np.zeros((1 << _FEW_BITS, form.size), np.uint8)
        room[: len(masks)] = masks
        return np.concatenate([bits_of(room, 1), bits_of(numbers, _FEW_BITS)])
    return bits_of(kept.sum(1) - 1, form.shape_bits())


def _read_shape(form: Form, reader: Reader, n: int) -> NDArray[np.bool_]:
    bits = form.shape_bits()
    if form.shape is Shape.MASK:
        flags = codes_of(reader.take(bytes_of_bits(n * bits)), 1, n * bits)
        return flags.reshape(n, form.size).astype(np.bool_)
    if form.shape is Shape.FEW:
        room = codes_of(reader.take(form.masks_bytes()), 1, form.size << bits)
        numbers = codes_of(reader.take(bytes_of_bits(n * bits)), bits, n)
        return room.reshape(-1, form.size).astype(np.bool_)[numbers]
    if form.shape is Shape.SAME:
        widths = np.full(n, form.width)
    else:
        widths = codes_of(reader.take(bytes_of_bits(n * bits)), bits, n) + 1
    return np.arange(form.size) < widths[:, None]


def fitted_entries(
    form: Form, importance: Floats, first: NDArray[np.bool_], budget: int
) -> NDArray[np.bool_]:
    """The most important entries that a budget has room for; entries of importance 0 have none.

    Args:
        form: With any entries.
        importance: Shape ``(n, size)``, not negative.
        first: Of the same shape: those that come before all others.
        budget: In bytes.
    """
    n, size = importance.shape
    flat = importance.ravel()
    order = np.lexsort((-flat, ~first.ravel()))
    order = order[flat[order] > 0]
    fresh = np.zeros(len(order), np.int64)
    fresh[np.unique(order // size, return_index=True)[1]] = 1
    n_most = _most(form, np.cumsum(fresh), np.arange(1, len(order) + 1), budget)
    kept = np.zeros(n * size, np.bool_)
    kept[order[:n_most]] = True
    return kept.reshape(n, size)


def fitted_rows(
    form: Form, kept: NDArray[np.bool_], importance: Floats, budget: int
) -> NDArray[np.bool_]:
    """What is kept of as many rows as a budget has room for, the most important ones.

    Args:
        form: Of rows.
        kept: Shape ``(n, size)``.
        importance: Shape ``(n,)``.
        budget: In bytes.
    """
    lengths = kept.sum(1)
    order = np.argsort(-importance, kind="stable")
    order = order[lengths[order] > 0]
    n_most = _most(form, np.arange(1, len(order) + 1), np.cumsum(lengths[order]), budget)
    result = np.zeros_like(kept)
    result[order[:n_most]] = kept[order[:n_most]]
    return result


def _most(form: Form, n_rows: Numbers, n_entries: Numbers, budget: int) -> int:
    """How many steps a budget has room for; both counts grow from step to step."""
    low, high = 0, len(n_rows)
    while low < high:
        middle = (low + high + 1) // 2
        if form.nbytes(int(n_rows[middle - 1]), int(n_entries[middle - 1])) <= budget:
            low = middle
        else:
            high = middle - 1
    return low
