"""LEGCF: few meta embeddings, and a sparse matrix that says which of them an item is made of.

    v_x = sum_k (S_0[x, k] + w_xk) E[a_k(x)]

Liang et al., SIGIR 2024 (LEGCF), section 3: ``t`` entries an item, the first the
meta embedding of the item's own cluster with weight ``w*``, the others at random with the rest; in
turn the meta embeddings are trained and the weights solved by ``S <- H pinv(E)`` from vectors ``H``
that a graph has smoothed.

Ours: clusters are cuts of an order that the realm gives (``p2prec.embeddings.arrangement``) in
place of METIS; ``a_k(x)`` stay for ever, so that a merge is a mean of weights and of meta
embeddings; the weights' changes ``w_x`` are the item's row, ``t`` numbers of it, and none where the
budget has no room for a byte each. The graph that smooths is the public one of kindred items, and a
solved matrix is taken only if the owner's newest interactions rank no worse with it.

On a device lie the meta embeddings in half precision and a byte for each weight.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.arrangement import cut, kindred_order, random_order
from p2prec.embeddings.bases import OwnRows, summed
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.packed import HALF_BYTES, OVERHEAD_BYTES, PIECES_AT_MOST, PackedTable
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import Device, Floats, PieceRows, Quality, Stored, budget_bytes
from p2prec.errors import ConfigError

_ENTRIES = 4  # of an item, at most
_FROZEN = 2  # where weights stay as they start
_OWN_CLUSTER = 0.6  # w*
_LEVELS = 127.0  # of a byte, on each side of zero
_SMOOTHING = 0.3  # of a vector that comes from kindred items
_SOLVED_EVERY = 3  # rounds
_RIDGE = 1e-2


class LearnedAssignment(OwnRows):
    """Meta embeddings in the pieces, changes of the weights in the rows.

    Attributes:
        n_meta: ``c``.
        n_entries: ``t``.
        assigned: Shape ``(n_items, n_entries)``, the ``a_k``.
        start: Shape ``(n_entries,)``, ``S_0`` of every item.
    """

    name: ClassVar[str] = "legcf"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        room = budget_bytes(self) - OVERHEAD_BYTES
        self.row_width = int(min(_ENTRIES, room // (2 * self.n_items)))
        self.n_entries = self.row_width or _FROZEN
        spare = (room - self.row_width * self.n_items) // HALF_BYTES
        self.n_meta = int(min(spare, PIECES_AT_MOST) // size)
        self.n_meta = min(self.n_meta, self.n_items)
        if self.n_meta < self.n_entries:
            raise ConfigError(
                f"a catalogue of {self.n_items} items is too small for a legcf table of {room} "
                "bytes; take a smaller compression, or a larger embedding_size"
            )
        self.n_pieces = self.n_meta * size
        self.assigned = self._assigned()
        self.piece_rows = PieceRows(
            bounds=np.arange(0, self.n_pieces + 1, size), of_item=self.assigned
        )
        rest = max(self.n_entries - 1, 1)
        self.start = np.full(self.n_entries, (1.0 - _OWN_CLUSTER) / rest, np.float32)
        self.start[0] = _OWN_CLUSTER if self.n_entries > 1 else 1.0

    def _assigned(self) -> NDArray[np.int64]:
        """The own cluster, and others at random, each from a part of its own."""
        bounds = np.linspace(0, self.n_meta, self.n_entries + 1).astype(np.int64)
        orders = [kindred_order(self.catalogue)]
        orders += [random_order(self.catalogue, f"legcf/{k}") for k in range(1, self.n_entries)]
        return np.stack(
            [
                low + cut(order, high - low)
                for order, low, high in zip(orders, bounds[:-1], bounds[1:], strict=True)
            ],
            axis=1,
        )

    def initial_pieces(self) -> Floats:
        """So that weighted sums are as long as rows of a full table."""
        rng = realm_generator(self.catalogue.digest, f"legcf/{self.size}/{self.n_meta}")
        spread = 0.5 / np.sqrt(self.size * np.square(self.start).sum())
        return rng.normal(0.0, spread, self.n_pieces).astype(np.float32)

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Weighted sums."""
        meta = stored.pieces.reshape(len(stored.pieces), self.n_meta, self.size)
        at = self.assigned[stored.items]
        parts = meta[stored.owner[:, None], at]
        weights = self._weights(stored.rows, len(at))
        return np.einsum("nk,nkd->nd", weights, parts), (stored, at, parts, weights)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Linear in each."""
        stored, at, parts, weights = tape
        by_pieces = np.zeros((len(stored.pieces), self.n_pieces), np.float32)
        for k in range(self.n_entries):
            part = weights[:, k, None] * by_vectors
            by_pieces += summed(stored.owner, at[:, k], part, (len(by_pieces), self.n_meta))
        by_rows = np.einsum("nkd,nd->nk", parts, by_vectors)
        return by_rows[:, : self.row_width], by_pieces

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Weights that give the smoothed vectors, if they are no worse."""
        if not self.row_width or not len(device.items) or round_ % _SOLVED_EVERY != 1:
            return None
        rows = self._solved(device)
        found = Device(items=device.items, rows=rows, others=device.others, pieces=device.pieces)
        return found if quality(found) >= quality(device) else None

    def _solved(self, device: Device) -> Floats:
        """``H pinv(E)`` of each held item over its own entries."""
        meta = device.pieces.reshape(self.n_meta, self.size)
        parts = meta[self.assigned[device.items]]
        vectors = np.einsum("nk,nkd->nd", self._weights(device.rows, len(parts)), parts)
        smoothed = (1.0 - _SMOOTHING) * vectors + _SMOOTHING * self._among_kindred(device, vectors)
        gram = np.einsum("nkd,nld->nkl", parts, parts)
        gram += (
            _RIDGE
            * np.eye(self.n_entries, dtype=np.float32)
            * np.maximum(np.trace(gram, axis1=1, axis2=2), 1e-6).reshape(-1, 1, 1)
        )
        right = np.einsum("nkd,nd->nk", parts, smoothed - vectors)
        change = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
        solved: Floats = (device.rows + change[:, : self.row_width]).astype(np.float32)
        return solved

    def _among_kindred(self, device: Device, vectors: Floats) -> Floats:
        """Of each held item: the mean of the two held ones next to it in order, of its category."""
        order = np.argsort(kindred_order(self.catalogue)[device.items])
        kind = self.catalogue.category[device.items[order]]
        sorted_ = vectors[order]
        total, count = sorted_.copy(), np.ones(len(order), np.float32)
        alike = kind[1:] == kind[:-1]
        total[1:][alike] += sorted_[:-1][alike]
        total[:-1][alike] += sorted_[1:][alike]
        count[1:] += alike
        count[:-1] += alike
        found = np.empty_like(vectors)
        found[order] = total / count[:, None]
        return found

    def _weights(self, rows: Floats, n: int) -> Floats:
        weights = np.repeat(self.start[None], n, axis=0)
        weights[:, : self.row_width] += rows
        return weights

    def pack(self, device: Device) -> PackedTable:
        """Meta embeddings, and weights where they may change."""
        arrays: dict[str, NDArray[np.generic]] = {"meta": device.pieces.astype(np.float16)}
        if self.row_width:
            rows = self.whole(device)
            scale = np.float16(max(float(np.abs(rows).max()), 1e-3) / _LEVELS)
            levels = np.clip(np.round(rows / np.float32(scale)), -_LEVELS, _LEVELS)
            arrays |= {"scale": np.array([scale]), "weights": levels.astype(np.int8)}
        return self._packed(arrays, packed_arrays(arrays, form=self.form))

    def unpack(self, data: bytes) -> PackedTable:
        """Read them."""
        half = np.dtype(np.float16)
        parts: dict[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]] = {
            "meta": (half, (self.n_pieces,))
        }
        if self.row_width:
            parts["scale"] = (half, (1,))
            parts["weights"] = (np.dtype(np.int8), (self.n_items, self.row_width))
        return self._packed(read_arrays(data, parts, form=self.form), data)

    def _packed(self, arrays: dict[str, NDArray[np.generic]], data: bytes) -> PackedTable:
        meta = arrays["meta"].astype(np.float32).reshape(self.n_meta, self.size)
        rows = np.zeros((self.n_items, 0), np.float32)
        if self.row_width:
            rows = arrays["weights"].astype(np.float32) * arrays["scale"].astype(np.float32)

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            weights = self._weights(rows[items], len(items))
            at, found = self.assigned[items], np.zeros((len(items), self.size), np.float32)
            for k in range(self.n_entries):
                found += weights[:, k, None] * meta.take(at[:, k], axis=0)
            return found

        def products(query: Floats) -> Floats:
            asked = (meta @ query)[self.assigned]  # each meta embedding is asked once
            found: Floats = np.einsum("nk,nk->n", self._weights(rows, self.n_items), asked)
            return found

        return PackedTable(data=data, of=of, products=products, n_items=self.n_items)
