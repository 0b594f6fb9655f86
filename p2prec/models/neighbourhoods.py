"""Distances within a catalogue, and the places around a place, for many places at once."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.kernels import compiled
from p2prec.models.geo import EARTH_RADIUS_KM, FAR_KM, NEAR_KM, on_sphere
from p2prec.models.stack import found

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_NEAREST = 128  # places around one that count as its neighbourhood
# The one of the nearest places whose distance says how thinly places lie. Half or twice as many
# say the same (docs/results/ranker.md).
_THINNESS = 64
_AT_ONCE = 4_096  # positions of which neighbours are looked up together


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
        self._planes = np.ascontiguousarray(point.T, np.float32)
        self._tree: cKDTree | None = None
        # Of all items, but memory is taken by those alone that are asked for. Where none is found
        # stand zeros, so that rows one after the other ascend in any case.
        self._around = np.zeros((len(catalogue), self.size), np.int32)
        self._found = np.zeros(len(catalogue), np.bool_)

    def lie(
        self,
        recent: NDArray[np.int32],
        share: NDArray[np.float32],
        items: NDArray[np.int32],
        *,
        least_km2: float,
    ) -> NDArray[np.float32]:
        """How items lie to recent places; distances are along the chord, which is the arc here.

        Where a position is missing, the distance is ``FAR_KM``.

        Args:
            recent: Shape ``(n, m)``, places, the newest first.
            share: Shape ``(n, m)``, of each; 0 where the rest only pads.
            items: Shape ``(n, k)``.
            least_km2: Nearer than that one place is as near as any.

        Returns:
            Shape ``(3, n, k)``: squared distances to the newest and to the nearest place, km2; and
            the mean of their inverse.
        """
        result = np.empty((3, *items.shape), np.float32)
        far, least = np.float32(FAR_KM**2), np.float32(least_km2)
        kernels = compiled()
        if kernels is not None:
            kernels.lie(self._planes, recent, share, items, far, least, result)
            return result
        first, *others = self._planes
        km2 = first.take(items)[:, None] - first.take(recent)[:, :, None]
        km2 *= km2
        apart = np.empty_like(km2)
        for plane in others:
            np.subtract(plane.take(items)[:, None], plane.take(recent)[:, :, None], out=apart)
            apart *= apart
            km2 += apart
        if not self._everywhere:
            km2 = np.where(np.isnan(km2), far, km2)
        result[0] = km2[:, 0]
        np.min(km2, axis=1, out=result[1])
        km2 += least
        # Summed from the first to the last, since that is not the axis along memory.
        np.sum(np.divide(share[:, :, None], km2, out=km2), axis=1, out=result[2])
        return result

    def around(self, items: NDArray[np.integer]) -> NDArray[np.int32]:
        """The places nearest to each item, itself included, ascending; shape ``(n, size)``.

        They mean nothing where the item is not ``placed``.
        """
        missing = items[self.placed[items] & ~self._found[items]]
        if len(missing):
            self._find(np.unique(missing))
        around: NDArray[np.int32] = self._around[items]
        return around

    @cached_property
    def thinness(self) -> NDArray[np.float32]:
        """How thinly places lie around each item, shape ``(n_items,)``.

        The logarithm of the distance to the 64th nearest place, or to the farthest of fewer. Who
        looks for a place at some distance has more to choose from where they lie densely
        (intervening opportunities, Stouffer 1940; for check-ins Noulas et al. 2012). It is
        relative to the median, as what lies thinly in one realm is dense in another; items without
        a position lie like that.
        """
        thinness = np.zeros(len(self.placed), np.float32)
        if self.size:
            of_placed = np.log(NEAR_KM + _km_to_nearest(self._point[self.placed], _THINNESS))
            thinness[self.placed] = of_placed - np.median(of_placed)
        return thinness

    def inside(self, here: NDArray[np.integer], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether items are ``around`` a place.

        Args:
            here: Shape ``(n,)``.
            items: Shape ``(n, k)``.

        Returns:
            Shape ``(n, k)``.
        """
        around, result = self.around(here), np.empty(items.shape, np.bool_)
        around[~self.placed[here]] = np.arange(self.size)  # ascending, whatever
        kernels = compiled()
        if kernels is not None:
            kernels.inside(around, items, result)
        else:
            row = (np.arange(len(here)) * len(self.placed))[:, None]
            result = found((around + row).ravel(), items + row)[1]
        result &= self.placed[here][:, None]
        return result

    def _find(self, items: NDArray[np.integer]) -> None:
        placed = np.flatnonzero(self.placed)
        if self._tree is None:
            from scipy.spatial import cKDTree

            self._tree = cKDTree(self._point[placed])
        _, at = self._tree.query(self._point[items], k=self.size)
        self._around[items] = np.sort(placed[at.reshape(len(items), -1)], axis=1)
        self._found[items] = True


def _km_to_nearest(point: NDArray[np.float64], which: int) -> NDArray[np.float64]:
    """How far each point has to look for ``which`` points, itself included, or for all.

    Positions that many share are looked at once, or a search among them would take their square.

    Args:
        point: Shape ``(n, 3)``, km.
        which: At least 1.
    """
    from scipy.spatial import cKDTree

    position, of, count = np.unique(point, axis=0, return_inverse=True, return_counts=True)
    tree, k = cKDTree(position), min(which, len(position))
    far = np.empty(len(position))
    for first in range(0, len(position), _AT_ONCE):
        km, at = tree.query(position[first : first + _AT_ONCE], k=k)
        km, at = km.reshape(-1, k), at.reshape(-1, k)
        enough = count[at].cumsum(1) >= which
        reached = np.where(enough.any(1), enough.argmax(1), k - 1)
        far[first : first + _AT_ONCE] = np.take_along_axis(km, reached[:, None], axis=1)[:, 0]
    return far[of.reshape(-1)]


@lru_cache(maxsize=8)
def neighbourhoods_of(catalogue: Catalogue) -> Neighbourhoods:
    """One for all who ask about a catalogue."""
    return Neighbourhoods(catalogue)
