"""What is read off an owner's history: the situation just before any interaction.

Everything here is private to the device: features are computed where they are used and never
leave. Hours are solar (UTC plus longitude / 15), so that no time zone has to be known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.geo import NEAR_KM, distance_km
from p2prec.models.habits import HABIT_FEATURES, HOURS_OF_BLOCK, Habits, Past, habits_of

SEQUENCE_LENGTH = 32  # recent interactions that attention looks at
HOUR_BLOCKS = 24 // HOURS_OF_BLOCK
_DAY_S = 86_400.0
_HOUR_WIDTH_H = 1.5  # two visits within this belong to the same habit of the day
_LONGEST_GAP_H = 24.0 * 60
KEPT_BYTES = 1 << 20  # of features of situations: 200 of an owner who knows 35 places
_MOMENT_BYTES = 1 << 10  # of one situation beside the features of known places
ALL_KEPT_BYTES = 1 << 31  # of all owners of a process: 20 KiB each where they are 100,000

RETURN_FEATURES = (
    "visits",
    "share of visits",
    "visits in the last 3 days",
    "visits in the last 30 days",
    "went there from here",
    "habit from here",
    "went there at this hour",
    "went there at this hour on such a day",
    "are there now",
    "near",
    "time since the last visit",
    "near and you just moved",
    "went there after the last two",
)
PLACE_FEATURES = RETURN_FEATURES + HABIT_FEATURES
GATE_FEATURES = (
    "always",
    "places known",
    "new places lately",
    "just at a new place",
    "time since the last visit",
    "at a frequent place",
)


@dataclass(slots=True)
class _Room:
    """What all histories over one catalogue may still keep in this process."""

    left_bytes: int = ALL_KEPT_BYTES


@lru_cache(maxsize=8)
def _room(catalogue: Catalogue) -> _Room:
    del catalogue  # one for each
    return _Room()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An owner's situation just before one interaction.

    Attributes:
        own: Shape ``(n_own,)``, places the owner knows, ascending.
        places: Shape ``(n_own, len(PLACE_FEATURES))``.
        situation: Shape ``(len(GATE_FEATURES) + 1,)``, the gate's and how just the owner moved.
        sequence: Shape ``(SEQUENCE_LENGTH,)``, newest last, -1 pads in front.
        gaps: Shape ``(SEQUENCE_LENGTH,)``, log of hours since each of the sequence.
        recent: Shape ``(SEQUENCE_LENGTH,)``, the places of the sequence, each once, newest first;
            the last one pads.
        recent_share: Shape ``(SEQUENCE_LENGTH,)``, the share of each in the sequence; 0 pads.
        hour_block: 0 to 7.
        tried: First visits so far, each as ``category column * HOUR_BLOCKS + block of hours``;
            the last column stands for an unknown category.
        habits: Of kinds of places.
        notes: What families have found out about these places and want to keep.
    """

    own: NDArray[np.int32]
    places: NDArray[np.float32]
    situation: NDArray[np.float32]
    sequence: NDArray[np.int32]
    gaps: NDArray[np.float32]
    recent: NDArray[np.int32]
    recent_share: NDArray[np.float32]
    hour_block: int
    tried: NDArray[np.int32]
    habits: Habits
    notes: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def returning(self) -> NDArray[np.float32]:
        """Shape ``(n_own, len(RETURN_FEATURES))``, a part of the places' features."""
        return self.places[:, : len(RETURN_FEATURES)]

    @property
    def gate(self) -> NDArray[np.float32]:
        """Shape ``(len(GATE_FEATURES),)``, a part of the situation's."""
        return self.situation[:-1]

    @property
    def just_moved(self) -> float:
        """1 right after the last interaction, falling to 0 within a day."""
        return float(self.situation[-1])

    @property
    def nbytes(self) -> int:
        """Of the features of places and kinds, which grow with what the owner knows."""
        noted = 4 * 4 * len(self.own)
        return self.places.nbytes + self.habits.by_kind.nbytes + noted


class Timeline:
    """An owner's history, prepared so that any moment in it is cheap to look at.

    Attributes:
        own: Shape ``(n_own,)``, places that the owner knows in the end, ascending.
        first: Shape ``(n_own,)``, the first interaction with each of them.
        is_new: Shape ``(n,)``, whether an interaction is the first one with its place.
        tried: As of ``Moment``, of the whole history.
    """

    def __init__(self, catalogue: Catalogue, history: History) -> None:
        self._before: dict[int, Moment] = {}
        self._kept_bytes = 0
        self._room = _room(catalogue)
        self.catalogue = catalogue
        self.item = history.item
        self.rating = history.rating
        self.time_s = history.timestamp_s.astype(np.float64)
        self.own, self._slot = np.unique(self.item, return_inverse=True)
        shift_h = np.nan_to_num(catalogue.longitude_deg[self.item] / 15.0)
        self._local_h = self.time_s / 3_600.0 + shift_h
        self._lat = catalogue.latitude_deg[self.item]
        self._lon = catalogue.longitude_deg[self.item]
        self._own_lat = catalogue.latitude_deg[self.own]
        self._own_lon = catalogue.longitude_deg[self.own]
        self.first = np.unique(self._slot, return_index=True)[1]
        first = np.zeros(len(self.item), bool)
        first[self.first] = True
        self.is_new = first
        block = (self._local_h[first] % 24 // HOURS_OF_BLOCK).astype(np.int32)
        self._column = category_columns(catalogue)[self.item]
        self.tried = self._column[first].astype(np.int32) * HOUR_BLOCKS + block
        self._n_tried = np.cumsum(first)

    def __len__(self) -> int:
        return len(self.item)

    def before(self, at: int) -> Moment:
        """The situation just before one interaction.

        Kept, since every epoch asks for it, as long as there is room: what the longest histories
        have beyond is computed anew, or one owner of ten would need megabytes more than the rest.
        All peers of a process share a second, larger room.
        """
        if at in self._before:
            return self._before[at]
        moment = self.moment(at, float(self.time_s[at]))
        if self._kept_bytes < KEPT_BYTES and self._room.left_bytes > 0:
            self._before[at] = moment
            size = moment.nbytes + _MOMENT_BYTES
            self._kept_bytes += size
            self._room.left_bytes -= size
        return moment

    def __del__(self) -> None:
        self._room.left_bytes += self._kept_bytes

    def moment(self, n: int, now_s: float) -> Moment:
        """The situation at ``now_s`` after the first ``n`` interactions (``n`` at least 1)."""
        slot, n_slots = self._slot[:n], len(self.own)
        counts = np.bincount(slot, minlength=n_slots)
        known = np.flatnonzero(counts)
        last = int(self.item[n - 1])
        now_h = now_s / 3_600.0 + float(np.nan_to_num(self.catalogue.longitude_deg[last] / 15.0))
        gap_h = min(max((now_s - self.time_s[n - 1]) / 3_600.0, 0.0), _LONGEST_GAP_H)
        just_moved = float(np.exp(-gap_h / 6.0))
        returning = self._returning(n, now_s, now_h, counts, just_moved)[known]
        habits, kinds = habits_of(
            Past(
                slot=slot,
                n_slots=n_slots,
                column=self._column[:n],
                latitude_deg=self._lat[:n],
                longitude_deg=self._lon[:n],
                time_s=self.time_s[:n],
                local_h=self._local_h[:n],
                now_s=now_s,
                now_h=now_h,
            )
        )
        recent_new = self.is_new[max(0, n - 20) : n].mean()
        situation = np.array(
            [
                1.0,
                np.log(len(known)) / 3.0,
                recent_new,
                float(self.is_new[n - 1]),
                np.log1p(gap_h) / 3.0,
                counts[slot[-1]] / n,
                just_moved,
            ],
            np.float32,
        )
        sequence = np.full(SEQUENCE_LENGTH, -1, np.int32)
        gaps = np.zeros(SEQUENCE_LENGTH, np.float32)
        tail = min(n, SEQUENCE_LENGTH)
        sequence[-tail:] = self.item[n - tail : n]
        gaps[-tail:] = np.log1p(np.maximum(now_s - self.time_s[n - tail : n], 0.0) / 3_600.0)
        _, newest, recent_visits = np.unique(
            slot[n - tail :][::-1], return_index=True, return_counts=True
        )
        order = np.argsort(newest)
        recent = np.full(SEQUENCE_LENGTH, self.item[n - 1 - newest[order[-1]]])
        recent[: len(order)] = self.item[n - 1 - newest[order]]
        share = np.zeros(SEQUENCE_LENGTH, np.float32)
        share[: len(order)] = recent_visits[order] / tail
        return Moment(
            own=self.own[known],
            places=np.concatenate([returning, habits], axis=1),
            situation=situation,
            sequence=sequence,
            gaps=gaps,
            recent=recent,
            recent_share=share,
            hour_block=int(now_h % 24 // HOURS_OF_BLOCK),
            tried=self.tried[: self._n_tried[n - 1]],
            habits=kinds,
        )

    def _returning(
        self, n: int, now_s: float, now_h: float, counts: NDArray[np.int64], just_moved: float
    ) -> NDArray[np.float32]:
        slot, time_s, n_slots = self._slot[:n], self.time_s[:n], len(self.own)

        def count(
            weights: NDArray[np.float64], where: NDArray[np.intp] = slot
        ) -> NDArray[np.float64]:
            return np.bincount(where, weights=weights, minlength=n_slots).astype(np.float64)

        age_d = np.maximum(now_s - time_s, 0.0) / _DAY_S
        local_h = self._local_h[:n]
        turn = np.abs((local_h - now_h + 12.0) % 24.0 - 12.0)
        same_hour = np.exp(-0.5 * (turn / _HOUR_WIDTH_H) ** 2)
        # Epoch day 0 was a Thursday: (day + 3) % 7 counts from Monday.
        weekend = (np.floor(local_h / 24.0) + 3) % 7 >= 5
        same_kind = same_hour * (weekend == ((now_h // 24 + 3) % 7 >= 5))
        from_here = slot[:-1] == slot[-1]
        onward = np.bincount(slot[1:][from_here], minlength=n_slots).astype(float)
        last_two = np.zeros(n_slots)
        if n > 2:
            both = from_here[1:] & (slot[:-2] == slot[-2])
            last_two = np.bincount(slot[2:][both], minlength=n_slots).astype(float)
        last_visit_s = np.full(n_slots, -np.inf)
        np.maximum.at(last_visit_s, slot, time_s)
        since_h = np.minimum((now_s - last_visit_s) / 3_600.0, _LONGEST_GAP_H)
        here = self.item[n - 1]
        near = -np.log(
            NEAR_KM
            + distance_km(
                self._own_lat,
                self._own_lon,
                self.catalogue.latitude_deg[here],
                self.catalogue.longitude_deg[here],
            )
        )
        columns = (
            np.log1p(counts),
            np.log((counts + 0.1) / n),
            np.log1p(count(np.exp(-age_d / 3.0))),
            np.log1p(count(np.exp(-age_d / 30.0))),
            np.log1p(onward),
            np.log((onward + 0.2) / (onward.sum() + 1.0)),
            np.log(count(same_hour) + 0.1),
            np.log(count(same_kind) + 0.1),
            (np.arange(n_slots) == slot[-1]).astype(float),
            near,
            np.log1p(np.maximum(since_h, 0.0)),
            near * just_moved,
            np.log1p(last_two),
        )
        return np.stack(columns, axis=1).astype(np.float32)


@lru_cache(maxsize=8)
def category_columns(catalogue: Catalogue) -> NDArray[np.int64]:
    """Category of each item, shape ``(n_items,)``; unknown ones share the last column."""
    return np.where(catalogue.category < 0, len(catalogue.categories), catalogue.category).astype(
        np.int64
    )
