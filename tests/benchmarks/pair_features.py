"""What the visits of all others could say of places: candidates for features of the ranker.

Each is a column over the whole catalogue in one situation of one owner, from exact counts over
all people, from which the owner's own are taken out (``OthersVisits.without``). Most are logarithms
of a lift: how much likelier a place is than by popularity alone, with a prior worth a few visits.
A step from one place to another counts where at most half a day lies between, once a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.moments import category_columns

Floats = NDArray[np.float32]
Cells = tuple[NDArray[np.int64], ...]

GROUPS = {
    "popularity, logarithm": ("people",),
    "transitions of places": ("next", "next of last 5", "next of all own", "same day"),
    "transitions of kinds": ("next of kind", "kind after kind"),
    "item-kNN, user-kNN": ("item-kNN", "item-kNN of last 5", "user-kNN"),
    "people alike": ("people of such kinds", "64 people alike"),
    "hours": ("hours of kind", "hours of place"),
    "loyalty": ("visits a visitor", "came back"),
    "lately": ("lately",),
}
FEATURES = tuple(name for names in GROUPS.values() for name in names)
_DAY_S, _HOUR_S = 86_400.0, 3_600.0
_SOON_S = 12 * _HOUR_S
_BLOCKS = 16  # eight of three hours, on weekdays and at weekends
_NIGHT_H = 4.0  # a day of visits ends then
_RECENT, _FADING = 5, 0.7  # places before the present one, and how each counts less
FEW = 0.3  # people whom a place has beside those counted
MONTH_S = 30 * _DAY_S


class OthersVisits:
    """Counts over all people; ``without`` one of them while its situations are looked at."""

    def __init__(self, catalogue: Catalogue, histories: Sequence[History]) -> None:
        n, k = len(catalogue), len(catalogue.categories) + 1
        self._longitude_deg = catalogue.longitude_deg
        self._column = category_columns(catalogue)
        shapes = {
            "people": (n,),
            "visits": (n,),
            "back": (n,),
            "next": (n, n),
            "same_day": (n, n),
            "from_kind": (k, n),
            "kinds": (k, k),
            "hours": (n, _BLOCKS),
            "hours_kind": (k, _BLOCKS),
        }
        self._counts = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self._parts = [self._part(history) for history in histories]
        for part in self._parts:
            self._add(part, 1.0)
        owns = [np.unique(history.item) for history in histories]
        at = np.concatenate(owns), np.repeat(np.arange(len(owns)), [len(o) for o in owns])
        self._visitors = sparse.csr_matrix((np.ones(len(at[0]), np.float32), at), (n, len(owns)))
        self._n_known = np.array([len(own) for own in owns], np.float32)
        self._taste = np.stack([self._kinds_of(own) for own in owns])
        self._time_s = np.concatenate([h.timestamp_s for h in histories]).astype(np.float64)
        self._item = np.concatenate([h.item for h in histories])
        self._who = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
        self._gone = -1

    @contextmanager
    def without(self, person: int) -> Iterator[None]:
        """Nothing that one person did is counted."""
        self._add(self._parts[person], -1.0)
        self._gone = person
        yield
        self._add(self._parts[person], 1.0)
        self._gone = -1

    def columns(self, past: History, now_s: float) -> dict[str, Floats]:
        """All features by name, shape ``(n_items,)`` each.

        Args:
            past: What the owner did before.
            now_s: When it is now.
        """
        # Sums and differences of floats: what is nothing may come out just below it.
        c = {name: np.maximum(count, 0.0) for name, count in self._rows(past).items()}
        people = np.maximum(self._counts["people"], 0.0)
        usual = (people + FEW) / (people + FEW).sum()
        fading = _FADING ** np.arange(len(past.item[-_RECENT:]), dtype=np.float32)
        found = {
            "people": np.log(people + FEW),
            "next": _lift(c["next"][-1], usual, 5.0),
            "next of last 5": _lift(fading[::-1] @ c["next"], usual, 5.0),
            "next of all own": _lift(c["next of own"], usual, 20.0),
            "same day": _lift(c["same_day"], usual, 5.0),
            "next of kind": _lift(c["from_kind"], usual, 50.0),
            "kind after kind": _lift(c["kind"], c["kinds"] / c["kinds"].sum() + 1e-6, 1.0)[
                self._column
            ],
            **self._of_people(past, people, usual, fading),
            **self._of_hours(past, now_s),
        }
        found |= self._loyalty(people)
        found["lately"] = self._lately(now_s, usual)
        return {name: found[name].astype(np.float32) for name in FEATURES}

    def _rows(self, past: History) -> dict[str, Floats]:
        counts, here = self._counts, int(past.item[-1])
        kind = int(self._column[here])
        return {
            "next": counts["next"][past.item[-_RECENT:]],
            "next of own": counts["next"][np.unique(past.item)].sum(0),
            "same_day": counts["same_day"][here],
            "from_kind": counts["from_kind"][kind],
            "kind": counts["kinds"][kind],
            "kinds": counts["kinds"].sum(0),
        }

    def _of_people(
        self, past: History, people: Floats, usual: Floats, fading: Floats
    ) -> dict[str, Floats]:
        """What those do who know the same places, or the same kinds of places."""
        own, recent = np.unique(past.item), past.item[-_RECENT:]
        weights = np.zeros((2, len(people)), np.float32)
        weights[0, own] = 1.0 / np.sqrt(people[own] + 3.0)
        weights[1, recent] = fading[::-1] / np.sqrt(people[recent] + 3.0)
        common = self._visitors.T @ weights.T
        taste = (self._taste @ self._kinds_of(own)) ** 4
        alike = {
            "item-kNN": common[:, 0],
            "item-kNN of last 5": common[:, 1],
            "user-kNN": _only_most(common[:, 0] / np.sqrt(self._n_known), 50),
            "people of such kinds": taste,
            "64 people alike": (_only_most(common[:, 0] + 1e-3 * taste, 64) > 0).astype(float),
        }
        found = {}
        for name, likeness in alike.items():
            weight = likeness.copy()
            weight[self._gone] = 0.0
            count = self._visitors @ weight
            found[name] = _lift(count, usual, 0.1 * float(count.sum()) + 1e-3)
        return found

    def _of_hours(self, past: History, now_s: float) -> dict[str, Floats]:
        """When others go to places, and to kinds of places, beside when they go anywhere."""
        now = int(self._block(past.item[-1:], np.array([now_s]))[0])
        kinds = np.maximum(self._counts["hours_kind"], 0.0)
        ever = kinds[:, now].sum() / kinds.sum()
        kind = (kinds[:, now] + 1e-3 * ever) / (kinds.sum(1) + 1e-3)
        hours, usual = np.maximum(self._counts["hours"], 0.0), kind[self._column]
        place = (hours[:, now] + 5.0 * usual) / (hours.sum(1) + 5.0)
        return {
            "hours of kind": np.log(kind / ever + 1e-3)[self._column],
            "hours of place": np.log(place / usual + 1e-3),
        }

    def _loyalty(self, people: Floats) -> dict[str, Floats]:
        """How often those who know a place go there."""
        visits, back = self._counts["visits"], self._counts["back"]
        return {
            "visits a visitor": np.log((np.maximum(visits, 0.0) + 6.0) / (people + 3.0)),
            "came back": (np.maximum(back, 0.0) + 1.2) / (people + 3.0),
        }

    def _lately(self, now_s: float, usual: Floats) -> Floats:
        """Whether others went there in the last weeks rather than earlier or later."""
        counted = (self._time_s < now_s) & (self._who != self._gone)
        weight = counted * np.exp(np.minimum(self._time_s - now_s, 0.0) / MONTH_S)
        recent = np.bincount(self._item, weight, len(usual))
        visits = np.maximum(self._counts["visits"], 0.0)
        total, some = recent.sum(), 0.5 * recent.sum() * usual + 0.05
        found: Floats = np.log((recent + some) / (visits * total / visits.sum() + some))
        return found

    def _part(self, history: History) -> dict[str, tuple[Cells, NDArray[np.floating]]]:
        """What one person adds to each count: where, and how much."""
        item, time_s = history.item.astype(np.int64), history.timestamp_s.astype(np.float64)
        column = self._column
        own, visits = np.unique(item, return_counts=True)
        soon = (np.diff(time_s) <= _SOON_S) & (item[1:] != item[:-1])
        before, after = item[:-1][soon], item[1:][soon]
        block = self._block(item, time_s)
        day = np.floor((time_s / _HOUR_S + self._shift_h(item) - _NIGHT_H) / 24.0)
        days = [np.unique(part) for part in np.split(item, np.flatnonzero(np.diff(day)) + 1)]
        met = [np.stack(np.meshgrid(d, d)).reshape(2, -1) for d in days]
        together = np.concatenate(met, axis=1)
        together = together[:, together[0] != together[1]]
        steps = max(len(before), 1)
        return {
            "people": ((own,), np.ones(len(own))),
            "visits": ((own,), visits.astype(float)),
            "back": ((own,), (visits > 1).astype(float)),
            "next": _once(before, after),
            "same_day": _once(*together),
            "from_kind": _once(column[before], after),
            "kinds": _counted(column[before], column[after], scale=1.0 / steps),
            "hours": _counted(item, block, root=True),
            "hours_kind": _counted(column[item], block, scale=1.0 / len(item)),
        }

    def _add(self, part: dict[str, tuple[Cells, NDArray[np.floating]]], sign: float) -> None:
        for name, (cells, amount) in part.items():
            self._counts[name][cells] += (sign * amount).astype(np.float32)

    def _kinds_of(self, own: NDArray[np.integer]) -> Floats:
        shares = np.bincount(self._column[own], minlength=len(self._counts["kinds"])) / len(own)
        return np.sqrt(shares).astype(np.float32)

    def _shift_h(self, item: NDArray[np.integer]) -> NDArray[np.float64]:
        return np.nan_to_num(self._longitude_deg[item] / 15.0)

    def _block(self, item: NDArray[np.integer], time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        hours = time_s / _HOUR_S + self._shift_h(item)
        weekend = (np.floor(hours / 24.0) + 3) % 7 >= 5
        return (hours % 24 // 3 + 8 * weekend).astype(np.int64)


def _once(*cells: NDArray[np.int64]) -> tuple[Cells, NDArray[np.floating]]:
    found = np.unique(np.stack(cells), axis=1)
    return tuple(found), np.ones(found.shape[1])


def _counted(
    *cells: NDArray[np.int64], scale: float = 1.0, root: bool = False
) -> tuple[Cells, NDArray[np.floating]]:
    found, count = np.unique(np.stack(cells), axis=1, return_counts=True)
    return tuple(found), np.sqrt(count) if root else count * scale


def _only_most(likeness: NDArray[np.floating], n: int) -> NDArray[np.floating]:
    """Zero but for the ``n`` largest."""
    n = min(n, len(likeness))
    return np.where(likeness >= np.partition(likeness, -n)[-n], likeness, 0.0)


def _lift(count: Floats, usual: Floats, prior: float) -> Floats:
    """Logarithm of a share, with a prior of so many counts, over the usual share."""
    lifted: Floats = np.log((count + prior * usual) / ((count.sum() + prior) * usual))
    return lifted
