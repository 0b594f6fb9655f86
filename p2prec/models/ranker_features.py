"""What the ranker reads off a situation, a candidate, and what others say about it.

Features are computed where they are used and never leave. They come in three blocks, so that a
place that is new to the owner costs only what it has: of the owner's own places, of any candidate,
and of the situation, which all candidates share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.geo import EARTH_RADIUS_KM, FAR_KM, NEAR_KM
from p2prec.models.habits import HABIT_FEATURES, KIND_FEATURES
from p2prec.models.kinds import KINDS_OF_OTHERS, Kinds, tried_shares
from p2prec.models.moments import GATE_FEATURES, RETURN_FEATURES, Moment, category_columns
from p2prec.models.popularity import popularity

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

PLACE_FEATURES = RETURN_FEATURES + HABIT_FEATURES
CANDIDATE_FEATURES = (
    "new to you",
    "near",
    "near and you just moved",
    "near where you have been",
    "near a place you know",
    *KINDS_OF_OTHERS,
    *KIND_FEATURES,
    "others go there",
)
SITUATION_FEATURES = (*GATE_FEATURES[1:], "just moved")
WHERE = slice(1, 5)  # columns of ``Reader.where`` among those of candidates
BY_KIND = slice(5, 5 + len(KINDS_OF_OTHERS) + len(KIND_FEATURES))
_AROUND_KM2 = 0.25  # below 500 m one place is as near to another as any
_NEAREST = 128  # places around one that count as its neighbourhood


def echo_of(said: NDArray[np.float32]) -> float:
    """How much of what others say about an owner's places is the owner's own word come back.

    Gossip carries every visit on and brings it back to where it came from. Of a place that nobody
    else goes to, the echo is all that is heard: hence it is at most the least that is heard of any
    own place.

    Args:
        said: Shape ``(n_own,)``, the statistic ``OTHERS`` of the owner's places.
    """
    return float(max(said.min(), 0.0)) if len(said) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What others say, without the owner's own word.

    Attributes:
        echo: As of ``echo_of``.
        listened: What would have been heard of a place that everybody knows.
        tried: Shape ``(n_categories + 1, HOUR_BLOCKS)``, first visits of others.
    """

    echo: float
    listened: float
    tried: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        *,
        said: NDArray[np.float32],
        tried: NDArray[np.float32],
        own_tried: NDArray[np.int32],
    ) -> Heard:
        """Take the echo out of the statistics.

        Args:
            catalogue: The realm's items.
            said: Shape ``(n_own,)``, ``OTHERS`` of all places that the owner knows today.
            tried: Shape ``(n_categories + 1, HOUR_BLOCKS)``, what gossip has gathered.
            own_tried: First visits of the owner, as of ``Moment.tried``, all of them.
        """
        echo = min(echo_of(said), 0.5 * float(tried.sum()))
        others = np.maximum(tried - echo * tried_shares(catalogue, own_tried), 0.0)
        return cls(echo=echo, listened=float(tried.sum()) - echo, tried=others)


class Neighbourhoods:
    """Distances within a catalogue, and the places around a place."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._n_items = len(catalogue)
        lat, lon = np.radians(catalogue.latitude_deg), np.radians(catalogue.longitude_deg)
        self._point = EARTH_RADIUS_KM * np.stack(
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1
        )
        self._placed = np.flatnonzero(np.isfinite(self._point).all(axis=1))
        self._everywhere = len(self._placed) == self._n_items
        self._tree: cKDTree | None = None
        self.around = lru_cache(4_096)(self._around)

    def km2(self, items: NDArray[np.integer], others: NDArray[np.integer]) -> NDArray[np.float32]:
        """Squared distances, along the chord, which is the arc here.

        Args:
            items: Shape ``(n, k)``.
            others: Shape ``(n, m)``.

        Returns:
            Shape ``(n, k, m)``.
            Where a position is missing, the distance is ``FAR_KM``.
        """
        inner = self._point[items] @ self._point[others].transpose(0, 2, 1)
        km2 = np.maximum(2.0 * (EARTH_RADIUS_KM**2 - inner), 0.0).astype(np.float32)
        return km2 if self._everywhere else np.where(np.isnan(km2), np.float32(FAR_KM**2), km2)

    def _around(self, item: int) -> NDArray[np.int32]:
        """The places nearest to one, itself included, ascending; none without a position."""
        if not np.isfinite(self._point[item]).all():
            return np.empty(0, np.int32)
        if self._tree is None:
            from scipy.spatial import cKDTree

            self._tree = cKDTree(self._point[self._placed])
        n = min(_NEAREST, len(self._placed))
        _, at = self._tree.query(self._point[item], k=n)
        return np.sort(self._placed[np.atleast_1d(at)]).astype(np.int32)


class Reader:
    """Reads features, for one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.neighbourhoods = _neighbourhoods(catalogue)
        self._column = category_columns(catalogue)
        self._kinds = Kinds(catalogue)

    def places(self, moment: Moment) -> NDArray[np.float32]:
        """Of the places that the owner knows, shape ``(n_own, len(PLACE_FEATURES))``."""
        return np.concatenate([moment.returning, moment.habits.places], axis=1)

    def situation(self, moment: Moment) -> NDArray[np.float32]:
        """Shape ``(len(SITUATION_FEATURES),)``."""
        return np.append(moment.gate[1:], np.float32(moment.just_moved))

    def by_kind(self, heard: Heard, moments: Sequence[Moment]) -> NDArray[np.float32]:
        """What others try and own habits, shape ``(n, n_categories + 1, n_features)``."""
        others = self._kinds.features(heard.tried[None], moments)
        habits = np.empty((*others.shape[:2], len(KIND_FEATURES)), np.float32)
        for row, moment in enumerate(moments):
            habits[row] = moment.habits.no_kind
            habits[row, moment.habits.kinds] = moment.habits.by_kind
        return np.concatenate([others, habits], axis=2)

    def where(self, moments: Sequence[Moment], items: NDArray[np.integer]) -> NDArray[np.float32]:
        """How items lie to where the owner is and was, shape ``(n, k, 4)``.

        Args:
            moments: ``n`` situations.
            items: Shape ``(n, k)``.
        """
        sequence = np.stack([m.sequence for m in moments])
        held = sequence >= 0
        longest = int(held.sum(1).max())
        sequence, held = sequence[:, -longest:], held[:, -longest:]
        # Where there is none, the newest stands for it, and does not count.
        filled = np.where(held, sequence, sequence[:, -1:])
        km2 = self.neighbourhoods.km2(items, filled)
        moved = np.array([m.just_moved for m in moments], np.float32)[:, None]
        found = np.empty((*items.shape, 4), np.float32)
        found[..., 0] = -np.log(NEAR_KM + np.sqrt(km2[..., -1]))
        found[..., 1] = found[..., 0] * moved
        found[..., 3] = -np.log(NEAR_KM + np.sqrt(km2.min(axis=2)))
        km2 += np.float32(_AROUND_KM2)
        share = (held / held.sum(1, keepdims=True)).astype(np.float32)
        around = np.matmul(np.reciprocal(km2, out=km2), share[:, :, None])[..., 0]
        found[..., 2] = np.log(around + np.float32(1e-4))
        return found

    def known(self, moment: Moment) -> NDArray[np.float32]:
        """How the places that the owner knows lie, shape ``(n_own, 4)``; kept with the moment."""
        if "where" not in moment.notes:
            moment.notes["where"] = self.where([moment], moment.own[None])[0]
        return moment.notes["where"]

    def columns(self, items: NDArray[np.integer]) -> NDArray[np.int64]:
        """Column of the category of each item, in ``by_kind``."""
        columns: NDArray[np.int64] = self._column[items]
        return columns


def others_go_there(
    said: NDArray[np.float32], heard: Heard, *, own: NDArray[np.bool_] | bool
) -> NDArray[np.float32]:
    """The feature "others go there" of places.

    Args:
        said: Their statistic ``OTHERS``.
        heard: What others say.
        own: Whether the owner knows them today: there the echo is left out.
    """
    return popularity(np.maximum(said - heard.echo * np.asarray(own), 0.0), heard.listened)


@lru_cache(maxsize=8)
def _neighbourhoods(catalogue: Catalogue) -> Neighbourhoods:
    return Neighbourhoods(catalogue)
