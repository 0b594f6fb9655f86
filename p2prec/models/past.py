"""What had happened before several situations of one owner, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400.0
_HOUR_WIDTH_H = 1.5  # two visits within this belong to the same habit of the day


@dataclass(frozen=True, kw_only=True)
class Past:
    """The first interactions of a history, and which of them lie before each of ``m`` situations.

    Attributes:
        n: Shape ``(m,)``, how many interactions lie before each situation, at least 1.
        now_s: Shape ``(m,)``, when it is.
        now_h: Shape ``(m,)``, the same in solar hours where the owner is.
        slot: Shape ``(n_most,)``, the place of each interaction among the owner's ``n_slots``.
        own_latitude_deg: Shape ``(n_slots,)``, of all places that the owner knows in the end.
        own_longitude_deg: Shape ``(n_slots,)``.
        column: Shape ``(n_most,)``, column of the category of each interaction.
        is_new: Shape ``(n_most,)``, whether it is the first one with its place.
        time_s: Shape ``(n_most,)``.
        local_h: Shape ``(n_most,)``, solar hours since the epoch.
    """

    n: NDArray[np.int64]
    now_s: NDArray[np.float64]
    now_h: NDArray[np.float64]
    slot: NDArray[np.intp]
    own_latitude_deg: NDArray[np.float64]
    own_longitude_deg: NDArray[np.float64]
    column: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    time_s: NDArray[np.float64]
    local_h: NDArray[np.float64]

    @cached_property
    def happened(self) -> NDArray[np.bool_]:
        """Shape ``(m, n_most)``, whether an interaction lies before a situation."""
        return np.arange(len(self.slot)) < self.n[:, None]

    @cached_property
    def age_d(self) -> NDArray[np.float64]:
        """Shape ``(m, n_most)``, days since each interaction; clocks may go back."""
        age: NDArray[np.float64] = np.maximum(self.now_s[:, None] - self.time_s, 0.0)
        age /= DAY_S
        return age

    @cached_property
    def turn_h(self) -> NDArray[np.float64]:
        """Shape ``(m, n_most)``, hours of the day between each and the present one, 0 to 12."""
        turn: NDArray[np.float64] = np.abs(
            (self.local_h - self.now_h[:, None] + 12.0) % 24.0 - 12.0
        )
        return turn

    @cached_property
    def same_hour(self) -> NDArray[np.float64]:
        """Shape ``(m, n_most)``, how like the hour of the day of each is to the present one."""
        alike: NDArray[np.float64] = np.exp(-0.5 * (self.turn_h / _HOUR_WIDTH_H) ** 2)
        return alike

    @cached_property
    def weekday(self) -> NDArray[np.float64]:
        """Shape ``(n_most,)``, from 0, a Monday."""
        return weekday_of(self.local_h // 24.0)

    @cached_property
    def today(self) -> NDArray[np.float64]:
        """Shape ``(m, 1)``, likewise."""
        return weekday_of(self.now_h[:, None] // 24.0)

    @property
    def n_slots(self) -> int:
        """Places that the owner knows in the end."""
        return len(self.own_latitude_deg)

    @property
    def gap_h(self) -> NDArray[np.float64]:
        """Shape ``(m,)``, hours since the last interaction."""
        gap: NDArray[np.float64] = np.maximum(self.now_s - self.time_s[self.n - 1], 0.0)
        return gap / 3_600.0

    @cached_property
    def visits(self) -> NDArray[np.float64]:
        """Shape ``(m, n_slots)``."""
        return self.summed(np.ones(len(self.slot)))

    @cached_property
    def newest_s(self) -> NDArray[np.float64]:
        """Shape ``(m, n_slots)``, when the owner went to each place last; minus infinity: never."""
        return self._extreme(np.maximum, -np.inf)

    @cached_property
    def oldest_s(self) -> NDArray[np.float64]:
        """Shape ``(m, n_slots)``, likewise first; infinity: never."""
        return self._extreme(np.minimum, np.inf)

    @cached_property
    def _cells(self) -> NDArray[np.int64]:
        return _cells(self.slot, len(self.n), self.n_slots)

    def summed(
        self, weights: NDArray[np.float64] | NDArray[np.bool_], *, later: int = 0
    ) -> NDArray[np.float64]:
        """Weights by place of what had happened, in the order of time.

        Args:
            weights: Of interactions, shape ``(m, n_most - later)`` or ``(n_most - later,)``.
            later: They count for the place of the interaction that came so much later.

        Returns:
            Shape ``(m, n_slots)``.
        """
        cells, happened = self._cells[:, later:], self.happened[:, later:]
        return _summed(cells, weights * happened, self.n_slots)

    def summed_by(
        self, kind: NDArray[np.intp], n_kinds: int, weights: NDArray[np.float64] | NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Likewise by another property of interactions, ``kind``, shape ``(n_most,)``."""
        cells = _cells(kind, len(self.n), n_kinds)
        return _summed(cells, weights * self.happened, n_kinds)

    def _extreme(self, of: np.ufunc, never: float) -> NDArray[np.float64]:
        order = np.argsort(self.slot, kind="stable")
        ascending = self.slot[order]
        starts = np.flatnonzero(np.diff(ascending, prepend=-1))
        times = np.where(self.happened[:, order], self.time_s[order], never)
        result = np.full((len(self.n), self.n_slots), never)
        result[:, ascending[starts]] = of.reduceat(times, starts, axis=1)
        return result


def weekday_of(day: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 to 6 from Monday, of days since 1970, which began on a Thursday."""
    weekday: NDArray[np.float64] = (day + 3.0) % 7.0
    return weekday


def _cells(kind: NDArray[np.intp], m: int, n_kinds: int) -> NDArray[np.int64]:
    cells: NDArray[np.int64] = np.arange(m)[:, None] * n_kinds + kind
    return cells


def _summed(
    cells: NDArray[np.int64], weights: NDArray[np.float64] | NDArray[np.bool_], n_kinds: int
) -> NDArray[np.float64]:
    m = len(cells)
    total = np.bincount(cells.ravel(), weights=weights.ravel(), minlength=m * n_kinds)
    return total.astype(np.float64, copy=False).reshape(m, n_kinds)
