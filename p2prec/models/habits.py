"""Habits that an owner's history shows, of places and of kinds of places, at one moment.

Each feature asks how like the present situation those were in which the owner went somewhere:
kernel-weighted counts over past visits, by hour, weekday, age, and place or kind of place before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.models.geo import distance_km

HABIT_FEATURES = (
    "went there from such a place",
    "went there from around here",
    "went there on this weekday at this hour",
    "visits in the last day",
    "visits in the last 10 days",
    "visits in the last 100 days",
    "among the last places",
    "due again",
    "visits today",
    "habit around here at this hour",
)
KIND_FEATURES = (
    "kind of place you go to",
    "kind of place you know",
    "kind of place you went to lately",
    "kind of place you go to at this hour",
    "hour for this kind of place",
)
HOURS_OF_BLOCK = 3  # of a day, where hours of kinds of places are compared
_DAY_S = 86_400.0
_HOUR_WIDTH_H = 1.5  # two visits within this belong to the same habit of the day
_AROUND_KM = 0.4
_PACE_WIDTH = 0.5  # of the logarithm of hours between two visits
_FADING_D = 45.0
_LATELY_D = 3.0
_GRACE_D = 3.0  # a place that was met once is not yet due


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The first interactions of a history, as columns.

    Attributes:
        slot: Shape ``(n,)``, the place of each among the owner's ``n_slots`` places.
        n_slots: Places that the owner knows in the end.
        column: Shape ``(n,)``, column of the category of each.
        latitude_deg: Shape ``(n,)``.
        longitude_deg: Shape ``(n,)``.
        time_s: Shape ``(n,)``.
        local_h: Shape ``(n,)``, solar hours since the epoch.
        now_s: When it is now.
        now_h: The same in solar hours where the owner is.
    """

    slot: NDArray[np.intp]
    n_slots: int
    column: NDArray[np.int64]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    time_s: NDArray[np.float64]
    local_h: NDArray[np.float64]
    now_s: float
    now_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What past visits say about kinds of places now.

    Attributes:
        kinds: Shape ``(n_kinds,)``, category columns that the owner knows, ascending.
        by_kind: Shape ``(n_kinds, 2 + len(KIND_FEATURES))``: first visits so far, those in this
            block of hours, and the features.
        no_kind: Shape ``(2 + len(KIND_FEATURES),)``, of all other categories.
    """

    kinds: NDArray[np.int64]
    by_kind: NDArray[np.float32]
    no_kind: NDArray[np.float32]


def habits_of(past: Past) -> tuple[NDArray[np.float32], Habits]:
    """All habits at one moment; there is at least one interaction.

    Returns:
        Those of places, shape ``(n_known, len(HABIT_FEATURES))``, of the places met so far, by
        slot; and those of kinds of places.
    """
    age_d = np.maximum(past.now_s - past.time_s, 0.0) / _DAY_S
    turn = np.abs((past.local_h - past.now_h + 12.0) % 24.0 - 12.0)
    same_hour = np.exp(-0.5 * (turn / _HOUR_WIDTH_H) ** 2)
    kinds, kind = np.unique(past.column, return_inverse=True)
    known, first = np.unique(past.slot, return_index=True)
    tried, block = kind[first], past.local_h[first] % 24 // HOURS_OF_BLOCK
    now = block == past.now_h % 24 // HOURS_OF_BLOCK
    by_kind, no_kind = _of_kinds(
        kind=kind,
        tried=np.bincount(tried, minlength=len(kinds)),
        tried_now=np.bincount(tried[now], minlength=len(kinds)),
        same_hour=same_hour,
        lately=np.exp(-age_d / _LATELY_D),
    )
    places = _of_places(past, age_d, same_hour, known)[known]
    return places, Habits(kinds=kinds, by_kind=by_kind, no_kind=no_kind)


def _of_places(
    past: Past,
    age_d: NDArray[np.float64],
    same_hour: NDArray[np.float64],
    known: NDArray[np.intp],
) -> NDArray[np.float32]:
    def count(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(past.slot, weights=weights, minlength=past.n_slots).astype(np.float64)

    # Epoch day 0 was a Thursday: (day + 3) % 7 counts from Monday.
    weekday = (np.floor(past.local_h / 24.0) + 3) % 7
    today = (past.now_h // 24 + 3) % 7
    same_part = (weekday >= 5) == (today >= 5)
    alike, around = _before(past)
    visits = np.bincount(past.slot, minlength=past.n_slots)
    newest = np.full(past.n_slots, -np.inf)
    np.maximum.at(newest, past.slot, past.time_s)
    oldest = np.full(past.n_slots, np.inf)
    np.minimum.at(oldest, past.slot, past.time_s)
    rank = np.zeros(past.n_slots)
    rank[known[np.argsort(-newest[known], kind="stable")]] = np.arange(len(known))
    due = np.zeros(past.n_slots)
    pace_d = ((newest - oldest)[known] / _DAY_S + _GRACE_D) / np.maximum(visits[known] - 0.5, 0.5)
    since_d = np.maximum(past.now_s - newest[known], 0.0) / _DAY_S  # clocks may go back
    due[known] = np.log(since_d / pace_d + 0.01)
    columns = (
        np.log1p(count(alike)),
        np.log1p(count(around)),
        np.log(count((weekday == today) * same_hour) + 0.05),
        np.log1p(count(np.exp(-age_d))),
        np.log1p(count(np.exp(-age_d / 10.0))),
        np.log1p(count(np.exp(-age_d / 100.0))),
        1.0 / (1.0 + rank),
        np.clip(due, -4.0, 4.0),
        np.log1p(count(np.floor(past.local_h / 24.0) == past.now_h // 24)),
        np.log(count(np.exp(-age_d / _FADING_D) * same_hour * (0.2 + around) * same_part) + 0.02),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _before(past: Past) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How like the present the situations before each visit were, shape ``(n,)`` each.

    Returns:
        By kind of place and hours since, and by position.
    """
    n = len(past.slot)
    alike, around = np.zeros(n), np.zeros(n)
    if n > 1:
        gaps_h = np.diff(past.time_s) / 3_600.0
        gap_h = max(past.now_s - past.time_s[-1], 0.0) / 3_600.0
        pace = np.exp(-0.5 * ((np.log1p(gaps_h) - np.log1p(gap_h)) / _PACE_WIDTH) ** 2)
        alike[1:] = (past.column[:-1] == past.column[-1]) * pace
        km = distance_km(
            past.latitude_deg[:-1],
            past.longitude_deg[:-1],
            past.latitude_deg[-1],
            past.longitude_deg[-1],
        )
        around[1:] = np.exp(-((km / _AROUND_KM) ** 2))
    return alike, around


def _of_kinds(
    *,
    kind: NDArray[np.intp],
    tried: NDArray[np.intp],
    tried_now: NDArray[np.intp],
    same_hour: NDArray[np.float64],
    lately: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of the categories that the owner knows, and of all others."""
    n_kinds = len(tried)

    def features(
        visits: NDArray[np.floating],
        places: NDArray[np.floating],
        places_now: NDArray[np.floating],
        recent: NDArray[np.floating],
        at_hour: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        return np.stack(
            [
                places,
                places_now,
                np.log((visits + 0.3) / (len(kind) + 3.0)),
                np.log((places + 0.3) / (tried.sum() + 3.0)),
                np.log(recent + 0.05),
                np.log(at_hour + 0.1),
                np.log((at_hour + 0.3) / (visits + 2.0)),
            ],
            axis=1,
        ).astype(np.float32)

    visits = np.bincount(kind, minlength=n_kinds).astype(np.float64)
    recent = np.bincount(kind, weights=lately, minlength=n_kinds).astype(np.float64)
    at_hour = np.bincount(kind, weights=same_hour, minlength=n_kinds).astype(np.float64)
    none = np.zeros(1)
    return (
        features(visits, tried.astype(np.float64), tried_now.astype(np.float64), recent, at_hour),
        features(none, none, none, none, none)[0],
    )
