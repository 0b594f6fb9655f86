"""Cells: how a position leaves a device, coarse for all and finer inside sealed messages."""

from __future__ import annotations

import h3
import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History

COARSE_RESOLUTION = 4  # about 1,770 km2: adverts of an open realm
AREA_RESOLUTION = 6  # about 36 km2: sealed messages only
NOWHERE = "nowhere"  # the coarse cell of realms without positions
_KM_PER_DEG = 111.2
_BLUR_EPSILON_PER_KM = float(np.log(4))  # mean shift 1.4 km


def coarse_cell(*, latitude_deg: float, longitude_deg: float) -> str:
    """The cell that an advert shows."""
    return str(h3.latlng_to_cell(latitude_deg, longitude_deg, COARSE_RESOLUTION))


def area_cell(*, latitude_deg: float, longitude_deg: float) -> str:
    """The cell that a sealed hello names."""
    return str(h3.latlng_to_cell(latitude_deg, longitude_deg, AREA_RESOLUTION))


def cell_elsewhere(catalogue: Catalogue, number: int) -> str:
    """The coarse cell of one of a realm's places, for looking at others than those around.

    Drawn by place, so that cells with more to do in them, and likely more people, come more often;
    it says nothing of an owner.

    Args:
        catalogue: The realm's items.
        number: Drawn at random, not negative, far beyond the number of items.

    Returns:
        The cell, or ``NOWHERE`` where the item that was drawn has no position.
    """
    item = number % len(catalogue)
    at = float(catalogue.latitude_deg[item]), float(catalogue.longitude_deg[item])
    if not np.isfinite(at).all():
        return NOWHERE
    return coarse_cell(latitude_deg=at[0], longitude_deg=at[1])


def cell_centre(cell: str) -> tuple[float, float] | None:
    """Latitude and longitude of a cell's centre, or None where the text is no cell."""
    if not h3.is_valid_cell(cell):
        return None
    latitude, longitude = h3.cell_to_latlng(cell)
    return float(latitude), float(longitude)


def activity_centre(catalogue: Catalogue, history: History) -> tuple[float, float] | None:
    """Median position of the owner's interactions; None where there is none."""
    latitude = catalogue.latitude_deg[history.item]
    longitude = catalogue.longitude_deg[history.item]
    held = np.isfinite(latitude) & np.isfinite(longitude)
    if not held.any():
        return None
    return float(np.median(latitude[held])), float(np.median(longitude[held]))


def home_cell(catalogue: Catalogue, history: History) -> str:
    """The coarse cell of the owner's activity; ``NOWHERE`` where it has no position."""
    centre = activity_centre(catalogue, history)
    if centre is None:
        return NOWHERE
    return coarse_cell(latitude_deg=centre[0], longitude_deg=centre[1])


def blurred_area(catalogue: Catalogue, history: History, *, rng: np.random.Generator) -> str:
    """Area cell of the blurred activity centre; "" where the owner has no position."""
    centre = activity_centre(catalogue, history)
    if centre is None:
        return ""
    at = blurred(centre, epsilon_per_km=_BLUR_EPSILON_PER_KM, rng=rng)
    return area_cell(latitude_deg=at[0], longitude_deg=at[1])


def blurred(
    position: tuple[float, float], *, epsilon_per_km: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Planar Laplace noise (Andres et al., CCS 2013): geo-indistinguishability.

    To be drawn once and kept: fresh noise is averaged away.

    Args:
        position: Latitude and longitude in degrees.
        epsilon_per_km: Privacy parameter; the mean shift is ``2 / epsilon_per_km`` km.
        rng: Source of the noise.
    """
    # The radius of a planar Laplace is Gamma(2): the closed form with Lambert's W is the same law.
    radius_km = rng.gamma(2.0, 1.0 / epsilon_per_km)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    latitude = position[0] + radius_km * np.sin(angle) / _KM_PER_DEG
    scale = max(np.cos(np.radians(position[0])), 0.01)
    longitude = position[1] + radius_km * np.cos(angle) / (_KM_PER_DEG * scale)
    return float(np.clip(latitude, -90, 90)), float((longitude + 180.0) % 360.0 - 180.0)
