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
from p2prec.models.habits import (
    HABIT_FEATURES,
    HOURS_OF_BLOCK,
    Habits,
    habits_of_kinds,
    habits_of_places,
)
from p2prec.models.past import Past, weekday_of
from p2prec.models.recall import visits_of
from p2prec.models.returns import LONGEST_GAP_H, RETURN_FEATURES, returns_of

SEQUENCE_LENGTH = 32  # recent interactions that attention looks at
HOUR_BLOCKS = 24 // HOURS_OF_BLOCK
_LATELY = 20  # interactions of which the share of new places is looked at
# Of features of situations: enough for 96 % of the examples of New York, where an owner's take 0.8
# MiB in the mean. What is not kept costs as much again as learning from it.
KEPT_BYTES = 1 << 22
_MOMENT_BYTES = 1 << 10  # of one situation beside the features of known places
ALL_KEPT_BYTES = 1 << 31  # of all owners of a process: 20 KiB each where they are 100,000

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
        weekday: 0 to 6, from Monday.
        tried: First visits so far, each as ``category column * HOUR_BLOCKS + block of hours``;
            the last column stands for an unknown category.
        habits: Of kinds of places.
        visits: Shape ``(len(VISIT_FEATURES), v)``, of the newest visits, the newest last.
        visited: Shape ``(v,)``, where the place of each of them stands in ``own``.
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
    weekday: int
    tried: NDArray[np.int32]
    habits: Habits
    visits: NDArray[np.float16]
    visited: NDArray[np.int32]
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
        """Of the features of places, kinds and visits, which grow with what the owner knows."""
        noted = 4 * 4 * len(self.own)
        visits = self.visits.nbytes + self.visited.nbytes
        return self.places.nbytes + self.habits.by_kind.nbytes + visits + noted


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
        self._own_lat = catalogue.latitude_deg[self.own]
        self._own_lon = catalogue.longitude_deg[self.own]
        self.first = np.unique(self._slot, return_index=True)[1]
        first = np.zeros(len(self.item), bool)
        first[self.first] = True
        self.is_new = first
        block = hour_block(self._local_h[first]).astype(np.int32)
        self._column = category_columns(catalogue)[self.item]
        self.tried = self._column[first].astype(np.int32) * HOUR_BLOCKS + block
        self._n_tried = np.cumsum(first)

    def __len__(self) -> int:
        return len(self.item)

    def first_of(self, own: NDArray[np.integer]) -> NDArray[np.int64]:
        """The first interaction with each of some places that the owner knows."""
        first: NDArray[np.int64] = self.first[np.searchsorted(self.own, own)]
        return first

    def before(self, at: int) -> Moment:
        """The situation just before one interaction."""
        return self.before_each(np.array([at]))[0]

    def before_each(self, at: NDArray[np.int64]) -> list[Moment]:
        """The situations just before some interactions.

        Kept, since every epoch asks for them, as long as there is room: what the longest histories
        have beyond is computed anew, or one owner of ten would need megabytes more than the rest.
        All peers of a process share a second, larger room.
        """
        found = {i: self._before[i] for i in at.tolist() if i in self._before}
        missing = [i for i in dict.fromkeys(at.tolist()) if i not in found]
        if missing:
            fresh = self._moments(np.array(missing), self.time_s[missing])
            for i, moment in zip(missing, fresh, strict=True):
                self._keep(i, moment)
                found[i] = moment
        return [found[i] for i in at.tolist()]

    def _keep(self, at: int, moment: Moment) -> None:
        if self._kept_bytes < KEPT_BYTES and self._room.left_bytes > 0:
            self._before[at] = moment
            size = moment.nbytes + _MOMENT_BYTES
            self._kept_bytes += size
            self._room.left_bytes -= size

    def __del__(self) -> None:
        self._room.left_bytes += self._kept_bytes

    def moment(self, n: int, now_s: float) -> Moment:
        """The situation at ``now_s`` after the first ``n`` interactions (``n`` at least 1)."""
        return self._moments(np.array([n]), np.array([now_s]))[0]

    def _moments(self, n: NDArray[np.int64], now_s: NDArray[np.float64]) -> list[Moment]:
        """Situations side by side: shape ``(m,)`` each."""
        most, last = int(n.max()), n - 1
        shift_h = np.nan_to_num(self.catalogue.longitude_deg[self.item[last]] / 15.0)
        past = Past(
            n=n,
            now_s=now_s,
            now_h=now_s / 3_600.0 + shift_h,
            slot=self._slot[:most],
            own_latitude_deg=self._own_lat,
            own_longitude_deg=self._own_lon,
            column=self._column[:most],
            is_new=self.is_new[:most],
            time_s=self.time_s[:most],
            local_h=self._local_h[:most],
        )
        situation = self._situations(past)
        places = np.concatenate(
            [returns_of(past, situation[:, -1]), habits_of_places(past)], axis=2
        )
        habits = habits_of_kinds(past)
        sequence, gaps = self._sequences(past)
        recent, share = self._recent(n)
        blocks, days = hour_block(past.now_h).tolist(), weekday(past.now_h).tolist()
        n_tried = self._n_tried[last].tolist()
        visits = visits_of(past)
        # Copies: one moment that is kept must not keep all that were computed with it.
        return [
            Moment(
                own=self.own[known],
                places=places[row, known],
                situation=situation[row].copy(),
                sequence=sequence[row].copy(),
                gaps=gaps[row].copy(),
                recent=recent[row].copy(),
                recent_share=share[row].copy(),
                hour_block=blocks[row],
                weekday=days[row],
                tried=self.tried[: n_tried[row]],
                habits=habits[row],
                visits=visits[row][0],
                visited=(np.cumsum(known)[visits[row][1]] - 1).astype(np.int32),
            )
            for row, known in enumerate(past.visits > 0)
        ]

    def _situations(self, past: Past) -> NDArray[np.float32]:
        """The gate's features and how just the owner moved, shape ``(m, len(GATE_FEATURES) + 1)``.

        The share of new places is that of the last 20 interactions.
        """
        n, last, m = past.n, past.n - 1, np.arange(len(past.n))
        gap_h = np.minimum(past.gap_h, LONGEST_GAP_H)
        n_new = np.concatenate([[0], self._n_tried])
        lately = np.minimum(n, _LATELY)
        columns = (
            np.ones(len(n)),
            np.log(self._n_tried[last]) / 3.0,
            (n_new[n] - n_new[n - lately]) / lately,
            self.is_new[last],
            np.log1p(gap_h) / 3.0,
            past.visits[m, past.slot[last]] / n,
            np.exp(-gap_h / 6.0),
        )
        return np.stack(columns, axis=1).astype(np.float32)

    def _sequences(self, past: Past) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``sequence`` and ``gaps`` of moments."""
        at = past.n[:, None] - SEQUENCE_LENGTH + np.arange(SEQUENCE_LENGTH)
        held, at = at >= 0, np.maximum(at, 0)
        sequence = np.where(held, self.item[at], np.int32(-1))
        hours = np.maximum(past.now_s[:, None] - self.time_s[at], 0.0) / 3_600.0
        return sequence, np.where(held, np.log1p(hours), 0.0).astype(np.float32)

    def _recent(self, n: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``recent`` and ``recent_share`` of moments."""
        back = np.arange(SEQUENCE_LENGTH)
        at = n[:, None] - 1 - back
        slot = np.where(at >= 0, self._slot[np.maximum(at, 0)], -1)
        same = slot[:, :, None] == slot[:, None, :]
        once = (same.argmax(2) == back) & (at >= 0)
        order = np.argsort(~once, axis=1, kind="stable")
        n_recent = once.sum(1, keepdims=True)
        order = np.take_along_axis(order, np.minimum(back, n_recent - 1), axis=1)
        recent = self.own[np.take_along_axis(slot, order, axis=1)]
        share = np.take_along_axis(same.sum(2), order, axis=1)
        share = share / np.minimum(n, SEQUENCE_LENGTH)[:, None]
        return recent, np.where(back < n_recent, share, 0.0).astype(np.float32)


def hour_block(local_h: NDArray[np.float64]) -> NDArray[np.int64]:
    """Block of three hours of the day, 0 to 7, of hours since 1970."""
    return (local_h % 24 // HOURS_OF_BLOCK).astype(np.int64)


def weekday(local_h: NDArray[np.float64]) -> NDArray[np.int64]:
    """Day of the week, 0 to 6 from Monday, of hours since 1970."""
    return weekday_of(local_h // 24.0).astype(np.int64)


@lru_cache(maxsize=8)
def category_columns(catalogue: Catalogue) -> NDArray[np.int64]:
    """Category of each item, shape ``(n_items,)``; unknown ones share the last column."""
    return np.where(catalogue.category < 0, len(catalogue.categories), catalogue.category).astype(
        np.int64
    )
