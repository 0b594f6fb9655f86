"""What the ranker reads off a situation, a candidate, and what others say about it.

Features are computed where they are used and never leave. They come in three blocks, so that a
place that is new to the owner costs only what it has: of the owner's own places, of any candidate,
and of the situation, which all candidates share. In each block features lie in rows, so that what
is done to one of them runs along memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.geo import NEAR_KM
from p2prec.models.kinds import ALL_KINDS, Kinds, Usual, tried_shares
from p2prec.models.moments import GATE_FEATURES, Moment, category_columns
from p2prec.models.neighbourhoods import neighbourhoods_of
from p2prec.models.popularity import popularity
from p2prec.models.ranker_recall import Visits
from p2prec.models.start import Scaling
from p2prec.models.table import BIAS, OTHERS

CANDIDATE_FEATURES = (
    "new to you",
    "near",
    "near and you just moved",
    "near where you have been",
    "near a place you know",
    *ALL_KINDS,
    "few places around",
    "others go there",
)
SITUATION_FEATURES = (*GATE_FEATURES[1:], "just moved")
WHERE = slice(1, 5)  # rows of ``Reader.where`` among those of candidates
BY_KIND = slice(5, 5 + len(ALL_KINDS))
OF_ITEM = slice(5 + len(ALL_KINDS), len(CANDIDATE_FEATURES))  # the same in all situations
_AROUND_KM2 = 0.25  # below 500 m one place is as near to another as any


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
        others: Shape ``(n_items,)``, the statistic ``OTHERS`` without its echo.
        bias: Shape ``(n_items,)``.
        listened: What would have been heard of a place that everybody knows.
        usual: What others try.
    """

    others: NDArray[np.float32]
    bias: NDArray[np.float32]
    listened: float
    usual: Usual

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        *,
        table: NDArray[np.float32],
        own: NDArray[np.integer],
        tried: NDArray[np.float32],
        own_tried: NDArray[np.int32],
    ) -> Heard:
        """Take the echo out of the statistics.

        Args:
            catalogue: The realm's items.
            table: Shape ``(n_items, width)``.
            own: Shape ``(n_own,)``, all places that the owner knows today.
            tried: Shape ``(n_categories + 1, HOUR_BLOCKS)``, what gossip has gathered.
            own_tried: First visits of the owner, as of ``Moment.tried``, all of them.
        """
        others, total = table[:, OTHERS].copy(), float(tried.sum())
        echo = min(echo_of(others[own]), 0.5 * total)
        others[own] -= echo
        np.maximum(others, 0.0, out=others)
        without = tried - np.float32(echo) * tried_shares(catalogue, own_tried)
        return cls(
            others=others,
            bias=table[:, BIAS],
            listened=total - echo,
            usual=Usual.of(np.maximum(without, 0.0, out=without)[None]),
        )


class Reader:
    """Reads features, for one catalogue.

    Attributes:
        neighbourhoods: What lies where.
        column: Shape ``(n_items,)``, category column of each item.
        kinds: What speaks for categories.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.neighbourhoods = neighbourhoods_of(catalogue)
        self.column = category_columns(catalogue)
        self.kinds = Kinds(catalogue)

    def places(self, moments: Sequence[Moment]) -> NDArray[np.float32]:
        """Of the places that the owner knows, shape ``(len(PLACE_FEATURES), n_known)``.

        Those of one situation stand together.
        """
        return np.ascontiguousarray(np.concatenate([m.places for m in moments]).T)

    def situations(self, moments: Sequence[Moment]) -> NDArray[np.float32]:
        """Shape ``(len(SITUATION_FEATURES), n)``."""
        both = np.concatenate([m.situation for m in moments]).reshape(len(moments), -1)
        return np.ascontiguousarray(both[:, 1:].T)

    def visits(
        self, scaling: Scaling, moments: Sequence[Moment], starts: NDArray[np.int64] | None
    ) -> Visits:
        """The newest visits before ``n`` situations.

        Args:
            scaling: How their features are normalised.
            moments: The situations.
            starts: Shape ``(n,)``, where the places that are known in each situation begin; None
                where these are not asked about.
        """
        lengths = np.array([len(m.visited) for m in moments])
        of = np.repeat(np.arange(len(moments)), lengths)
        features = np.concatenate([m.visits for m in moments], axis=1, dtype=np.float32)
        place = np.empty(0, np.int64)
        if starts is not None:
            place = np.concatenate([m.visited for m in moments]) + starts.take(of)
        return Visits(
            features=scaling.normalised(features),
            starts=np.cumsum(lengths) - lengths,
            of=of,
            place=place,
        )

    def candidates(
        self,
        heard: Heard,
        moments: Sequence[Moment],
        new: NDArray[np.int32],
        *,
        known: NDArray[np.int32],
        of_known: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Of whatever competes: places that the owner knows, then those that are new in each case.

        Args:
            heard: What others say.
            moments: ``n`` situations.
            new: Shape ``(n, k)``, items that are looked at as if they were new to the owner.
            known: Shape ``(n_known,)``: of all situations the items of ``own``; or none at all.
            of_known: Shape ``(n_known,)``, the situation of each.

        Returns:
            Shape ``(len(CANDIDATE_FEATURES), n_known + n * k)``.
        """
        (n, k), n_known = new.shape, len(known)
        items = np.concatenate([known, new.ravel()])
        features = np.empty((len(CANDIDATE_FEATURES), len(items)), np.float32)
        features[0, :n_known], features[0, n_known:] = 0.0, 1.0
        if n_known:
            np.concatenate(self._known(moments), axis=1, out=features[WHERE, :n_known])
        features[WHERE, n_known:].reshape(-1, n, k)[...] = self.where(moments, new)
        of = np.concatenate([of_known, np.repeat(np.arange(n), k)])
        columns = self.column.take(items)
        self.kinds.of_candidates(heard.usual, moments, columns, of, out=features[BY_KIND])
        features[OF_ITEM] = self.of_items(heard, items)
        return features

    def of_items(
        self, heard: Heard, items: NDArray[np.int32] | slice
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is the same in all situations: how thinly places lie around it, its popularity."""
        others = popularity(heard.others[items], heard.listened)
        return self.neighbourhoods.thinness[items], others

    def where(self, moments: Sequence[Moment], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """How items lie to where the owner is and was, shape ``(4, n, k)``.

        Args:
            moments: ``n`` situations.
            items: Shape ``(n, k)``.
        """
        recent, share = _recent(moments)
        newest, nearest, around = self.neighbourhoods.lie(
            recent, share, items, least_km2=_AROUND_KM2
        )
        found = np.empty((4, *items.shape), np.float32)
        found[0], found[3] = _closeness(newest), _closeness(nearest)
        just = np.array([m.situation[-1] for m in moments])
        np.multiply(found[0], just[:, None], out=found[1])
        around += np.float32(1e-4)
        np.log(around, out=found[2])
        return found

    def _known(self, moments: Sequence[Moment]) -> list[NDArray[np.float32]]:
        """How the places that the owner knows lie, shape ``(4, n_own)``; kept with each moment."""
        fresh = [m for m in moments if "where" not in m.notes]
        if fresh:
            longest = max(len(m.own) for m in fresh)
            items = np.stack([np.resize(m.own, longest) for m in fresh])
            where = self.where(fresh, items)
            for row, moment in enumerate(fresh):
                moment.notes["where"] = where[:, row, : len(moment.own)].copy()
        return [m.notes["where"] for m in moments]


def _closeness(km2: NDArray[np.float32]) -> NDArray[np.float32]:
    km = np.sqrt(km2)
    km += np.float32(NEAR_KM)
    return np.negative(np.log(km, out=km), out=km)


def _recent(moments: Sequence[Moment]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Recent places and their shares, shape ``(n, m)`` each, the newest place first."""
    n = len(moments)
    share = np.concatenate([m.recent_share for m in moments]).reshape(n, -1)
    longest = int(np.count_nonzero(share, axis=1).max())
    recent = np.concatenate([m.recent for m in moments]).reshape(n, -1)
    return recent[:, :longest], share[:, :longest]
