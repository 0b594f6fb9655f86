"""A synthetic city: places with a strong centre, and people with habits and tastes.

How people live is in ``people.py``. The constants are statistics of Foursquare check-ins in New
York (Yang et al., 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.dataset import Dataset
from p2prec.data.interactions import Interactions, in_order
from p2prec.data.people import Habits, Own, Places, lived

_CENTRE_DEG = (52.0, 5.0)  # nowhere in particular
_KM_PER_DEG = 111.2
_BETWEEN_TOWNS_KM = 60.0  # further than anybody goes
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
_PRIVATE = (
    ("Home", (0.13, 0.07, 0.11, 0.10, 0.11, 0.13, 0.18, 0.17)),
    ("Office", (0.01, 0.01, 0.25, 0.42, 0.16, 0.09, 0.04, 0.02)),
)

_AROUND = 32  # the place whose distance says how thinly places lie
_BLOCK_KM = 0.1

NEW_YORK = Habits()


def generate_city(
    *,
    rng: np.random.Generator,
    n_users: int,
    n_places: int,
    days: int = 320,
    habits: Habits = NEW_YORK,
) -> Dataset:
    """A city whose statistics follow real check-ins, where habits are those of New York.

    One third of the places are homes and offices that a single person uses, as in the real data;
    there are never more of them than two a person.

    Args:
        rng: Source of all randomness.
        n_users: People, at least 1.
        n_places: Places, at least ``3 * n_users`` for a city that looks like one.
        days: Length of the record.
        habits: Of its people.
    """
    return _dataset([_grown(rng, n_users, n_places, days, habits)], n_users)


def generate_towns(
    *,
    seed: int,
    n_users: int,
    n_places: int,
    people_per_town: int,
    days: int = 320,
    habits: Habits = NEW_YORK,
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
        habits: Of all people.
    """
    towns = []
    side = int(np.ceil(np.sqrt(-(-n_users // people_per_town))))
    for number, first in enumerate(range(0, n_users, people_per_town)):
        people = min(people_per_town, n_users - first)
        rng = np.random.default_rng([seed, number])
        town = _grown(rng, people, max(1, n_places * people // n_users), days, habits)
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


def _grown(
    rng: np.random.Generator, n_users: int, n_places: int, days: int, habits: Habits
) -> _Town:
    n_private = min(2 * n_users, n_places // 3)
    n_public = n_places - n_private
    centres = rng.normal(0.0, 5.0, (12, 2))
    public = _public_places(rng, n_public, centres, habits.crowding)
    home = _scatter(rng, n_users, centres, spread_km=3.0)
    private_xy: list[NDArray[np.float64]] = []
    private_names: list[str] = []
    rows: list[tuple[int, int, int]] = []
    for user in range(n_users):
        own: list[Own] = []
        office = _office(rng, home[user], public)
        for (name, blocks), at in zip(_PRIVATE, (home[user], office), strict=True):
            if len(private_xy) < n_private:
                place = n_public + len(private_xy)
                own.append(Own(place=place, xy_km=at, blocks=blocks))
                private_xy.append(at)
                private_names.append(name)
        life = lived(rng, habits, public, own, days, _CENTRE_DEG[1])
        rows += [(user, place, time) for place, time in life]
    return _Town(
        xy_km=np.concatenate([public.xy_km, np.array(private_xy).reshape(-1, 2)]),
        categories=[_KINDS[k][0] for k in public.kind] + private_names,
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
    item = row_of[table[:, 1]]
    order = in_order(table[:, 0], table[:, 2], item)
    return Dataset(
        catalogue=catalogue,
        interactions=Interactions(
            user_ids=tuple(str(u) for u in range(n_users)),
            user=table[order, 0].astype(np.int32),
            item=item[order],
            timestamp_s=table[order, 2],
            rating=np.ones(len(order), np.float32),
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


def _public_places(
    rng: np.random.Generator, n: int, centres: NDArray[np.float64], crowding: float
) -> Places:
    share = np.array([k[1] for k in _KINDS])
    kind = rng.choice(len(_KINDS), n, p=share / share.sum())
    attraction = np.array([k[2] for k in _KINDS])[kind]
    blocks = np.array([k[3] for k in _KINDS])
    xy_km, pull = _scatter(rng, n, centres, spread_km=2.0), attraction * rng.lognormal(0.0, 1.1, n)
    if crowding:
        from scipy.spatial import cKDTree

        nearest_km, _ = cKDTree(xy_km).query(xy_km, k=[min(_AROUND, n)])
        pull *= (_BLOCK_KM + nearest_km[:, 0]) ** crowding
    return Places(
        xy_km=xy_km,
        kind=kind,
        n_kinds=len(_KINDS),
        pull=pull,
        blocks=(blocks / blocks.sum(1, keepdims=True))[kind],
    )


def _office(
    rng: np.random.Generator, home: NDArray[np.float64], public: Places
) -> NDArray[np.float64]:
    km = np.linalg.norm(public.xy_km - home, axis=1)
    weight = public.pull / (1.0 + km)
    near = public.xy_km[rng.choice(len(km), p=weight / weight.sum())]
    return np.asarray(near + rng.normal(0.0, 0.1, 2))
