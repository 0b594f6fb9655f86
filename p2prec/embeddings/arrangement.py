"""Orders and groups of a catalogue's items, the same in all peers of a realm without a message.

Methods with a server cluster items by k-means or METIS. Their result hangs on the rounding of the
machine that ran them. Here items are put into an order of whole numbers, by category and then
along a Hilbert curve (Hilbert, Math. Annalen 1891), and the order is cut into runs of equal length:
near places of one kind come together, and every machine finds the same groups.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.initial import realm_generator

_BITS = 16  # of each coordinate on the curve: about 600 m on the globe, far less in a city
_UNPLACED = np.int64(1) << 2 * _BITS


@lru_cache(maxsize=8)
def kindred_order(catalogue: Catalogue) -> NDArray[np.int64]:
    """The place of each item among those alike, shape ``(n_items,)``, read-only.

    By category, then along a Hilbert curve, then at random: items without a position that share a
    category are in no order that a catalogue's numbering could bend.
    """
    drawn = realm_generator(catalogue.digest, "kindred").permutation(len(catalogue))
    order = np.lexsort((drawn, _along_curve(catalogue), catalogue.category))
    places = np.empty(len(catalogue), np.int64)
    places[order] = np.arange(len(catalogue))
    places.setflags(write=False)
    return places


@lru_cache(maxsize=8)
def random_order(catalogue: Catalogue, name: str) -> NDArray[np.int64]:
    """A permutation of the items, shape ``(n_items,)``, read-only; another for each ``name``."""
    places = realm_generator(catalogue.digest, name).permutation(len(catalogue))
    places.setflags(write=False)
    return places


def cut(places: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """``n`` runs of an order, as equal as can be: the run of each item."""
    return places * n // len(places)


def _along_curve(catalogue: Catalogue) -> NDArray[np.int64]:
    """Whole numbers along a Hilbert curve through the box that holds all items."""
    known = np.isfinite(catalogue.latitude_deg) & np.isfinite(catalogue.longitude_deg)
    found = np.full(len(catalogue), _UNPLACED)
    if not known.any():
        return found
    micro = np.round(
        1e6 * np.stack([catalogue.longitude_deg[known], catalogue.latitude_deg[known]])
    ).astype(np.int64)
    low = micro.min(1, keepdims=True)
    span = int((micro - low).max()) + 1
    x, y = ((micro - low) << _BITS) // span
    number = np.zeros(len(x), np.int64)
    side = np.int64(1) << _BITS - 1
    while side:  # quadrant by quadrant, each turned so that the curve goes on where it stopped
        right, upper = (x & side > 0).astype(np.int64), (y & side > 0).astype(np.int64)
        number += side * side * ((3 * right) ^ upper)
        turned = upper == 0
        flip = turned & (right == 1)
        x, y = np.where(flip, side - 1 - x, x), np.where(flip, side - 1 - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
        side >>= 1
    found[known] = number
    return found
