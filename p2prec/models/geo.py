"""Distances on the globe, vectorised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue

if TYPE_CHECKING:
    from scipy.spatial import KDTree

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG
NEAR_KM = 0.1  # below this, positions of check-ins are noise
FAR_KM = 20.0  # stands for an unknown distance: beyond what people walk, within what they drive
_MANY = 4_096  # items of one category: from here on a tree is quicker than all distances


def distance_km(
    latitude_deg: NDArray[np.float64],
    longitude_deg: NDArray[np.float64],
    other_latitude_deg: NDArray[np.float64],
    other_longitude_deg: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Distance on a plane that touches the globe midway; the arguments broadcast.

    Within 0.1 % of the great circle up to 100 km, at a third of its cost. Where a position is
    missing (NaN) the distance is 20 km.
    """
    lat = np.radians(latitude_deg)
    other_lat = np.radians(other_latitude_deg)
    turn = np.asarray(other_longitude_deg) - longitude_deg
    turn -= 360.0 * np.rint(turn / 360.0)  # the shorter way around
    x = np.radians(turn) * np.cos((lat + other_lat) / 2)
    y = other_lat - lat
    km = EARTH_RADIUS_KM * np.sqrt(x * x + y * y)
    return np.where(np.isnan(km), FAR_KM, km).astype(np.float32)


@lru_cache(maxsize=1 << 16)  # what one owner goes to, others go to as well
def nearest_alike(catalogue: Catalogue, item: int, n: int) -> NDArray[np.int64]:
    """The ``n`` nearest *other* items of an item's category, nearest first; fewer where there are.

    It has a position, and so have they: the others are not near to anything. Items of unknown
    category are alike. The answer is shared and not to be written to.
    """
    alike = _near(catalogue, item, n)
    km = distance_km(
        catalogue.latitude_deg[alike],
        catalogue.longitude_deg[alike],
        catalogue.latitude_deg[item],
        catalogue.longitude_deg[item],
    )
    nearest: NDArray[np.int64] = alike[np.argsort(km, kind="stable")[:n]]
    nearest.setflags(write=False)
    return nearest


def alike(catalogue: Catalogue, item: int, n: int) -> NDArray[np.int64]:
    """Other items of an item's category that may take its place: the ``n`` nearest ones.

    Of what lies nowhere nothing is nearer than the rest: there all of the category that lie nowhere
    are among them. Whoever drew from the first ones of the catalogue would show that all others are
    real, and one with a position far from where its sender lives would be seen to be made up.

    Args:
        catalogue: Of the realm.
        item: Whose place another one is to take.
        n: How many at most; has no meaning for an item without a position.
    """
    # For the only one of its category with a position, or without one, there is nothing. The rule
    # is known: a pseudo item of the other sort would be seen beside it alone and name it as surely
    # as having none does, for a false row that everybody averages. Only in a category of two would
    # each hide the other; there a reference sequence would name what it replaces.
    if np.isfinite(catalogue.latitude_deg[item] + catalogue.longitude_deg[item]):
        return nearest_alike(catalogue, item, n)
    nowhere = _alike(catalogue, int(catalogue.category[item])).nowhere
    others: NDArray[np.int64] = nowhere[nowhere != item]
    return others


def drawn_alike(
    catalogue: Catalogue, item: int, n: int, wanted: int, rng: np.random.Generator
) -> list[int]:
    """Some of those of ``alike``, drawn without repeats.

    Args:
        catalogue: Of the realm.
        item: Whose place another one is to take.
        n: Among how many.
        wanted: How many; fewer where there are.
        rng: Draws.
    """
    among = alike(catalogue, item, n)
    drawn: list[int] = rng.choice(among, min(wanted, len(among)), replace=False).tolist()
    return drawn


def _near(catalogue: Catalogue, item: int, n: int) -> NDArray[np.int64]:
    """Ascending placed items of a category, without ``item``; the ``n`` nearest are among them."""
    alike = _alike(catalogue, int(catalogue.category[item]))
    found = alike.placed
    if alike.tree is not None:
        position = on_sphere(catalogue, np.array([item]))[0]
        # Straight lines through the globe and ``distance_km`` differ a little in their order.
        nearest = np.atleast_1d(alike.tree.query(position, min(2 * n + 1, len(found)))[1])
        found = np.sort(found[nearest])
    without: NDArray[np.int64] = found[found != item]
    return without


@dataclass(frozen=True, slots=True)
class _Alike:
    """The items of one category with a position, in a tree where they are many, and those without.

    Both are ascending.
    """

    placed: NDArray[np.int64]
    nowhere: NDArray[np.int64]
    tree: KDTree | None


@lru_cache(maxsize=1_024)
def _alike(catalogue: Catalogue, category: int) -> _Alike:
    items = np.flatnonzero(catalogue.category == category)
    position = on_sphere(catalogue, items)
    has_position = np.isfinite(position.sum(axis=1))
    placed, nowhere = items[has_position], items[~has_position]
    if len(placed) < _MANY:
        return _Alike(placed, nowhere, None)
    from scipy.spatial import KDTree

    return _Alike(placed, nowhere, KDTree(position[has_position]))


def on_sphere(catalogue: Catalogue, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points of a sphere of radius one, shape ``(n, 3)``; NaN where there is no position."""
    lat = np.radians(catalogue.latitude_deg[items])
    lon = np.radians(catalogue.longitude_deg[items])
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
