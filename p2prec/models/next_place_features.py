"""What the next-place model reads off an owner's situation and the public catalogue.

Features are computed where they are used and never leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.geo import NEAR_KM, distance_km
from p2prec.models.kinds import KINDS_OF_OTHERS
from p2prec.models.moments import Moment

EXPLORE_FEATURES = (
    "near",
    "near and you just moved",
    "near where you have been",
    *KINDS_OF_OTHERS,
    "others go there",
)


def explore_features(
    catalogue: Catalogue, moments: Sequence[Moment], candidates: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of places that the owner may not know.

    Args:
        catalogue: The realm's items.
        moments: ``n`` situations.
        candidates: Shape ``(n, k)``, item rows.

    Returns:
        The three geographic features, shape ``(n, k, 3)``, and ``-log`` of the distance between
        each candidate and each place of the sequence, shape ``(n, k, SEQUENCE_LENGTH)``.
    """
    sequence = np.stack([m.sequence for m in moments])
    held = sequence >= 0
    lat, lon = catalogue.latitude_deg, catalogue.longitude_deg
    km = distance_km(
        lat[candidates][:, :, None],
        lon[candidates][:, :, None],
        lat[sequence][:, None, :],
        lon[sequence][:, None, :],
    )
    closeness = -np.log(NEAR_KM + km)
    just_moved = np.array([m.just_moved for m in moments], np.float32)[:, None]
    around = ((0.5 + km) ** -1.5 * held[:, None, :]).sum(2) / held.sum(1)[:, None]
    features = np.stack(
        [
            closeness[:, :, -1],
            closeness[:, :, -1] * just_moved,
            np.log(around + 1e-4),
        ],
        axis=2,
    )
    return features.astype(np.float32), closeness.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How all items lie to the places of one sequence.

    Attributes:
        places: Shape ``(n_places,)``, each of the sequence's once, ascending.
        of_held: Shape ``(n_held,)``, which of them stands at each place of the sequence.
        closeness: Of each of ``places``: shape ``(n_items,)``, ``-log`` distance to it.
        around: Shape ``(n_items,)``, the feature "near where you have been".
    """

    places: NDArray[np.int32]
    of_held: NDArray[np.intp]
    closeness: Sequence[NDArray[np.float32]]
    around: NDArray[np.float32]

    @property
    def near(self) -> NDArray[np.float32]:
        """Closeness to the newest place."""
        return self.closeness[int(self.of_held[-1])]


class Surroundings:
    """Closeness of every item to the places that owners go to, kept for a few of them."""

    def __init__(self, catalogue: Catalogue, *, capacity: int = 64) -> None:
        self._catalogue = catalogue
        self._column = lru_cache(capacity)(self._close_to)

    def of(self, moment: Moment) -> View:
        """The view from the places of a moment's sequence."""
        held = moment.sequence[moment.sequence >= 0]
        places, of_held = np.unique(held, return_inverse=True)
        columns = [self._column(place) for place in places.tolist()]
        shares = (np.bincount(of_held) / len(held)).astype(np.float32)
        around = np.full(len(self._catalogue), 1e-4, np.float32)
        for share, (_, inverse) in zip(shares, columns, strict=True):
            around += share * inverse
        return View(
            places=places,
            of_held=of_held,
            closeness=[close for close, _ in columns],
            around=np.log(around, out=around),
        )

    def _close_to(self, place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        lat, lon = self._catalogue.latitude_deg, self._catalogue.longitude_deg
        km = distance_km(lat, lon, lat[place], lon[place])
        return (-np.log(NEAR_KM + km)).astype(np.float32), ((0.5 + km) ** -1.5).astype(np.float32)
