"""Tensor train and semi-tensor product: an item's vector is a product of two small matrices.

    v_x = vec(G_1[i] |x G_2[j]),    (i, j) = digits of x's place in the order of kindred items
    (A |x B)[m, q t + s] = sum_p A[m, p t + s] B[p, q]          A: m x p t,  B: p x q

Oseledets (SIAM J. Sci. Comput. 2011); Yin et al., MLSys 2021 (TT-Rec), for tables; the semi-tensor
product of Xia et al., SIGIR 2022 (ODRec), section 3.2, with t = 2, which is the tensor train where
t = 1. ``n_items <= I_1 I_2`` and ``size = J_1 J_2``: the first core is ``I_1 x J_1 x r``, the
second ``I_2 x r/t x J_2/t``. The rank is as large as the budget allows. Ours: two cores (a third
would only cost products, since two fit every catalogue here); items in an order that the realm
gives (``p2prec.embeddings.arrangement``), so that kindred ones share the first core's slice.

Cores are averaged entry by entry. The product of means is not the mean of products, and cores may
be turned against each other without changing a vector: the mean makes sense since all peers start
from one point and stay near to each other. On a device both cores lie in half precision.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.arrangement import kindred_order
from p2prec.embeddings.bases import SharedPieces, summed
from p2prec.embeddings.initial import realm_generator
from p2prec.embeddings.packed import HALF_BYTES, OVERHEAD_BYTES, PIECES_AT_MOST, PackedTable
from p2prec.embeddings.packing import packed_arrays, read_arrays
from p2prec.embeddings.table import (
    BLOCK,
    Blocks,
    Device,
    Floats,
    PieceRows,
    Stored,
    budget_bytes,
)
from p2prec.errors import ConfigError


class SemiTensorProduct(SharedPieces):
    """Two cores and the digits of items.

    Attributes:
        step: The ``t`` of the product.
        rank: Inner width of the first core; ``rank / step`` of the second.
        slices: ``I_1`` and ``I_2``.
        digits: Shape ``(2, n_items)``.
        in_order: Shape ``(n_items,)``, items as their digits ascend.
    """

    name: ClassVar[str] = "stp"
    step: ClassVar[int] = 2

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        t = self.step
        self.lengths = _factors(size, t)
        # Slices cost this many values of each rank; their numbers make the sum least.
        self.costs = (self.lengths[0], self.lengths[1] / t**2)
        first = max(round((self.n_items * self.costs[1] / self.costs[0]) ** 0.5), 1)
        self.slices = (first, -(-self.n_items // first))
        per_rank = self.slices[0] * self.costs[0] + self.slices[1] * self.costs[1]
        values = min((budget_bytes(self) - OVERHEAD_BYTES) // HALF_BYTES, PIECES_AT_MOST)
        most = min(self.slices[0] * self.lengths[0], self.slices[1] * self.lengths[1])
        self.rank = int(min(values / per_rank, most)) // t * t
        if self.rank < t:
            raise ConfigError(
                f"a catalogue of {self.n_items} items is too small for a table {self.name!r} of "
                f"{values} values; take a smaller compression, or a larger embedding_size"
            )
        self.shapes = (
            (self.slices[0], self.lengths[0] * t, self.rank // t),
            (self.slices[1], self.rank // t, self.lengths[1] // t),
        )
        self.n_first = int(np.prod(self.shapes[0]))
        self.n_pieces = self.n_first + int(np.prod(self.shapes[1]))
        places = kindred_order(catalogue)
        self.digits = np.stack(np.divmod(places, self.slices[1]))
        self.in_order = np.empty_like(places)
        self.in_order[places] = np.arange(self.n_items)
        widths = np.repeat([np.prod(shape[1:]) for shape in self.shapes], self.slices)
        self.piece_rows = PieceRows(
            bounds=np.concatenate([[0], np.cumsum(widths)]).astype(np.int64),
            of_item=(self.digits + np.array([[0], [self.slices[0]]])).T,
        )

    def initial_pieces(self) -> Floats:
        """Normal, so that vectors are as long as those of a full table."""
        rng = realm_generator(self.catalogue.digest, f"{self.name}/{self.size}/{self.rank}")
        inner = self.rank // self.step
        first = rng.normal(0.0, 1.0 / np.sqrt(inner), self.n_first)
        second = rng.normal(0.0, 0.5 / np.sqrt(self.size), self.n_pieces - self.n_first)
        return np.concatenate([first, second]).astype(np.float32)

    def piece_rates(self) -> Floats:
        """Both cores together move a vector as far as a row moves."""
        return np.full(self.n_pieces, 0.5, np.float32)

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """One small product an item."""
        n = len(stored.pieces)
        first, second = self._cores(stored.pieces)
        at = self.digits[:, stored.items]
        a, b = first[stored.owner, at[0]], second[stored.owner, at[1]]
        return self._vectors(a @ b), (stored.owner, at, a, b, n)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """Of each matrix: that of the product times the other."""
        owner, at, a, b, n_peers = tape
        by_products = self._products(by_vectors)
        parts = []
        for j, by_slices in enumerate(
            (by_products @ b.swapaxes(1, 2), a.swapaxes(1, 2) @ by_products)
        ):
            flat = by_slices.reshape(len(owner), -1)
            parts.append(summed(owner, at[j], flat, (n_peers, self.slices[j])))
        return np.zeros((len(owner), 0), np.float32), np.concatenate(parts, axis=1)

    def pack(self, device: Device) -> PackedTable:
        """Both cores in half precision."""
        half = device.pieces.astype(np.float16)
        return self._packed(half, packed_arrays({"cores": half}, form=self.form))

    def unpack(self, data: bytes) -> PackedTable:
        """Read them."""
        parts = {"cores": (np.dtype(np.float16), (self.n_pieces,))}
        return self._packed(read_arrays(data, parts, form=self.form)["cores"], data)

    def _packed(self, cores: NDArray[np.generic], data: bytes) -> PackedTable:
        first, second = (c[0] for c in self._cores(cores.astype(np.float32)[None]))
        (n_first, n_second), (outer, inner) = self.slices, self.lengths

        def of(items: NDArray[np.integer[Any]]) -> Floats:
            at = self.digits[:, items]
            return self._vectors(first[at[0]] @ second[at[1]])

        # All items of one first slice are one product with this.
        wide = np.ascontiguousarray(second.transpose(1, 0, 2)).reshape(second.shape[1], -1)
        step = max(BLOCK // n_second, 1)

        def every() -> Blocks:
            for start in range(0, n_first, step):
                part = first[start : start + step]
                items = self.in_order[start * n_second : (start + len(part)) * n_second]
                found = part.reshape(-1, part.shape[2]) @ wide
                shape = (len(part), outer, self.step, n_second, inner // self.step)
                vectors = found.reshape(shape).transpose(0, 3, 1, 4, 2).reshape(-1, self.size)
                yield items, vectors[: len(items)]

        def products(query: Floats) -> Floats:
            # The query goes through the first core once a slice, not once an item.
            asked = self._products(query[None].astype(np.float32))[0]  # (J_1 t, J_2 / t)
            met = np.einsum("imp,mq->ipq", first, asked, optimize=True).reshape(n_first, -1)
            found: Floats = (met @ second.reshape(n_second, -1).T)[self.digits[0], self.digits[1]]
            return found

        return PackedTable(data=data, of=of, products=products, n_items=self.n_items, every=every)

    def _cores(self, pieces: Floats) -> tuple[Floats, Floats]:
        n = len(pieces)
        first, second = pieces[:, : self.n_first], pieces[:, self.n_first :]
        return first.reshape(n, *self.shapes[0]), second.reshape(n, *self.shapes[1])

    def _vectors(self, products: Floats) -> Floats:
        """From ``(n, J_1 t, J_2 / t)`` to vectors in the order of the product's definition."""
        n, (outer, inner) = len(products), self.lengths  # n may be 0
        whole = products.reshape(n, outer, self.step, inner // self.step).swapaxes(2, 3)
        return whole.reshape(n, self.size)

    def _products(self, vectors: Floats) -> Floats:
        """The other way."""
        n, (outer, inner) = len(vectors), self.lengths
        whole = vectors.reshape(n, outer, inner // self.step, self.step).swapaxes(2, 3)
        return whole.reshape(n, outer * self.step, inner // self.step)


class TensorTrain(SemiTensorProduct):
    """The plain product of matrices."""

    name: ClassVar[str] = "tt"
    step: ClassVar[int] = 1


def _factors(size: int, step: int) -> tuple[int, int]:
    """``J_1 <= J_2`` with the product ``size``, as equal as can be; the second divides by t."""
    first = int(size**0.5)
    while size % first or (size // first) % step:
        first -= 1
    return first, size // first
