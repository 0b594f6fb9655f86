"""A synthetic city: places with a strong centre, and people with habits and tastes.

The mechanisms are those of the exploration and preferential return model (Song et al., Nature
Physics 2010): a new place with probability ``rho S^-gamma``, else a known one by its rank. The
constants are statistics of Foursquare check-ins in New York (Yang et al., 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.dataset import Dataset
from p2prec.data.interactions import Interactions

_CENTRE_DEG = (52.0, 5.0)  # nowhere in particular
_KM_PER_DEG = 111.2
_BETWEEN_TOWNS_KM = 60.0  # further than anybody goes
_RHO, _GAMMA = 0.55, 0.28  # P(new) = rho S^-gamma, S = places known so far
_RETURN_EXPONENT = 1.1  # share of returns by a person's own rank
_LOG_MEAN, _LOG_SD = 4.64, 0.66  # check-ins a person, lognormal
_MIN_CHECK_INS, _MAX_CHECK_INS = 20, 1_500
_START_S = 1_735_689_600  # 2025-01-01 00:00 UTC
_HOURS = (
    27,
    19,
    14,
    11,
    9,
    17,
    30,
    53,
    79,
    72,
    49,
    41,
    49,
    56,
    48,
    47,
    43,
    54,
    63,
    62,
    52,
    40,
    35,
    32,
)
_WEEKDAYS = (15.5, 15.1, 14.5, 13.4, 16.4, 13.3, 11.9)  # Monday first, in percent
# Name, share of public places, attraction, and share of visits by blocks of three hours.
_KINDS = (
    ("Bar", 0.14, 1.2, (0.21, 0.03, 0.02, 0.03, 0.07, 0.09, 0.25, 0.29)),
    ("Coffee Shop", 0.12, 1.2, (0.01, 0.02, 0.27, 0.25, 0.17, 0.16, 0.08, 0.04)),
    ("Station", 0.05, 3.0, (0.03, 0.04, 0.28, 0.15, 0.12, 0.14, 0.15, 0.09)),
    ("Gym", 0.06, 1.5, (0.005, 0.05, 0.24, 0.17, 0.15, 0.15, 0.20, 0.04)),
    ("Park", 0.07, 1.5, (0.02, 0.04, 0.17, 0.10, 0.19, 0.22, 0.18, 0.08)),
    ("Restaurant", 0.24, 1.0, (0.03, 0.01, 0.04, 0.10, 0.22, 0.15, 0.30, 0.15)),
    ("Shop", 0.20, 1.0, (0.01, 0.01, 0.08, 0.20, 0.26, 0.24, 0.16, 0.04)),
    ("Cinema", 0.04, 1.0, (0.04, 0.01, 0.02, 0.08, 0.18, 0.22, 0.30, 0.15)),
    ("Museum", 0.04, 1.0, (0.01, 0.01, 0.06, 0.26, 0.34, 0.24, 0.06, 0.02)),
    ("Library", 0.04, 1.0, (0.01, 0.01, 0.14, 0.24, 0.26, 0.20, 0.12, 0.02)),
)
_HOME_BLOCKS = (0.13, 0.07, 0.11, 0.10, 0.11, 0.13, 0.18, 0.17)
_OFFICE_BLOCKS = (0.01, 0.01, 0.25, 0.42, 0.16, 0.09, 0.04, 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    xy_km: NDArray[np.float64]
    kind: NDArray[np.int64]
    pull: NDArray[np.float64]
    blocks: NDArray[np.float64]  # (n_places, 8)


def generate_city(
    *, rng: np.random.Generator, n_users: int, n_places: int, days: int = 320
) -> Dataset:
    """A city whose statistics follow real check-ins.

    One third of the places are homes and offices that a single person uses, as in the real data;
    there are never more of them than two a person.

    Args:
        rng: Source of all randomness.
        n_users: People, at least 1.
        n_places: Places, at least ``3 * n_users`` for a city that looks like one.
        days: Length of the record.
    """
    return _dataset([_grown(rng, n_users, n_places, days)], n_users)


def generate_towns(
    *, seed: int, n_users: int, n_places: int, people_per_town: int, days: int = 320
) -> Dataset:
    """Towns like ``generate_city``, side by side, whose people stay in theirs.

    However many towns there are, a person's life is the same: what a peer meets and learns does
    not depend on the size of the whole, but for the catalogue.

    Args:
        seed: Of each town's own randomness.
        n_users: People of all towns.
        n_places: Places of all towns.
        people_per_town: The last town has what is left.
        days: Length of the record.
    """
    towns = []
    side = int(np.ceil(np.sqrt(-(-n_users // people_per_town))))
    for number, first in enumerate(range(0, n_users, people_per_town)):
        people = min(people_per_town, n_users - first)
        rng = np.random.default_rng([seed, number])
        town = _grown(rng, people, max(1, n_places * people // n_users), days)
        town.xy_km[:] += _BETWEEN_TOWNS_KM * (np.array(divmod(number, side)) - (side - 1) / 2)
        towns.append(town)
    return _dataset(towns, n_users)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Town:
    """Places and check-ins of one town.

    Attributes:
        xy_km: Shape ``(n_places, 2)``.
        categories: Of its places.
        rows: Shape ``(n, 3)``: user, place and time of each check-in.
        n_users: Its people.
    """

    xy_km: NDArray[np.float64]
    categories: list[str]
    rows: NDArray[np.int64]
    n_users: int


def _grown(rng: np.random.Generator, n_users: int, n_places: int, days: int) -> _Town:
    n_private = min(2 * n_users, n_places // 3)
    n_public = n_places - n_private
    centres = rng.normal(0.0, 5.0, (12, 2))
    public = _public_places(rng, n_public, centres)
    home = _scatter(rng, n_users, centres, spread_km=3.0)
    names = [k[0] for k in _KINDS]
    private_xy: list[NDArray[np.float64]] = []
    private_kind: list[int] = []
    rows: list[tuple[int, int, int]] = []
    for user in range(n_users):
        own: list[int] = []
        for kind, at in ((-1, home[user]), (-2, _office(rng, home[user], public))):
            if len(private_xy) < n_private:
                own.append(n_public + len(private_xy))
                private_xy.append(at)
                private_kind.append(kind)
        rows += _live(rng, user, public, private_xy, own, private_kind, days)
    label = {-1: "Home", -2: "Office"}
    return _Town(
        xy_km=np.concatenate([public.xy_km, np.array(private_xy).reshape(-1, 2)]),
        categories=[names[k] for k in public.kind] + [label[k] for k in private_kind],
        rows=np.array(rows, np.int64),
        n_users=n_users,
    )


def _dataset(towns: Sequence[_Town], n_users: int) -> Dataset:
    xy = np.concatenate([town.xy_km for town in towns])
    catalogue = Catalogue.build(
        item_ids=[str(i) for i in range(len(xy))],
        latitude_deg=_CENTRE_DEG[0] + xy[:, 1] / _KM_PER_DEG,
        longitude_deg=_CENTRE_DEG[1]
        + xy[:, 0] / (_KM_PER_DEG * np.cos(np.radians(_CENTRE_DEG[0]))),
        category_names=[name for town in towns for name in town.categories],
    )
    n_people = np.cumsum([0, *(town.n_users for town in towns)])
    n_places = np.cumsum([0, *(len(town.xy_km) for town in towns)])
    table = np.concatenate(
        [
            town.rows + np.array([people, places, 0])
            for town, people, places in zip(towns, n_people, n_places, strict=False)
        ]
    )
    row_of = np.array([catalogue.index[str(i)] for i in range(len(xy))], np.int32)
    order = np.lexsort((table[:, 2], table[:, 0]))
    return Dataset(
        catalogue=catalogue,
        interactions=Interactions(
            user_ids=tuple(str(u) for u in range(n_users)),
            user=table[order, 0].astype(np.int32),
            item=row_of[table[order, 1]],
            timestamp_s=table[order, 2],
            rating=np.ones(len(table), np.float32),
            friends=np.empty((0, 2), np.int32),
        ),
    )


def _scatter(
    rng: np.random.Generator, n: int, centres: NDArray[np.float64], *, spread_km: float
) -> NDArray[np.float64]:
    """Half around the middle of the city, half around its other centres."""
    chosen = centres[rng.integers(0, len(centres), n)]
    chosen[rng.random(n) < 0.5] = 0.0
    return chosen + rng.normal(0.0, spread_km, (n, 2)) * rng.exponential(0.7, (n, 1))


def _public_places(rng: np.random.Generator, n: int, centres: NDArray[np.float64]) -> _Places:
    share = np.array([k[1] for k in _KINDS])
    kind = rng.choice(len(_KINDS), n, p=share / share.sum())
    attraction = np.array([k[2] for k in _KINDS])[kind]
    blocks = np.array([k[3] for k in _KINDS])
    return _Places(
        xy_km=_scatter(rng, n, centres, spread_km=2.0),
        kind=kind,
        pull=attraction * rng.lognormal(0.0, 1.1, n),
        blocks=(blocks / blocks.sum(1, keepdims=True))[kind],
    )


def _office(
    rng: np.random.Generator, home: NDArray[np.float64], public: _Places
) -> NDArray[np.float64]:
    km = np.linalg.norm(public.xy_km - home, axis=1)
    weight = public.pull / (1.0 + km)
    near = public.xy_km[rng.choice(len(km), p=weight / weight.sum())]
    return np.asarray(near + rng.normal(0.0, 0.1, 2))


def _times(rng: np.random.Generator, n: int, days: int) -> NDArray[np.int64]:
    """Sorted local check-in times: on active days, in bursts, by hour of the day."""
    n_days = int(np.clip(rng.normal(0.65, 0.15) * n, 1, days))
    day = np.arange(days)
    weekday = np.array(_WEEKDAYS)[(day + 2) % 7]  # 2025-01-01 was a Wednesday
    active = rng.choice(day, n_days, replace=False, p=weekday / weekday.sum())
    chosen = rng.choice(active, n)
    hours = np.array(_HOURS, float)
    hour = rng.choice(24, n, p=hours / hours.sum())
    return np.sort(_START_S + chosen * 86_400 + hour * 3_600 + rng.integers(0, 60, n) * 60)


def _live(  # noqa: PLR0917
    rng: np.random.Generator,
    user: int,
    public: _Places,
    private_xy: list[NDArray[np.float64]],
    own: list[int],
    private_kind: list[int],
    days: int,
) -> list[tuple[int, int, int]]:
    """One person's check-ins as ``(user, place, timestamp_s)``."""
    n = int(np.clip(rng.lognormal(_LOG_MEAN, _LOG_SD), _MIN_CHECK_INS, _MAX_CHECK_INS))
    taste = rng.gamma(0.6, size=len(_KINDS)) + 0.02
    n_public = len(public.pull)
    walk = _Walk(
        room=len(own) + n,
        public=public,
        weight=public.pull * taste[public.kind],
        # Who has no home of its own in a crowded city starts from the middle.
        home=private_xy[own[0] - n_public] if own else np.zeros(2),
    )
    for place in own:
        is_home = private_kind[place - n_public] == -1
        walk.meet(
            place,
            private_xy[place - n_public],
            np.array(_HOME_BLOCKS if is_home else _OFFICE_BLOCKS),
            visits=3,
        )
    rows = []
    for time in _times(rng, n, days).tolist():
        n_known = len(walk.known)
        # Solar hour at the city's longitude, as the models see it.
        block = int((time / 3_600 + _CENTRE_DEG[1] / 15) % 24 // 3)
        if not n_known or rng.random() < _RHO * max(n_known, 1) ** -_GAMMA:
            slot = n_known
            if (place := walk.drawn_new(rng, block)) == len(public.pull):
                continue
            walk.meet(place, public.xy_km[place], public.blocks[place], visits=0)
        else:
            slot = walk.drawn_known(rng, block)
        walk.go(slot)
        rows.append((user, walk.known[slot], time))
    return rows


class _Walk:
    """Where one person has been, and what speaks for going anywhere from here.

    Args:
        room: Places that the person may come to know.
        public: Places of the town.
        weight: Shape ``(n_public,)``, how much the person is drawn to each.
        home: Shape ``(2,)``, position.
    """

    def __init__(
        self,
        *,
        room: int,
        public: _Places,
        weight: NDArray[np.float64],
        home: NDArray[np.float64],
    ) -> None:
        self.known: list[int] = []
        self._public, self._weight = public, weight
        self._near_home = 0.3 / (0.5 + _km(public.xy_km, home)) ** 1.6
        self._is_new = np.ones(len(public.pull), np.bool_)
        self._near: dict[int, NDArray[np.float64]] = {}
        self._home = home
        self._last = -1  # slot of the last visit
        # Of places by slot, the first ``len(known)`` of each:
        self._xy_km = np.zeros((room, 2))
        self._habit = np.zeros((len(_HOME_BLOCKS), room))
        self._visits = [0] * room
        self._order: list[int] = []  # slots, the most visited first, older ones before younger
        self._by_rank = np.zeros(room)
        self._of_rank = (np.arange(1, room + 1.0) ** -_RETURN_EXPONENT).tolist()
        self._far: dict[int, NDArray[np.float64]] = {}

    def meet(
        self, place: int, xy_km: NDArray[np.float64], blocks: NDArray[np.float64], *, visits: int
    ) -> None:
        """Know one place more, with so many visits before the first."""
        slot = len(self.known)
        self.known.append(place)
        if place < len(self._is_new):
            self._is_new[place] = False
        self._xy_km[slot] = xy_km
        self._habit[:, slot] = 0.25 + blocks * 8.0
        self._order.append(slot)
        self._visits[slot] = visits
        self._climb(slot)
        self._far.clear()

    def go(self, slot: int) -> None:
        """Visit a known place."""
        self._visits[slot] += 1
        self._climb(slot)
        self._last = slot

    def drawn_new(self, rng: np.random.Generator, block: int) -> int:
        """A place that the person does not know; beyond the last where there is none."""
        if self._last not in self._near:
            near = 1.0 / (0.3 + _km(self._public.xy_km, self._here)) ** 1.6
            self._near[self._last] = near + self._near_home
        chance = self._weight * self._near[self._last] * (self._public.blocks[:, block] + 0.01)
        chance *= self._is_new
        return _drawn(rng, chance)

    def drawn_known(self, rng: np.random.Generator, block: int) -> int:
        """Slot of a place that the person knows."""
        n = len(self.known)
        if self._last not in self._far:
            self._far[self._last] = (1.0 + _km(self._xy_km[:n], self._here)) ** 0.4
        chance = self._by_rank[:n] * self._habit[block, :n] / self._far[self._last]
        if self._last >= 0:
            chance[self._last] *= 0.6
        return _drawn(rng, chance)

    @property
    def _here(self) -> NDArray[np.float64]:
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


def _km(xy_km: NDArray[np.float64], here: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = (xy_km - here).T
    return np.asarray(np.sqrt(x * x + y * y))


def _drawn(rng: np.random.Generator, chance: NDArray[np.float64]) -> int:
    """An index by chances that need not add up to 1; beyond the last where all are 0."""
    line = chance.cumsum()
    if line[-1] <= 0:
        return len(line)
    return int(line.searchsorted(rng.random() * line[-1], side="right"))
