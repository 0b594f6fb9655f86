"""What the ranker reads off a situation, and what its network does between products of matrices.

Twins of ``Neighbourhoods.lie`` and ``inside``, of ``Kinds.of_candidates`` and of ``Hidden``.

No logarithm and no product of matrices is here: NumPy computes them for both.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from p2prec.kernels.rows import ONE, ZERO

# With ``error_model="numpy"`` no division is checked: several are done at once then.


@njit(cache=True, error_model="numpy")
def lie(
    point: NDArray[np.float32],
    recent: NDArray[np.int32],
    share: NDArray[np.float32],
    items: NDArray[np.int32],
    far_km2: np.float32,
    least_km2: np.float32,
    found: NDArray[np.float32],
) -> None:
    """How items lie to the recent places of each situation.

    Args:
        point: Shape ``(3, n_items)``, km.
        recent: Shape ``(n, m)``, the newest first.
        share: Shape ``(n, m)``; from the first 0 on nothing is looked at.
        items: Shape ``(n, k)``.
        far_km2: Where a position is missing.
        least_km2: Added to what is divided by.
        found: Shape ``(3, n, k)``, written to.
    """
    n, k = items.shape
    xs, ys, zs = np.empty(k, np.float32), np.empty(k, np.float32), np.empty(k, np.float32)
    nearest, around = np.empty(k, np.float32), np.empty(k, np.float32)
    for row in range(n):
        for j in range(k):
            item = items[row, j]
            xs[j], ys[j], zs[j] = point[0, item], point[1, item], point[2, item]
            nearest[j], around[j] = np.inf, ZERO
        for s in range(recent.shape[1]):
            weight = share[row, s]
            if s > 0 and weight == ZERO:
                break
            there = recent[row, s]
            x, y, z = point[0, there], point[1, there], point[2, there]
            for j in range(k):
                dx, dy, dz = xs[j] - x, ys[j] - y, zs[j] - z
                km2 = dx * dx + dy * dy + dz * dz
                km2 = far_km2 if np.isnan(km2) else km2
                nearest[j] = min(nearest[j], km2)
                around[j] += weight / (km2 + least_km2)
            if s == 0:
                found[0, row] = nearest
        found[1, row], found[2, row] = nearest, around


@njit(cache=True, error_model="numpy")
def kinds_of_candidates(
    columns: NDArray[np.int64],
    of: NDArray[np.int64],
    starts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    by_kind: NDArray[np.float32],
    no_kind: NDArray[np.float32],
    few: NDArray[np.float32],
    prior: NDArray[np.float32],
    at_all: NDArray[np.float32],
    by_hour: NDArray[np.float32],
    usual: NDArray[np.float32],
    hour_prior: NDArray[np.float32],
    tries: NDArray[np.float32],
    features: NDArray[np.float32],
) -> None:
    """Features of the categories of candidates, before logarithms are taken.

    Args:
        columns: Shape ``(n_candidates,)``, category.
        of: Shape ``(n_candidates,)``, situation.
        starts: Shape ``(n + 1,)``, where the categories that are known in each situation begin.
        kinds: Of all situations.
        by_kind: A row for each of them.
        no_kind: Shape ``(n, ...)``, the row of all others.
        few: As of ``Kinds``, by category.
        prior: As of ``Usual``, as are all that follow.
        at_all: By category.
        by_hour: By situation and category.
        usual: By situation.
        hour_prior: By situation.
        tries: By situation.
        features: Shape ``(8, n_candidates)``, written to.
    """
    n_columns, n_habits = len(few), by_kind.shape[1] - 2
    row_of = np.full((len(starts) - 1, n_columns), -1, np.int32)
    for situation in range(len(starts) - 1):
        for row in range(starts[situation], starts[situation + 1]):
            row_of[situation, kinds[row]] = row
    for at in range(len(of)):
        column, situation = columns[at], of[at]
        row = row_of[situation, column]
        own = by_kind[row] if row >= 0 else no_kind[situation]
        features[0, at] = (own[0] + prior[column]) / tries[situation]
        features[1, at] = few[column]
        now_here = own[1] + by_hour[situation, column] + hour_prior[situation]
        features[2, at] = now_here / ((own[0] + at_all[column]) * usual[situation])
        for habit in range(n_habits):
            features[3 + habit, at] = own[2 + habit]


@njit(cache=True)
def inside(around: NDArray[np.int32], items: NDArray[np.int32], result: NDArray[np.bool_]) -> None:
    """Whether each item is among those around, ascending in each row."""
    size = around.shape[1]
    for row in range(items.shape[0]):
        for j in range(items.shape[1]):
            item, low, n = items[row, j], 0, size
            while n > 1:
                half = n >> 1
                low += half if around[row, low + half] <= item else 0
                n -= half
            result[row, j] = size > 0 and around[row, low] == item


@njit(cache=True, error_model="numpy")
def rectify_first(
    values: NDArray[np.float32],
    of_places: NDArray[np.float32],
    situation: NDArray[np.float32],
    of_known: NDArray[np.int64],
    k: int,
    active: NDArray[np.bool_],
) -> None:
    """Add what places and situations bring to the first layer, and rectify it in place.

    Args:
        values: Shape ``(size, n_known + n * k)``.
        of_places: Shape ``(size, n_known)``.
        situation: Shape ``(size, n)``.
        of_known: Shape ``(n_known,)``.
        k: New places of a situation.
        active: Shape of ``values``, written to.
    """
    size, n_known = of_places.shape
    for unit in range(size):
        brought = situation[unit]
        for at in range(n_known):
            value = values[unit, at] + of_places[unit, at] + brought[of_known[at]]
            active[unit, at] = value > ZERO
            values[unit, at] = value * (ONE if value > ZERO else ZERO)
        for row in range(len(brought)):
            new, lets = values[unit, n_known + row * k :], active[unit, n_known + row * k :]
            for j in range(k):
                value = new[j] + brought[row]
                lets[j] = value > ZERO
                new[j] = value * (ONE if value > ZERO else ZERO)


@njit(cache=True, error_model="numpy")
def rectify_second(
    values: NDArray[np.float32], bias: NDArray[np.float32], active: NDArray[np.bool_]
) -> None:
    """Add the bias to the second layer, and rectify it in place.

    Args:
        values: Shape ``(size, n_candidates)``.
        bias: Shape ``(size,)``.
        active: Shape of ``values``, written to.
    """
    for unit in range(values.shape[0]):
        for at in range(values.shape[1]):
            value = values[unit, at] + bias[unit]
            active[unit, at] = value > ZERO
            values[unit, at] = value * (ONE if value > ZERO else ZERO)


@njit(cache=True, error_model="numpy")
def back_through_output(
    output: NDArray[np.float32],
    share: NDArray[np.float32],
    active: NDArray[np.bool_],
    back: NDArray[np.float32],
) -> None:
    """The derivative by the second layer, from that by the scores.

    Args:
        output: Shape ``(size,)``, its weights.
        share: Shape ``(n_candidates,)``.
        active: Shape ``(size, n_candidates)``.
        back: Likewise, written to.
    """
    for unit in range(active.shape[0]):
        for at in range(active.shape[1]):
            value = output[unit] * share[at]
            back[unit, at] = value * (ONE if active[unit, at] else ZERO)
