"""A synthetic city: places with a strong centre, and people with habits and tastes.

The mechanisms are those of the exploration and preferential return model (Song et al., Nature
Physics 2010): a new place with probability ``rho S^-gamma``, else a known one by its rank. The
constants are statistics of Foursquare check-ins in New York (Yang et al., 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.dataset import Dataset
from p2prec.data.interactions import Interactions

_CENTRE_DEG = (52.0, 5.0)  # nowhere in particular
_KM_PER_DEG = 111.2
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
    xy = np.concatenate([public.xy_km, np.array(private_xy).reshape(-1, 2)])
    label = {-1: "Home", -2: "Office"}
    categories = [names[k] for k in public.kind] + [label[k] for k in private_kind]
    catalogue = Catalogue.build(
        item_ids=[str(i) for i in range(len(xy))],
        latitude_deg=_CENTRE_DEG[0] + xy[:, 1] / _KM_PER_DEG,
        longitude_deg=_CENTRE_DEG[1]
        + xy[:, 0] / (_KM_PER_DEG * np.cos(np.radians(_CENTRE_DEG[0]))),
        category_names=categories,
    )
    table = np.array(rows, np.int64)
    item = np.array([catalogue.index[str(i)] for i in table[:, 1]], np.int32)
    order = np.lexsort((table[:, 2], table[:, 0]))
    return Dataset(
        catalogue=catalogue,
        interactions=Interactions(
            user_ids=tuple(str(u) for u in range(n_users)),
            user=table[order, 0].astype(np.int32),
            item=item[order],
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
    weight = public.pull * taste[public.kind]
    n_public = len(public.pull)
    known: list[int] = list(own)
    counts = np.array([3.0] * len(own))
    place_xy = [private_xy[p - n_public] for p in own]
    # Who has no home of its own in a crowded city starts from the middle.
    home = place_xy[0] if place_xy else np.zeros(2)
    block_of = [
        np.array(_HOME_BLOCKS if private_kind[p - n_public] == -1 else _OFFICE_BLOCKS) for p in own
    ]
    here = home
    rows = []
    last = -1
    for time in _times(rng, n, days):
        # Solar hour at the city's longitude, as the models see it.
        block = int((time / 3_600 + _CENTRE_DEG[1] / 15) % 24 // 3)
        if not known or rng.random() < _RHO * max(len(known), 1) ** -_GAMMA:
            km_here = np.linalg.norm(public.xy_km - here, axis=1)
            km_home = np.linalg.norm(public.xy_km - home, axis=1)
            near = 1.0 / (0.3 + km_here) ** 1.6 + 0.3 / (0.5 + km_home) ** 1.6
            chance = weight * near * (public.blocks[:, block] + 0.01)
            chance[[k for k in known if k < n_public]] = 0.0
            if chance.sum() <= 0:
                continue
            at = int(rng.choice(n_public, p=chance / chance.sum()))
            known.append(at)
            counts = np.append(counts, 0.0)
            place_xy.append(public.xy_km[at])
            block_of.append(public.blocks[at])
            slot = len(known) - 1
        else:
            rank = np.empty(len(known))
            rank[np.argsort(-counts, kind="stable")] = np.arange(1, len(known) + 1)
            habit = np.array([b[block] for b in block_of]) * 8.0
            km = np.linalg.norm(np.array(place_xy) - here, axis=1)
            chance = rank**-_RETURN_EXPONENT * (0.25 + habit) / (1.0 + km) ** 0.4
            if 0 <= last < len(known):
                chance[last] *= 0.6
            slot = int(rng.choice(len(known), p=chance / chance.sum()))
        counts[slot] += 1.0
        here = np.asarray(place_xy[slot])
        last = slot
        rows.append((user, known[slot], int(time)))
    return rows
