"""When and where a recommendation is asked for, as a few classes that all peers count alike.

Of a situation: the block of hours, the day of the week, the category of the last item. Of a
candidate in it: how far it is from the last item, and its category. Each has one more class for
what is not known, as before the first interaction. A class is a row of one table that a family
shares; only these rows' numbers are computed here, and they stay on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.geo import distance_km
from p2prec.models.moments import (
    HOUR_BLOCKS,
    Moment,
    Timeline,
    category_columns,
    hour_block,
    weekday,
)

_WEEKDAYS = 7
_EDGES_KM = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # an unknown position is 20 km away
_MAX_CATEGORIES = 255  # the largest; the others are as an unknown one, or updates would be large
N_SITUATION, N_CANDIDATE = 3, 2  # fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrounded:
    """Rows of the table of classes.

    Attributes:
        situation: Shape ``(n, N_SITUATION)``.
        candidates: Shape ``(n, k, N_CANDIDATE)``.
    """

    situation: NDArray[np.int64]
    candidates: NDArray[np.int64]

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Surrounded:
        """No fields at all, of ``(n, k)`` candidates."""
        n, k = shape
        return cls(situation=np.empty((n, 0), np.int64), candidates=np.empty((n, k, 0), np.int64))


class Classes:
    """Which class of each field things belong to, for one catalogue.

    Attributes:
        size: Rows of the table of classes.
        near: Row of the nearest class of distance; the farther ones and "unknown" follow.
        category: Shape ``(n_items,)``, row of each item's category.
        n_near: Classes of distance, with "unknown".
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        column, n = category_columns(catalogue), len(catalogue.categories)
        count = np.bincount(column, minlength=n + 1)[:n]
        kept = np.argsort(-count, kind="stable")[:_MAX_CATEGORIES]
        of_column = np.full(n + 1, len(kept))
        of_column[np.sort(kept)] = np.arange(len(kept))
        self._kind, self._no_kind = of_column[column], len(kept)
        self._weekday = HOUR_BLOCKS + 1
        self._last = self._weekday + _WEEKDAYS + 1
        self.near = self._last + len(kept) + 1
        self.n_near = len(_EDGES_KM) + 2
        first = self.near + self.n_near
        self.category = first + self._kind
        self.size = first + len(kept) + 1
        self._away = lru_cache(64)(self._far_from)

    def of(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        items: NDArray[np.int32],
    ) -> Surrounded:
        """Before interactions; arguments as of ``Taste.context_of``."""
        last = np.full(len(at), -1)
        now_s = np.zeros(len(at))
        ends = np.searchsorted(owner, np.arange(len(timelines) + 1))
        for peer, timeline in enumerate(timelines):
            part = slice(ends[peer], ends[peer + 1])
            place = at[part]
            last[part] = np.where(place > 0, timeline.item[place - 1], -1)
            now_s[part] = timeline.time_s[place]
        longitude = np.nan_to_num(self._catalogue.longitude_deg[last])
        now_h = now_s / 3_600.0 + longitude / 15.0
        return self._rows(hour_block(now_h), weekday(now_h), last, items)

    def now(self, moments: Sequence[Moment | None], items: NDArray[np.integer[Any]]) -> Surrounded:
        """In situations; of a newcomer nothing is known, not even where it is asked."""
        said = [(0, 0, -1) if m is None else (m.hour_block, m.weekday, last_of(m)) for m in moments]
        hours, days, last = np.array(said, np.int64).reshape(-1, 3).T
        return self._rows(hours, days, last, items)

    def distances(self, last: int) -> NDArray[np.int64]:
        """Class of distance of all items from one, 0 for the nearest, shape ``(n_items,)``."""
        found: NDArray[np.int64] = self._away(last)
        return found

    def _rows(
        self,
        hours: NDArray[np.int64],
        days: NDArray[np.int64],
        last: NDArray[np.int64],
        items: NDArray[np.integer[Any]],
    ) -> Surrounded:
        new = last < 0
        situation = np.stack(
            [
                np.where(new, HOUR_BLOCKS, hours),
                self._weekday + np.where(new, _WEEKDAYS, days),
                self._last + np.where(new, self._no_kind, self._kind[last]),
            ],
            axis=1,
        )
        lat, lon = self._catalogue.latitude_deg, self._catalogue.longitude_deg
        km = distance_km(lat[items], lon[items], lat[last][:, None], lon[last][:, None])
        away = np.where(new[:, None], self.n_near - 1, _class_of(km))
        return Surrounded(
            situation=situation,
            candidates=np.stack([self.near + away, self.category[items]], axis=2),
        )

    def _far_from(self, last: int) -> NDArray[np.int64]:
        n = len(self._catalogue)
        if last < 0:
            return np.full(n, self.n_near - 1)
        lat, lon = self._catalogue.latitude_deg, self._catalogue.longitude_deg
        return _class_of(distance_km(lat, lon, lat[last], lon[last]))


def last_of(moment: Moment | None) -> int:
    """The item before a situation; -1 of a newcomer."""
    return -1 if moment is None else int(moment.sequence[-1])


def _class_of(km: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.searchsorted(np.array(_EDGES_KM, np.float32), km).astype(np.int64)


@lru_cache(maxsize=8)
def classes_of(catalogue: Catalogue) -> Classes:
    """Those of a catalogue, the same object for all families."""
    return Classes(catalogue)
