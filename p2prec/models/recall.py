"""How each of an owner's newest visits is like the present situation: what attention looks at.

Kernels over past visits (``habits.py``) fix beforehand how much hour, age, or the place before
count. Here each visit is described by itself, and what counts is learned: the ranker weighs visits
by a softmax over linear functions of these features (``ranker_recall.py``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.geo import NEAR_KM, distance_km
from p2prec.models.past import Past

VISIT_FEATURES = (
    "hours of the day apart",
    "hours of the day apart, squared",
    "same hour, within half an hour",
    "same hour",
    "age",
    "lately",
    "whole weeks ago",
    "same day of the week",
    "same part of the week",
    "same part of the week and hour",
    "after the same place",
    "after the same place, same hour",
    "after the same kind of place",
    "after the same last two places",
    "to where you are",
    "after another time",
    "after about the same time",
    "time before it",
    "after a place nearby",
    "distance",
    "visits since",
    "first visit",
)
RECALLED = 64  # newest visits that are looked at; 96 and 160 are not measurably better
_CLOSE_H = 0.5
_LATELY_D = 3.0
_WEEK_D, _WEEK_WIDTH_D = 7.0, 0.125
_TIME_WIDTH = 0.5  # of the logarithm of hours between two visits
_AROUND_KM = 0.4
_SQUARE, _RANK = 10.0, 20.0  # bring large values near to one


def visits_of(past: Past) -> list[tuple[NDArray[np.float16], NDArray[np.intp]]]:
    """The newest visits before each of ``m`` situations.

    Returns:
        For each situation features, shape ``(len(VISIT_FEATURES), v)``, and the slot of the place
        of each visit, shape ``(v,)``; the newest last, ``v`` at most ``RECALLED`` and at least 1.
    """
    longest = min(RECALLED, int(past.n.max()))
    at = past.n[:, None] - longest + np.arange(longest)
    held, at = at >= 0, np.maximum(at, 0)
    features = _features(past, at).astype(np.float16)
    slots = past.slot[at]
    # Copies: one moment that is kept must not keep all that were computed with it.
    return [(features[:, row, some].copy(), slots[row, some]) for row, some in enumerate(held)]


def _features(past: Past, at: NDArray[np.int64]) -> NDArray[np.float32]:
    """Shape ``(len(VISIT_FEATURES), m, v)``, of the visits ``at``, shape ``(m, v)``."""
    slot, time_s, last = past.slot, past.time_s, past.n[:, None] - 1
    before, here = np.maximum(at - 1, 0), slot[last]
    follows, follows_two = at > 0, at > 1
    turn_h, age_d, same_hour = (
        np.take_along_axis(of_all, at, axis=1)
        for of_all in (past.turn_h, past.age_d, past.same_hour)
    )
    off_week_d = age_d - np.rint(age_d / _WEEK_D) * _WEEK_D
    weekday = past.weekday[at]
    same_part = (weekday >= 5) == (past.today >= 5)
    after_same = follows & (slot[before] == here)
    two_before = slot[np.maximum(at - 2, 0)] == slot[np.maximum(last - 1, 0)]
    time_before = np.where(follows, np.log1p(_hours(time_s[at] - time_s[before])), 0.0)
    apart = np.abs(time_before - np.log1p(past.gap_h)[:, None])
    lat, lon = past.own_latitude_deg, past.own_longitude_deg
    there, came_from = slot[at], slot[before]
    km = distance_km(lat[there], lon[there], lat[here], lon[here])
    km_before = distance_km(lat[came_from], lon[came_from], lat[here], lon[here])
    columns = (
        turn_h,
        turn_h**2 / _SQUARE,
        np.exp(-0.5 * (turn_h / _CLOSE_H) ** 2),
        same_hour,
        np.log1p(age_d),
        np.exp(-age_d / _LATELY_D),
        np.exp(-((off_week_d / _WEEK_WIDTH_D) ** 2)),
        weekday == past.today,
        same_part,
        same_part * same_hour,
        after_same,
        after_same * same_hour,
        follows & (past.column[before] == past.column[last]),
        follows_two & after_same & two_before,
        there == here,
        apart,
        np.exp(-0.5 * (apart / _TIME_WIDTH) ** 2),
        time_before,
        follows * np.exp(-((km_before / _AROUND_KM) ** 2)),
        np.log(NEAR_KM + km),
        (past.n[:, None] - at) / _RANK,
        past.is_new[at],
    )
    return np.stack(np.broadcast_arrays(*columns), dtype=np.float32, casting="unsafe")


def _hours(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    hours: NDArray[np.float64] = np.maximum(seconds, 0.0) / 3_600.0
    return hours
