"""Evaluation protocols as data: with what the right item is compared.

``full`` is the headline: every item of the catalogue competes. ``nearest_200`` is that of the
papers on next places: each city is split into regions by k-means over its places, and the right
place is ranked against the 200 nearest places of its region that the user has never been to (as a
reproduction of PTIA reports it; the papers do not say to what "nearest" is). Here it is to the
right place, which tells the sampler where that is; and a known place competes with unknown ones
only, so that returns are trivial. Figures of the two never share a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.geo import distance_km

_SEED = 0  # of k-means: a protocol is the same for everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """With what the right item is compared.

    Attributes:
        negatives: Others that compete; 0 for the full catalogue.
        regions: Clusters of places to which they are confined; 0 for none.
    """

    negatives: int = 0
    regions: int = 0


PROTOCOLS: Mapping[str, Protocol] = {
    "full": Protocol(),
    "nearest_200": Protocol(negatives=200, regions=5),
}


class Competitors:
    """Who competes with the right item under one protocol.

    Args:
        protocol: A sampled one.
        catalogue: With positions.
    """

    def __init__(self, protocol: Protocol, catalogue: Catalogue) -> None:
        self._n = protocol.negatives
        self._lat, self._lon = catalogue.latitude_deg, catalogue.longitude_deg
        self.region = regions(catalogue, protocol.regions)

    def of(self, item: int, own: NDArray[np.integer]) -> NDArray[np.int64]:
        """The nearest items of the region that are neither ``item`` nor known, nearest first."""
        free = self.region == self.region[item]
        free[own] = False
        free[item] = False
        rows = np.flatnonzero(free)
        km = distance_km(
            self._lat[rows], self._lon[rows], self._lat[item : item + 1], self._lon[item : item + 1]
        )
        nearest: NDArray[np.int64] = rows[np.argsort(km, kind="stable")[: self._n]]
        return nearest


def regions(catalogue: Catalogue, n: int) -> NDArray[np.int64]:
    """Cluster of each item by k-means over positions, shape ``(n_items,)``; -1 without a position.

    Start by k-means++ (Arthur & Vassilvitskii, 2007), always with the same draws.
    """
    from scipy.cluster.vq import kmeans2

    result = np.full(len(catalogue), -1, np.int64)
    placed = np.flatnonzero(np.isfinite(catalogue.latitude_deg))
    if n < 2 or len(placed) <= n:
        result[placed] = 0
        return result
    latitude = catalogue.latitude_deg[placed]
    shrink = np.cos(np.radians(latitude.mean()))  # of a degree of longitude
    flat = np.stack([latitude, catalogue.longitude_deg[placed] * shrink], axis=1)
    rng = np.random.default_rng(_SEED)
    result[placed] = kmeans2(flat, n, iter=50, minit="++", missing="warn", rng=rng)[1]
    return result
