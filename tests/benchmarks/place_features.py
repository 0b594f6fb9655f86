"""What one place alone could say more, as peers would know it: candidates for the ranker.

Two sorts of columns over the whole catalogue, in one situation of one owner. *Averaged* ones need a
statistic that gossip averages beside the share of people who know a place. What each person but the
owner adds to it is as of the end of its own history, whatever moment is asked about, since a peer
says nothing else; hours and loyalty, of all visits, are so in ``pair_features`` already. *Local*
ones are computed from what every peer has: that share, the positions and categories of places, and
its own history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.geo import EARTH_RADIUS_KM, NEAR_KM, on_sphere
from tests.benchmarks.pair_features import FEW, MONTH_S, Floats, OthersVisits

GROUPS = {
    "hours": ("hours of kind", "hours of place"),
    "loyalty": ("visits a visitor", "came back"),
    "lately, by the calendar": ("this month",),
    "lately, by own visits": ("in the newest visits",),
    "found lately": ("among the newest places",),
    "reach": ("reach", "home, beside reach"),
    "home": ("near home", "near all own", "near where you are at such hours"),
    "distance by rank": ("nearer places", "nearer popularity"),
    "distance by rank in its kind": ("nearer of its kind", "share of its kind here"),
    "popularity around": ("density", "popularity around"),
    "rank around": ("rank around", "share around"),
    "kind around": ("share of its kind around", "more of its kind around"),
}
FEATURES = tuple(name for names in GROUPS.values() for name in names)
AVERAGED = ("hours", "loyalty", "lately, by the calendar", "lately, by own visits",
            "found lately", "reach")  # fmt: skip
LOCAL = tuple(name for name in GROUPS if name not in AVERAGED)
_VISITS, _PLACES = 32.0, 8.0  # own visits, and own first visits, after which one fades
_FAR_KM = 32.0  # from home: as far as any
_AROUND = 128
_LEAST_KM2 = 0.25


class AsOfTheEnd(OthersVisits):
    """As ``OthersVisits``, of single places only and without a look at the moment of others."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        super().__init__(catalogue, histories)
        n = len(catalogue)
        point = EARTH_RADIUS_KM * on_sphere(catalogue, np.arange(n))
        self._km = np.stack([np.linalg.norm(point - p, axis=1) for p in point]).astype(np.float32)
        self._order = np.argsort(self._km, axis=1, kind="stable")
        self._around = self._order[:, :_AROUND]
        self._density = -np.log(self._km[np.arange(n), self._around[:, -1]] + NEAR_KM)
        same = self._column[self._around] == self._column[:, None]
        self._alike_around = same.astype(np.float32)
        newest_s = max(int(h.timestamp_s[-1]) for h in histories)
        said = [self._said_by(history, newest_s) for history in histories]
        self._said = {name: np.concatenate([one[name] for one in said]) for name in said[0]}
        self._speaker = np.repeat(np.arange(len(said)), [len(one["item"]) for one in said])
        self._mean: dict[str, Floats] = {}
        self._of_popularity: dict[str, Floats] = {}

    def _said_by(self, history: History, newest_s: int) -> dict[str, NDArray[np.floating]]:
        """What one person adds to the places that it knows, from 0 to 1 each."""
        own, first, visits = np.unique(history.item, return_index=True, return_counts=True)
        last = len(history) - 1 - np.unique(history.item[::-1], return_index=True)[1]
        found_after = len(own) - 1 - np.argsort(np.argsort(first))
        home_km = self._km[own[visits.argmax()], own]
        return {
            "item": own,
            "this month": np.exp((history.timestamp_s[last] - newest_s) / MONTH_S),
            "in the newest visits": np.exp((last - len(history) + 1) / _VISITS),
            "among the newest places": np.exp(-found_after / _PLACES),
            "reach": np.minimum(np.log1p(home_km) / np.log1p(_FAR_KM), 1.0),
        }

    @contextmanager
    def without(self, person: int) -> Iterator[None]:
        """Nothing that one person did is counted."""
        with super().without(person):
            people = np.maximum(self._counts["people"], 0.0)
            others = self._speaker != person
            self._mean = {}
            for name in tuple(self._said)[1:]:
                amount = self._said[name] * others
                total = np.bincount(self._said["item"], amount, len(people))
                usual = total.sum() / people.sum()
                self._mean[name] = (total + 2.0 * usual) / (people + 2.0)
            self._of_popularity = self._from_popularity(people)
            yield

    def columns(self, past: History, now_s: float) -> dict[str, Floats]:
        """As of ``OthersVisits``."""
        people = np.maximum(self._counts["people"], 0.0)
        found = {
            **self._of_hours(past, now_s),
            **self._loyalty(people),
            **{name: np.log(mean) for name, mean in self._mean.items() if name != "reach"},
            **self._of_home(past, now_s),
            **self._by_rank(int(past.item[-1]), people),
            **self._of_popularity,
        }
        return {name: found[name].astype(np.float32) for name in FEATURES}

    def _from_popularity(self, people: Floats) -> dict[str, Floats]:
        """How a place stands among those around it; the same in all situations of an owner."""
        around = people[self._around] + FEW
        of_kind = (around * self._alike_around).sum(1)
        return {
            "density": self._density,
            "popularity around": np.log(around.mean(1)),
            "rank around": (around > people[:, None] + FEW).mean(1),
            "share around": np.log((people + FEW) / around.mean(1)),
            "share of its kind around": np.log((people + FEW) / of_kind),
            "more of its kind around": np.log(self._alike_around.sum(1)),
        }

    def _of_home(self, past: History, now_s: float) -> dict[str, Floats]:
        """How places lie to all that the owner knows, and to where it is at such hours."""
        own, visits = np.unique(past.item, return_counts=True)
        home_km = self._km[own[visits.argmax()]]
        block = self._block(past.item, past.timestamp_s.astype(np.float64))
        now = self._block(past.item[-1:], np.array([now_s]))[0]
        at, then = np.unique(past.item[block == now], return_counts=True)
        reach = self._mean["reach"]
        gone = np.minimum(np.log1p(home_km) / np.log1p(_FAR_KM), 1.0)
        near = visits @ (1.0 / (self._km[own] ** 2 + _LEAST_KM2)) / len(past)
        near_then = then @ (1.0 / (self._km[at] ** 2 + _LEAST_KM2))
        return {
            "reach": reach,
            "home, beside reach": gone - reach,
            "near home": -np.log(home_km + NEAR_KM),
            "near all own": np.log(near + 1e-4),
            "near where you are at such hours": np.log((near_then + near) / (then.sum() + 1)),
        }

    def _by_rank(self, here: int, people: Floats) -> dict[str, Floats]:
        """How many other places lie nearer: rank distance (Noulas et al., PLoS ONE 2012)."""
        n, order, km = len(people), self._order[here], self._km[here]
        rank, passed = np.empty(n, np.float32), np.empty(n, np.float32)
        rank[order] = np.arange(n)
        before = np.cumsum(people[order])
        passed[order] = before - people[order]
        by_kind = order[np.argsort(self._column[order], kind="stable")]
        kinds = self._column[by_kind]
        in_kind = np.empty(n, np.float32)
        in_kind[by_kind] = np.arange(n) - np.searchsorted(kinds, kinds)
        pull = (people + FEW) / (km + NEAR_KM)
        of_kind = np.bincount(self._column, pull)[self._column]
        return {
            "nearer places": -np.log1p(rank),
            "nearer popularity": -np.log(passed / before[-1] + 1e-4),
            "nearer of its kind": -np.log1p(in_kind),
            "share of its kind here": np.log(pull / of_kind),
        }
