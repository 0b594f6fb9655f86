"""Habits that an owner's history shows, of places and of kinds of places, in several situations.

Each feature asks how like the present situation those were in which the owner went somewhere:
kernel-weighted counts over past visits, by hour, weekday, age, and place or kind of place before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.models.geo import distance_km
from p2prec.models.past import DAY_S, Past

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
_AROUND_KM = 0.4
_PACE_WIDTH = 0.5  # of the logarithm of hours between two visits
_FADING_D = 45.0
_LATELY_D = 3.0
_GRACE_D = 3.0  # a place that was met once is not yet due


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What past visits say about kinds of places now.

    Attributes:
        kinds: Shape ``(n_kinds,)``, category columns that the owner knows, ascending.
        by_kind: Shape ``(n_kinds, 2 + len(KIND_FEATURES))``: first visits so far, those in this
            block of hours, and the features.
        no_kind: Shape ``(2 + len(KIND_FEATURES),)``, of all other categories.
        n_now: First visits in this block of hours, of all categories.
    """

    kinds: NDArray[np.int64]
    by_kind: NDArray[np.float32]
    no_kind: NDArray[np.float32]
    n_now: float


def habits_of_places(past: Past) -> NDArray[np.float32]:
    """Features of all places, whether they are known already or not.

    Returns:
        Shape ``(m, n_slots, len(HABIT_FEATURES))``.
    """
    age_d, same_hour, known = past.age_d, past.same_hour, past.visits > 0
    same_part = (past.weekday >= 5) == (past.today >= 5)
    alike, around = _before(past)
    rank = np.empty(known.shape)
    lately = np.argsort(-past.newest_s, axis=1, kind="stable")
    np.put_along_axis(rank, lately, np.arange(past.n_slots, dtype=np.float64)[None], axis=1)
    newest = np.where(known, past.newest_s, 0.0)
    spread_d = (newest - np.where(known, past.oldest_s, 0.0)) / DAY_S
    pace_d = (spread_d + _GRACE_D) / np.maximum(past.visits - 0.5, 0.5)
    since_d = np.maximum(past.now_s[:, None] - newest, 0.0) / DAY_S  # clocks may go back
    due = np.log(since_d / pace_d + 0.01)
    today = past.local_h // 24.0 == past.now_h[:, None] // 24.0
    fading = np.exp(-age_d / _FADING_D) * same_hour * (0.2 + around) * same_part
    columns = (
        np.log1p(past.summed(alike)),
        np.log1p(past.summed(around)),
        np.log(past.summed((past.weekday == past.today) * same_hour) + 0.05),
        np.log1p(past.summed(np.exp(-age_d))),
        np.log1p(past.summed(np.exp(-age_d / 10.0))),
        np.log1p(past.summed(np.exp(-age_d / 100.0))),
        1.0 / (1.0 + rank),
        np.clip(due, -4.0, 4.0),
        np.log1p(past.summed(today)),
        np.log(past.summed(fading) + 0.02),
    )
    return np.stack(columns, axis=2, dtype=np.float32, casting="same_kind")


def _before(past: Past) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How like the present the situations before each visit were, shape ``(m, n_most)`` each.

    Returns:
        By kind of place and hours since, and by position.
    """
    alike, around = np.zeros(past.happened.shape), np.zeros(past.happened.shape)
    last = past.n - 1
    gaps_h = np.log1p(np.diff(past.time_s) / 3_600.0)
    pace = np.exp(-0.5 * ((gaps_h - np.log1p(past.gap_h)[:, None]) / _PACE_WIDTH) ** 2)
    alike[:, 1:] = (past.column[:-1] == past.column[last][:, None]) * pace
    lat, lon = past.own_latitude_deg[past.slot], past.own_longitude_deg[past.slot]
    km = distance_km(lat[:-1], lon[:-1], lat[last][:, None], lon[last][:, None])
    around[:, 1:] = np.exp(-((km / _AROUND_KM) ** 2))
    return alike, around


def habits_of_kinds(past: Past) -> list[Habits]:
    """Those of each situation."""
    kinds, kind = np.unique(past.column, return_inverse=True)
    now = past.local_h % 24 // HOURS_OF_BLOCK == past.now_h[:, None] % 24 // HOURS_OF_BLOCK
    lately = np.exp(-past.age_d / _LATELY_D)
    visits, tried, tried_now, recent, at_hour = (
        past.summed_by(kind, len(kinds), weights)
        for weights in (np.ones(len(kind)), past.is_new, past.is_new & now, lately, past.same_hour)
    )
    n, n_tried = past.n[:, None], tried.sum(1, keepdims=True)

    def features(
        visits: NDArray[np.float64],
        tried: NDArray[np.float64],
        tried_now: NDArray[np.float64],
        recent: NDArray[np.float64],
        at_hour: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        columns = (
            tried,
            tried_now,
            np.log((visits + 0.3) / (n + 3.0)),
            np.log((tried + 0.3) / (n_tried + 3.0)),
            np.log(recent + 0.05),
            np.log(at_hour + 0.1),
            np.log((at_hour + 0.3) / (visits + 2.0)),
        )
        return np.stack(columns, axis=2).astype(np.float32)

    none = np.zeros((len(past.n), 1))
    every = features(visits, tried, tried_now, recent, at_hour)
    others = features(none, none, none, none, none)[:, 0]
    return [
        Habits(kinds=kinds[known], by_kind=by_kind[known], no_kind=no_kind.copy(), n_now=n_now)
        for known, by_kind, no_kind, n_now in zip(
            visits > 0, every, others, tried_now.sum(1).tolist(), strict=True
        )
    ]
