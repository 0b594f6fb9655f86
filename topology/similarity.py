"""How alike two peers are, from what sealed hellos say."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from p2prec.models.geo import distance_km
from topology.cells import cell_centre
from topology.profile import FLIP, SKETCH_BITS, TOP_CATEGORIES

_PAIRS = 1 << 14  # both sides of a hello ask, and ask again when an advert is renewed
SIGMA_KM = 5.0  # distance over which geographic similarity falls to 1/e


def geographic_similarity(area: str, other: str) -> float:
    """``exp(-d / sigma)`` of the cells' centres; 0 where either is missing or no cell."""
    return _near(*sorted((area, other)))


@lru_cache(maxsize=_PAIRS)
def _near(area: str, other: str) -> float:
    here, there = cell_centre(area), cell_centre(other)
    if here is None or there is None:
        return 0.0
    km = distance_km(np.array(here[0]), np.array(here[1]), np.array(there[0]), np.array(there[1]))
    return math.exp(-float(km) / SIGMA_KM)


def semantic_similarity(sketch: bytes, other: bytes, *, flip: float = FLIP) -> float:
    """Estimated overlap of the preferred groups, 0 to 1, with the noise taken out.

    The expected product of two noisy bits is linear in the true ones; the estimate inverts it and
    divides by ``TOP_CATEGORIES``. Sketches of other lengths are like nobody's.
    """
    if len(sketch) != SKETCH_BITS or len(other) != SKETCH_BITS:
        return 0.0
    return _alike(*sorted((sketch, other)), flip)


@lru_cache(maxsize=_PAIRS)
def _alike(sketch: bytes, other: bytes, flip: float) -> float:
    a = (np.frombuffer(sketch, np.uint8) - flip / 2) / (1 - flip)
    b = (np.frombuffer(other, np.uint8) - flip / 2) / (1 - flip)
    return float(np.clip((a * b).sum() / TOP_CATEGORIES, 0.0, 1.0))
