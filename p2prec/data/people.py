"""What the people of a synthetic city do: when they go out, where to, and what they return to.

The mechanisms are those of the exploration and preferential return model (Song et al., Nature
Physics 2010): a new place with probability ``rho S^-gamma``, else a known one by its rank. What
else draws people back may be set: how lately they were there (Barbosa et al., EPJ Data Science
2015), the own routine of hours, and ways from one place to the next. These forms are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_BLOCKS = 8  # of three hours, in a day
_DAY_S = 86_400
_START_S = 1_735_689_600  # 2025-01-01 00:00 UTC, a Wednesday
_HOURS = (
    *(27, 19, 14, 11, 9, 17, 30, 53, 79, 72, 49, 41),
    *(49, 56, 48, 47, 43, 54, 63, 62, 52, 40, 35, 32),
)
_WEEKDAYS = (15.5, 15.1, 14.5, 13.4, 16.4, 13.3, 11.9)  # Monday first, in percent
_MIN_CHECK_INS, _MAX_CHECK_INS = 20, 1_500
_OWN_VISITS = 3  # as which a home or an office counts before the first one
_ANY_TIME = 0.25  # weight of a known place for which nothing speaks
_AGAIN = 0.6  # factor on the place where one is
_LATELY_S = 14 * _DAY_S
_PACE_WIDTH = 0.4  # of the logarithm of the time between two visits
_BURST_S = (600, 5_400)  # after another check-in


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How the people of a city live; by default as in New York (Yang et al., 2015).

    Attributes:
        exploration: ``rho``, the chance that somebody who knows one place goes to a new one.
        fading: ``gamma``, how fast that falls with the places known.
        return_exponent: Share of returns by a person's own rank, ``rank^-exponent``.
        reach: Exponent of the distance to a new place.
        crowding: How much less a place draws where many lie around it, the exponent of how thinly
            they lie (intervening opportunities, Stouffer 1940).
        way_back: Exponent of the distance to a known one.
        hours: How much likelier a return is where all visits to its kind of place are at this
            time of day.
        lately: The same, to a place of just now; it falls off within two weeks.
        routine: The same, where all own visits at this time of a working or a free day went there.
        ways: The same, where the owner has always gone on to it from here.
        pace: The same, where it is time again: as long since the last visit as between visits.
        bursts: Share of check-ins that follow another one within 90 minutes.
        taste: Shape of the gamma law of how people like kinds of places; small is picky.
        log_check_ins: Mean of the natural logarithm of a person's check-ins.
        log_check_ins_sd: Its standard deviation.
    """

    exploration: float = 0.55
    fading: float = 0.28
    return_exponent: float = 1.1
    reach: float = 1.6
    crowding: float = 0.0
    way_back: float = 0.4
    hours: float = 32.0
    lately: float = 0.0
    routine: float = 0.0
    ways: float = 0.0
    pace: float = 0.0
    bursts: float = 0.0
    taste: float = 0.6
    log_check_ins: float = 4.64
    log_check_ins_sd: float = 0.66


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Places that anybody may go to.

    Attributes:
        xy_km: Shape ``(n_places, 2)``.
        kind: Shape ``(n_places,)``.
        n_kinds: How many there are.
        pull: Shape ``(n_places,)``, what draws people to each.
        blocks: Shape ``(n_places, N_BLOCKS)``, shares of its visits by time of day.
    """

    xy_km: Floats
    kind: NDArray[np.int64]
    n_kinds: int
    pull: Floats
    blocks: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A home or an office that one person uses.

    Attributes:
        place: Its number, after all places that anybody may go to.
        xy_km: Shape ``(2,)``.
        blocks: Shares of its visits by time of day.
    """

    place: int
    xy_km: Floats
    blocks: Sequence[float]


class _Walk:
    """Where one person has been, and what speaks for going anywhere from here.

    Args:
        habits: Of the city's people.
        room: Places that the person may come to know.
        public: Places that anybody may go to.
        weight: Shape ``(n_public,)``, how much the person is drawn to each.
        home: Shape ``(2,)``, position.
    """

    def __init__(
        self, *, habits: Habits, room: int, public: Places, weight: Floats, home: Floats
    ) -> None:
        self.known: list[int] = []
        self._habits, self._public, self._weight = habits, public, weight
        self._near_home = 0.3 / (0.5 + _km(public.xy_km, home)) ** habits.reach
        self._is_new = np.ones(len(public.pull), np.bool_)
        self._near: dict[int, Floats] = {}
        self._home = home
        self._last = -1  # slot of the last visit
        # Of places by slot, the first ``len(known)`` of each:
        self._xy_km = np.zeros((room, 2))
        self._suits = np.zeros((N_BLOCKS, room))
        self._visits = [0] * room
        self._order: list[int] = []  # slots, the most visited first, older ones before younger
        self._by_rank = np.zeros(room)
        self._of_rank = (np.arange(1, room + 1.0) ** -habits.return_exponent).tolist()
        self._far: dict[int, Floats] = {}
        self._oldest_s, self._newest_s = np.full(room, np.inf), np.full(room, -np.inf)
        self._routine = np.zeros((2 * N_BLOCKS, room)) if habits.routine else None
        self._ways = np.zeros((room, room), np.float32) if habits.ways else None

    def meet(self, place: int, xy_km: Floats, blocks: Floats, *, visits: int) -> None:
        """Know one place more, with so many visits before the first."""
        slot = len(self.known)
        self.known.append(place)
        if place < len(self._is_new):
            self._is_new[place] = False
        self._xy_km[slot] = xy_km
        self._suits[:, slot] = _ANY_TIME * (1.0 + self._habits.hours * blocks)
        self._order.append(slot)
        self._visits[slot] = visits
        self._climb(slot)
        self._far.clear()

    def go(self, slot: int, time_s: int, block: int) -> None:
        """Visit a known place."""
        self._visits[slot] += 1
        self._climb(slot)
        self._oldest_s[slot] = min(self._oldest_s[slot], time_s)
        self._newest_s[slot] = time_s
        if self._routine is not None:
            self._routine[_part(time_s, block), slot] += 1.0
        if self._ways is not None and self._last >= 0:
            self._ways[self._last, slot] += 1.0
        self._last = slot

    def drawn_new(self, rng: np.random.Generator, block: int) -> int:
        """A place that the person does not know; beyond the last where there is none."""
        if self._last not in self._near:
            near = 1.0 / (0.3 + _km(self._public.xy_km, self._here)) ** self._habits.reach
            self._near[self._last] = near + self._near_home
        chance = self._weight * self._near[self._last] * (self._public.blocks[:, block] + 0.01)
        chance *= self._is_new
        return _drawn(rng, chance)

    def drawn_known(self, rng: np.random.Generator, time_s: int, block: int) -> int:
        """Slot of a place that the person knows."""
        n = len(self.known)
        if self._last not in self._far:
            far = 1.0 + _km(self._xy_km[:n], self._here)
            self._far[self._last] = far**self._habits.way_back
        suits = self._suits[block, :n] + _ANY_TIME * self._own_habits(time_s, block)
        chance = self._by_rank[:n] * suits / self._far[self._last]
        if self._last >= 0:
            chance[self._last] *= _AGAIN
        return _drawn(rng, chance)

    def _own_habits(self, time_s: int, block: int) -> Floats | float:
        """What draws the person back beside rank, distance and hour."""
        n, habits = len(self.known), self._habits
        found: Floats | float = 0.0
        if habits.lately:
            age_s = time_s - self._newest_s[:n]
            found = found + habits.lately * np.exp(-age_s / _LATELY_S)
        if self._routine is not None:
            found = found + habits.routine * _shares(self._routine[_part(time_s, block), :n])
        if self._ways is not None and self._last >= 0:
            found = found + habits.ways * _shares(self._ways[self._last, :n])
        if habits.pace:
            found = found + habits.pace * self._due(time_s)
        return found

    def _due(self, time_s: int) -> Floats:
        """1 where it is time again, 0 long before and long after, and where there is no pace."""
        n = len(self.known)
        due = np.zeros(n)
        often = np.flatnonzero(self._newest_s[:n] > self._oldest_s[:n])
        newest_s, visits = self._newest_s[often], np.array(self._visits)[often]
        pace_s = (newest_s - self._oldest_s[often]) / (visits - 1.0)
        late = np.log((time_s - newest_s + 1.0) / (pace_s + 1.0))
        due[often] = np.exp(-0.5 * (late / _PACE_WIDTH) ** 2)
        return due

    @property
    def _here(self) -> Floats:
        return self._xy_km[self._last] if self._last >= 0 else self._home

    def _climb(self, slot: int) -> None:
        """Find a place's rank again, which can only have risen."""
        order, visits = self._order, self._visits
        at = order.index(slot)
        while at:
            above = order[at - 1]
            if (-visits[above], above) < (-visits[slot], slot):
                break
            order[at] = above
            self._by_rank[above] = self._of_rank[at]
            at -= 1
        order[at] = slot
        self._by_rank[slot] = self._of_rank[at]


def lived(  # noqa: PLR0917
    rng: np.random.Generator,
    habits: Habits,
    public: Places,
    own: Sequence[Own],
    days: int,
    longitude_deg: float,
) -> list[tuple[int, int]]:
    """One person's check-ins as ``(place, timestamp_s)``.

    Args:
        rng: Source of all randomness.
        habits: Of the city's people.
        public: Places that anybody may go to.
        own: Places that nobody else goes to, the home first.
        days: Length of the record.
        longitude_deg: Of the city, for the time of day as models see it.
    """
    often = rng.lognormal(habits.log_check_ins, habits.log_check_ins_sd)
    n = int(np.clip(often, _MIN_CHECK_INS, _MAX_CHECK_INS))
    taste = rng.gamma(habits.taste, size=public.n_kinds) + 0.02
    walk = _Walk(
        habits=habits,
        room=len(own) + n,
        public=public,
        weight=public.pull * taste[public.kind],
        # Who has no home of its own in a crowded city starts from the middle.
        home=own[0].xy_km if own else np.zeros(2),
    )
    for one in own:
        walk.meet(one.place, one.xy_km, np.array(one.blocks), visits=_OWN_VISITS)
    rows = []
    for time in _times(rng, n, days, habits.bursts).tolist():
        n_known = len(walk.known)
        block = int((time / 3_600 + longitude_deg / 15) % 24 // 3)
        if not n_known or rng.random() < habits.exploration * max(n_known, 1) ** -habits.fading:
            slot = n_known
            if (place := walk.drawn_new(rng, block)) == len(public.pull):
                continue
            walk.meet(place, public.xy_km[place], public.blocks[place], visits=0)
        else:
            slot = walk.drawn_known(rng, time, block)
        walk.go(slot, time, block)
        rows.append((walk.known[slot], time))
    return rows


def _times(rng: np.random.Generator, n: int, days: int, bursts: float) -> NDArray[np.int64]:
    """Sorted local check-in times: on active days, by hour of the day, some in bursts."""
    n_days = int(np.clip(rng.normal(0.65, 0.15) * n, 1, days))
    day = np.arange(days)
    weekday = np.array(_WEEKDAYS)[(day + 2) % 7]
    active = rng.choice(day, n_days, replace=False, p=weekday / weekday.sum())
    chosen = rng.choice(active, n)
    hours = np.array(_HOURS, float)
    hour = rng.choice(24, n, p=hours / hours.sum())
    times = _START_S + chosen * _DAY_S + hour * 3_600 + rng.integers(0, 60, n) * 60
    if bursts:
        n_later = rng.binomial(n - 1, bursts)
        first = times[rng.integers(0, n - n_later, n_later)]
        times[n - n_later :] = first + rng.integers(*_BURST_S, n_later)
    return np.sort(times)


def _part(time_s: int, block: int) -> int:
    """Time of day, of a working or a free one."""
    free = ((time_s - _START_S) // _DAY_S + 2) % 7 >= 5
    return block + N_BLOCKS * int(free)


def _shares(counts: NDArray[np.floating]) -> Floats:
    return np.asarray(counts / max(float(counts.sum()), 1.0), np.float64)


def _km(xy_km: Floats, here: Floats) -> Floats:
    """Distance of each place to one point."""
    x, y = (xy_km - here).T
    return np.asarray(np.sqrt(x * x + y * y))


def _drawn(rng: np.random.Generator, chance: Floats) -> int:
    """An index by chances that need not add up to 1; beyond the last where all are 0."""
    line = chance.cumsum()
    if line[-1] <= 0:
        return len(line)
    return int(line.searchsorted(rng.random() * line[-1], side="right"))
