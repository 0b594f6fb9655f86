"""What tables share that keep a row for each item, and what those share that keep pieces only."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import Device, Floats, PieceRows, Quality
from p2prec.errors import StoreError


class BaseTable:
    """Sizes, the name of the packed form, and defaults: nothing is searched for.

    Attributes:
        catalogue: Of the realm.
        form: Names what packed bytes must share to be read.
    """

    name: ClassVar[str]
    smallest: ClassVar[int] = 100
    row_width: int
    n_pieces: int
    piece_rows: PieceRows | None = None

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        self.catalogue, self.size, self.compression = catalogue, size, compression
        self.n_items = len(catalogue)
        self.form = f"{self.name}-{compression}/{size}/{self.n_items}"

    def initial_pieces(self) -> Floats:
        """All zero."""
        return np.zeros(self.n_pieces, np.float32)

    def piece_rates(self) -> Floats:
        """All are trained."""
        return np.ones(self.n_pieces, np.float32)

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Nothing is searched for."""
        del device, round_, quality
        return None


class OwnRows(BaseTable):
    """A row for each item, of ``size`` columns where a member says nothing else."""

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.row_width = size
        self.n_pieces = 0

    @property
    def initial(self) -> Floats:
        """Shape ``(n_items, row_width)``, the realm's initial rows."""
        width = self.row_width + 2  # as a model keeps them: popularity and bias are behind
        table = initial_table(self.catalogue.digest, "items", self.n_items, width)
        return table[:, : self.row_width]

    def whole(self, device: Device) -> Floats:
        """Rows of all items, shape ``(n_items, row_width)``, a copy."""
        table = self.initial.copy()
        table[device.items] = device.rows
        return table

    def moved(self, items: NDArray[np.integer[Any]], rows: Floats) -> Floats:
        """How far rows are from where they started, shape ``(n,)``; ``rows`` are of ``items``."""
        distance: Floats = np.linalg.norm(rows - self.initial[items], axis=1)
        return distance

    def checked(self, items: NDArray[np.generic], n: int) -> NDArray[np.int64]:
        """Numbers of items that were read.

        Raises:
            StoreError: They are not ``n`` items in ascending order.
        """
        numbers = items.astype(np.int64)
        if (
            len(numbers) != n
            or (np.diff(numbers) <= 0).any()
            or (n and not 0 <= numbers[0] <= numbers[-1] < self.n_items)
        ):
            raise StoreError("the items of a packed table are not in order, or unknown")
        return numbers


class SharedPieces(BaseTable):
    """Vectors are put together from pieces that all items share; no item has a row of its own."""

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.row_width = 0


def summed(
    owner: NDArray[np.integer[Any]],
    at: NDArray[np.integer[Any]],
    values: Floats,
    shape: tuple[int, int],
) -> Floats:
    """Gradients of pieces: sums of rows that land on the same piece of the same peer.

    Args:
        owner: Shape ``(n,)``, the peer of each row.
        at: Shape ``(n,)``, its piece.
        values: Shape ``(n, width)``.
        shape: Peers and pieces.

    Returns:
        Shape ``(n_peers, n_pieces * width)``.
    """
    n_peers, n = shape
    keys, which = np.unique(owner.astype(np.int64) * n + at, return_inverse=True)
    sums = np.empty((len(keys), values.shape[1]), np.float32)
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(which, values[:, column], minlength=len(keys))
    total = np.zeros((n_peers * n, values.shape[1]), np.float32)
    total[keys] = sums  # a step reads few of all pieces
    return total.reshape(n_peers, -1)
