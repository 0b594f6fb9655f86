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
from p2prec.models.moments import HOUR_BLOCKS, Moment, category_columns

_KIND_PRIOR = 20.0  # first visits that the habits of others are worth
_HEARD_VISITS = 200.0  # and where hours of a category are compared
_HOUR_PRIOR = 2.0  # visits at usual hours that each category starts with
_UNHEARD = 1e-5  # share of a category that nobody has tried

EXPLORE_FEATURES = (
    "near",
    "near and you just moved",
    "near where you have been",
    "kind of place you try",
    "one of few of its kind",
    "kind of place for this hour",
    "others go there",
)


def tried_shares(catalogue: Catalogue, tried: NDArray[np.int32]) -> NDArray[np.float32]:
    """Share of first visits by category and block of hours, sums to 1 (0 where there are none).

    Returns:
        Shape ``(n_categories + 1, HOUR_BLOCKS)``.
    """
    columns = len(catalogue.categories) + 1
    counts = np.bincount(tried, minlength=columns * HOUR_BLOCKS).reshape(columns, HOUR_BLOCKS)
    return (counts / max(1, len(tried))).astype(np.float32)


class Kinds:
    """What speaks for each category of places that an owner may try next.

    Own first visits are few, so that they are blended with those of others: a Dirichlet prior
    worth ``_KIND_PRIOR`` visits, as smoothing of a language model by its collection (Zhai &
    Lafferty, TOIS 2004, section 3).
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._columns = len(catalogue.categories) + 1
        n_places = np.bincount(category_columns(catalogue), minlength=self._columns)
        self._few = -np.log(n_places + 1.0)

    def features(
        self, heard: NDArray[np.float32], moments: Sequence[Moment]
    ) -> NDArray[np.float32]:
        """The three features of each category.

        Args:
            heard: Shape ``(n, n_categories + 1, HOUR_BLOCKS)``, what others try, any common scale.
            moments: ``n`` situations.

        Returns:
            Shape ``(n, n_categories + 1, 3)``: "kind of place you try", "one of few of its kind",
            "kind of place for this hour".
        """
        n, columns = len(moments), self._columns
        cells = columns * HOUR_BLOCKS
        n_tried = np.array([len(m.tried) for m in moments])
        tried = np.concatenate([m.tried for m in moments]) + np.repeat(
            np.arange(n) * cells, n_tried
        )
        own = np.bincount(tried, minlength=n * cells).reshape(n, columns, HOUR_BLOCKS)
        total = heard.sum((1, 2), dtype=np.float64)[:, None, None]
        listened = total > 0
        others = np.where(listened, heard / np.where(listened, total, 1.0), 1.0 / cells)
        by_kind = own.sum(2) + _KIND_PRIOR * (others.sum(2) + _UNHEARD) / (1 + _UNHEARD * columns)
        tries = np.log(by_kind / (n_tried + _KIND_PRIOR)[:, None])
        seen = own + listened * _HEARD_VISITS * others
        at_hour = seen[np.arange(n), :, [m.hour_block for m in moments]]
        usual = ((at_hour.sum(1) + 1.0) / (seen.sum((1, 2)) + HOUR_BLOCKS))[:, None]
        hour = np.log((at_hour + _HOUR_PRIOR * usual) / (seen.sum(2) + _HOUR_PRIOR) / usual)
        few = np.broadcast_to(self._few, tries.shape)
        return np.stack([tries, few, hour], axis=2).astype(np.float32)


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
        closeness: Shape ``(n_held, n_items)``, ``-log`` distance to each held place.
        around: Shape ``(n_items,)``, the feature "near where you have been".
    """

    closeness: NDArray[np.float32]
    around: NDArray[np.float32]


class Surroundings:
    """Closeness of every item to the places that owners go to, kept for a few of them."""

    def __init__(self, catalogue: Catalogue, *, capacity: int = 64) -> None:
        self._catalogue = catalogue
        self._column = lru_cache(capacity)(self._close_to)

    def of(self, moment: Moment) -> View:
        """The view from the places of a moment's sequence."""
        held = moment.sequence[moment.sequence >= 0]
        columns = [self._column(int(place)) for place in held]
        around: NDArray[np.float32] = np.mean([inverse for _, inverse in columns], axis=0)
        return View(
            closeness=np.stack([close for close, _ in columns]), around=np.log(around + 1e-4)
        )

    def _close_to(self, place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        lat, lon = self._catalogue.latitude_deg, self._catalogue.longitude_deg
        km = distance_km(lat, lon, lat[place], lon[place])
        return (-np.log(NEAR_KM + km)).astype(np.float32), ((0.5 + km) ** -1.5).astype(np.float32)
