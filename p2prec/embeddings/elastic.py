"""What elastic tables share: rows in blocks, and for each group of items the blocks that are kept.

A row of ``size`` columns falls into blocks of columns, and the items into groups by how many people
know them. Trained whole, a table is cut to any budget: an absent block reads as zeros. Which blocks
stay is a value for each block of each group, and those with the largest values stay as long as they
fit. A merge is the mean of rows and of values, so that peers cut their tables nearly alike. Where
a group ends is a share of people, as gossip counts them: a piece too.

On a device lie the kept blocks, a byte a value with a scale for each column, and the numbers of the
items of each group, or two bits an item where these are fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.arrangement import kindred_order
from p2prec.embeddings.bases import OwnRows
from p2prec.embeddings.packed import (
    HALF_BYTES,
    OVERHEAD_BYTES,
    PackedTable,
    bits_of,
    bytes_of_bits,
    codes_of,
)
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Blocks, Device, Floats, Stored, blocks, budget_bytes
from p2prec.errors import StoreError

N_BLOCKS: Final = 4  # by which every embedding size divides
N_GROUPS: Final = 4  # two bits
N_CHOICES: Final = N_GROUPS * N_BLOCKS
_ENDS = (1 / 32, 1 / 8, 3 / 8)  # of the groups, as shares of the items
_LEVELS = 127.0  # of a byte, on each side of zero
_NOBODY = 1e-6  # share of people that no item in a group but the last falls below
_EVERYBODY = 2.0  # where no group but the last has begun
_DIVERSITY = 1e-3

_Part = tuple[NDArray[np.int64], NDArray[np.generic], NDArray[np.int64]]
"""Items of a group, levels of the columns that are kept, and which these are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """How a table lies in groups and blocks.

    Attributes:
        kept: Shape ``(N_GROUPS, N_BLOCKS)``.
        coded: Whether the group of each item is written, rather than the items of some groups.
    """

    kept: NDArray[np.bool_]
    coded: bool


class ElasticRows(OwnRows):
    """The pieces are values of all blocks, what a member adds, the groups' ends, and the cut.

    Attributes:
        counts: Items of each group.
        n_own: Pieces that a member adds.
    """

    cut_after: ClassVar[int] = 3  # rounds
    n_own: ClassVar[int] = 0

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        ends = [int(end * self.n_items) for end in _ENDS]
        self.counts = np.diff([0, *ends, self.n_items])
        self.n_pieces = N_CHOICES + self.n_own + N_GROUPS - 1 + 1

    def initial_pieces(self) -> Floats:
        """All blocks are worth the same; nobody knows yet what is popular."""
        pieces = np.zeros(self.n_pieces, np.float32)
        pieces[:N_CHOICES] = 1.0
        pieces[-N_GROUPS:-1] = _EVERYBODY
        return pieces

    def piece_rates(self) -> Floats:
        """What is searched for is not trained."""
        return np.zeros(self.n_pieces, np.float32)

    # --- cutting -------------------------------------------------------------------------

    def bytes_of(self, cutting: Cutting) -> int:
        """What a cut table takes."""
        n = int((cutting.kept.sum(1) * self.counts).sum()) * (self.size // N_BLOCKS)
        return OVERHEAD_BYTES + HALF_BYTES * self.size + n + self._bytes_of_groups(cutting)

    def _bytes_of_groups(self, cutting: Cutting) -> int:
        if cutting.coded:
            return bytes_of_bits(2 * self.n_items)
        return int(self.counts[cutting.kept.any(1)].sum()) * self._number.itemsize

    @property
    def _number(self) -> np.dtype[np.generic]:
        return np.dtype(np.uint16 if self.n_items <= 1 << 16 else np.uint32)

    def cut_as(self, kept: NDArray[np.bool_]) -> Cutting:
        """With the shorter way to say which items are in which group."""
        named = Cutting(kept=kept, coded=False)
        coded = Cutting(kept=kept, coded=True)
        shorter = self.bytes_of(coded) < self.bytes_of(named)
        return coded if kept[-1].any() or shorter else named

    def fits(self, kept: NDArray[np.bool_]) -> bool:
        """Whether the budget allows it."""
        if self.compression == 1:
            return True
        return self.bytes_of(self.cut_as(kept)) <= budget_bytes(self)

    def kept(self, values: Floats) -> NDArray[np.bool_]:
        """The blocks of the largest values that fit together, shape ``(N_GROUPS, N_BLOCKS)``.

        Of equal ones those of the more popular group go first.
        """
        kept = np.zeros((N_GROUPS, N_BLOCKS), np.bool_)
        for choice in np.argsort(-values, kind="stable"):
            kept.flat[choice] = True
            if not self.fits(kept):
                kept.flat[choice] = False
        return kept

    def present(self, pieces: Floats) -> NDArray[np.bool_]:
        """What a peer with these pieces reads, shape ``(N_GROUPS, N_BLOCKS)``."""
        if pieces[-1] < 0.5:
            return np.ones((N_GROUPS, N_BLOCKS), np.bool_)
        return self.kept(pieces[:N_CHOICES])

    def group_ends(self, device: Device) -> Floats:
        """Shares of people at which the groups end."""
        others = np.zeros(self.n_items, np.float32)
        others[device.items] = device.others
        last = np.cumsum(self.counts)[:-1] - 1
        ends: Floats = np.maximum(-np.sort(-others)[np.maximum(last, 0)], np.float32(_NOBODY))
        return ends

    # --- composing -----------------------------------------------------------------------

    def masks(self, stored: Stored) -> tuple[NDArray[np.int64], Floats]:
        """The group of each item, and what of its blocks is there, shape ``(n, N_BLOCKS)``."""
        ends = stored.pieces[:, -N_GROUPS:-1]
        group = (stored.others[:, None] < ends[stored.owner]).sum(1)
        present = np.stack([self.present(pieces) for pieces in stored.pieces])
        return group, present[stored.owner, group].astype(np.float32)

    def blocks(self, vectors: Floats) -> Floats:
        """Shape ``(n, N_BLOCKS, size / N_BLOCKS)``."""
        return vectors.reshape(len(vectors), N_BLOCKS, -1)

    def by_diversity(self, rows: Floats) -> Floats:
        """Gradient by rows of ``sum offdiag(E E^T)^2``, E the blocks of a row at length 1."""
        blocks = self.blocks(rows)
        length = np.sqrt(np.square(blocks).sum(2, keepdims=True)) + np.float32(1e-6)
        unit = blocks / length
        alike = unit @ unit.swapaxes(1, 2)
        alike[:, np.arange(N_BLOCKS), np.arange(N_BLOCKS)] = 0.0
        by_unit = 4.0 * alike @ unit
        by_blocks = (by_unit - unit * (unit * by_unit).sum(2, keepdims=True)) / length
        gradient: Floats = (_DIVERSITY * by_blocks).reshape(rows.shape)
        return gradient

    # --- on the device -------------------------------------------------------------------

    def worth(self, pieces: Floats) -> Floats:
        """What the blocks of each group are multiplied with, shape ``(N_GROUPS, N_BLOCKS)``."""
        del pieces
        return np.ones((N_GROUPS, N_BLOCKS), np.float32)

    def pack(self, device: Device) -> PackedTable:
        """Kept blocks, after a last look at the budget."""
        cutting = self.cut_as(self.kept(device.pieces[:N_CHOICES]))
        others = np.zeros(self.n_items, np.float32)
        others[device.items] = device.others
        order = np.lexsort((kindred_order(self.catalogue), -others))
        group = np.empty(self.n_items, np.int64)
        group[order] = np.repeat(np.arange(N_GROUPS), self.counts)
        worth = self.worth(device.pieces)[group]
        mask = cutting.kept[group]
        values = (self.blocks(self.whole(device)) * (worth * mask)[:, :, None]).reshape(
            self.n_items, -1
        )
        scale = (np.maximum(np.abs(values).max(0), 1e-6) / _LEVELS).astype(np.float16)
        levels = np.round(values / np.maximum(scale.astype(np.float32), 1e-7))
        levels = np.clip(levels, -_LEVELS, _LEVELS).astype(np.int8)
        bits = bits_of(cutting.kept.ravel().astype(np.uint8), 1)
        arrays: dict[str, NDArray[np.generic]] = {"kept": bits, "scale": scale}
        if cutting.coded:
            arrays["groups"] = bits_of(group, 2)
        else:
            named = [np.flatnonzero(group == g) for g in np.flatnonzero(cutting.kept.any(1))]
            items = np.concatenate([*named, np.zeros(0, np.int64)])
            arrays["items"] = items.astype(self._number)
        arrays["values"] = np.concatenate(
            [levels[group == g][:, self._columns(cutting, g)].ravel() for g in range(N_GROUPS)]
        )
        return self._packed(arrays, packed_arrays(arrays, form=self.form))

    def _columns(self, cutting: Cutting, group: int) -> NDArray[np.int64]:
        return np.flatnonzero(np.repeat(cutting.kept[group], self.size // N_BLOCKS))

    def unpack(self, data: bytes) -> PackedTable:
        """Read either form."""
        way = "groups" if b'"groups"' in data[:512] else "items"
        kinds = {"groups": np.dtype(np.uint8), "items": self._number}
        parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]] = {
            "kept": (np.dtype(np.uint8), (bytes_of_bits(N_CHOICES),)),
            "scale": (np.dtype(np.float16), (self.size,)),
            "values": (np.dtype(np.int8), (None,)),
            way: (kinds[way], (None,)),
        }
        return self._packed(read_arrays(data, parts, form=self.form), data)

    def _packed(self, arrays: dict[str, NDArray[np.generic]], data: bytes) -> PackedTable:
        kept = codes_of(arrays["kept"], 1, N_CHOICES).astype(np.bool_).reshape(N_GROUPS, N_BLOCKS)
        cutting = Cutting(kept=kept, coded="groups" in arrays)
        members = self._members(arrays, cutting)
        scale, start = arrays["scale"].astype(np.float32), 0
        place = np.full(self.n_items, -1)  # of an item among its group's
        group = np.full(self.n_items, N_GROUPS)
        parts: list[_Part] = []
        for g, items in enumerate(members):
            columns = self._columns(cutting, g)
            n = len(items) * len(columns)
            levels = arrays["values"][start : start + n]
            if len(levels) != n:
                raise StoreError("a packed table has fewer values than its groups name")
            place[items], group[items] = np.arange(len(items)), g
            parts.append((items, levels.reshape(len(items), len(columns)), columns))
            start += n
        if start != len(arrays["values"]):
            raise StoreError("a packed table has more values than its groups name")

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            vectors = np.zeros((len(items), self.size), np.float32)
            for g, (_, levels, columns) in enumerate(parts):
                here = np.flatnonzero(group[items] == g)
                found = levels[place[items[here]]].astype(np.float32) * scale[columns]
                vectors[here[:, None], columns] = found
            return vectors

        def products(query: Floats) -> Floats:
            # Absent blocks are not even read.
            found = np.zeros(self.n_items, np.float32)
            for items, levels, columns in parts:
                found[items] = levels.astype(np.float32) @ (query[columns] * scale[columns])
            return found

        return PackedTable(
            data=data,
            of=of,
            products=products,
            n_items=self.n_items,
            every=partial(_in_blocks, parts, np.flatnonzero(group == N_GROUPS), scale),
        )

    def _members(
        self, arrays: dict[str, NDArray[np.generic]], cutting: Cutting
    ) -> list[NDArray[np.int64]]:
        """The items of each group; of those that keep nothing, none need be named."""
        if cutting.coded:
            if len(arrays["groups"]) != bytes_of_bits(2 * self.n_items):
                raise StoreError("a packed table names the groups of other items")
            group = codes_of(arrays["groups"], 2, self.n_items)
            return [np.flatnonzero(group == g) for g in range(N_GROUPS)]
        counts = self.counts * cutting.kept.any(1)
        items = arrays["items"].astype(np.int64)
        if len(items) != counts.sum():
            raise StoreError("a packed table names another number of items than its groups have")
        return [self.checked(part, len(part)) for part in np.split(items, np.cumsum(counts)[:-1])]


def _in_blocks(parts: Sequence[_Part], absent: NDArray[np.int64], scale: Floats) -> Blocks:
    """Group by group, then those of which nothing is stored."""
    for held, levels, columns in parts:
        for block in blocks(len(held)):
            items = held[block]
            vectors = np.zeros((len(items), len(scale)), np.float32)
            vectors[:, columns] = levels[block].astype(np.float32) * scale[columns]
            yield items, vectors
    for block in blocks(len(absent)):
        items = absent[block]
        yield items, np.zeros((len(items), len(scale)), np.float32)
