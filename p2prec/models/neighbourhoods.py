"""Distances within a catalogue, and the places around a place, for many places at once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.geo import EARTH_RADIUS_KM, FAR_KM, on_sphere

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_NEAREST = 128  # places around one that count as its neighbourhood


class Neighbourhoods:
    """Distances within a catalogue, and the places around a place.

    Attributes:
        placed: Shape ``(n_items,)``, whether an item has a position.
        size: Places of a neighbourhood.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        point = EARTH_RADIUS_KM * on_sphere(catalogue, np.arange(len(catalogue)))
        self.placed = np.isfinite(point[:, 0])
        self._everywhere = bool(self.placed.all())
        self.size = min(_NEAREST, int(self.placed.sum()))
        if self.size:
            # Around their middle numbers are small, and so is what rounding does to differences.
            point -= point[self.placed].mean(0)
        self._point = point
        square, one = (point**2).sum(1, keepdims=True), np.ones((len(point), 1))
        self._to = np.concatenate([point, square, one], axis=1)
        self._from = np.concatenate([-2.0 * point, one, square], axis=1)
        self._tree: cKDTree | None = None
        # Of all items, but memory is taken by those alone that are asked for.
        self._around = np.empty((len(catalogue), self.size), np.int32)
        self._found = np.zeros(len(catalogue), np.bool_)

    def km2(self, places: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.float32]:
        """Squared distances, along the chord, which is the arc here.

        Args:
            places: Shape ``(n, m)``.
            items: Shape ``(n, k)``.

        Returns:
            Shape ``(n, m, k)``; by rounding a little below nothing where two places are one.
            Where a position is missing, the distance is ``FAR_KM``.
        """
        # |p - q|^2 = (-2 p, 1, |p|^2) . (q, |q|^2, 1)
        product = self._from[places] @ self._to[items].transpose(0, 2, 1)
        km2: NDArray[np.float32] = product.astype(np.float32)
        return km2 if self._everywhere else np.where(np.isnan(km2), np.float32(FAR_KM**2), km2)

    def around(self, items: NDArray[np.integer]) -> NDArray[np.int32]:
        """The places nearest to each item, itself included, ascending; shape ``(n, size)``.

        They mean nothing where the item is not ``placed``.
        """
        missing = items[self.placed[items] & ~self._found[items]]
        if len(missing):
            self._find(np.unique(missing))
        around: NDArray[np.int32] = self._around[items]
        return around

    def _find(self, items: NDArray[np.integer]) -> None:
        placed = np.flatnonzero(self.placed)
        if self._tree is None:
            from scipy.spatial import cKDTree

            self._tree = cKDTree(self._point[placed])
        _, at = self._tree.query(self._point[items], k=self.size)
        self._around[items] = np.sort(placed[at.reshape(len(items), -1)], axis=1)
        self._found[items] = True


@lru_cache(maxsize=8)
def neighbourhoods_of(catalogue: Catalogue) -> Neighbourhoods:
    """One for all who ask about a catalogue."""
    return Neighbourhoods(catalogue)
