"""Nearest places of a kind: a tree finds what all distances find."""

from __future__ import annotations

import numpy as np
import pytest

from p2prec.data.catalogue import Catalogue
from p2prec.models import geo
from p2prec.models.geo import distance_km, drawn_alike, nearest_alike


def catalogue(seed: int) -> Catalogue:
    rng = np.random.default_rng(seed)
    n = 300
    lat, lon = rng.uniform(59.0, 61.0, n), rng.choice([-179.7, 179.7], n) + rng.normal(0, 0.2, n)
    lon = (lon + 180.0) % 360.0 - 180.0  # around the date line
    lat[::9] = lon[::9] = np.nan
    return Catalogue.build(
        item_ids=[str(i) for i in range(n)],
        latitude_deg=lat,
        longitude_deg=lon,
        category_names=[("Bar", "Shop", "")[i % 3] for i in rng.permutation(n)],
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_tree_finds_what_all_distances_find(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(geo, "_MANY", 10)
    places = catalogue(seed)
    placed = np.isfinite(places.latitude_deg)
    for item in np.flatnonzero(placed).tolist():
        alike = np.flatnonzero(placed & (places.category == places.category[item]))
        alike = alike[alike != item]
        km = distance_km(
            places.latitude_deg[alike],
            places.longitude_deg[alike],
            places.latitude_deg[item],
            places.longitude_deg[item],
        )
        wanted = alike[np.argsort(km, kind="stable")[:12]]
        assert nearest_alike(places, item, 12).tolist() == wanted.tolist()


def test_what_lies_nowhere_is_drawn_from_all_of_its_category() -> None:
    films = Catalogue.build(
        item_ids=[str(i) for i in range(120)],
        latitude_deg=np.full(120, np.nan),
        longitude_deg=np.full(120, np.nan),
        category_names=["one" if i == 119 else "other" for i in range(120)],
    )
    rng = np.random.default_rng(0)
    drawn = [drawn_alike(films, 60, 10, 2, rng) for _ in range(2_000)]
    assert all(len(set(two)) == 2 and 60 not in two and 119 not in two for two in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=120)
    assert (np.delete(counts[:119], 60) > 5).all()  # 34 are expected, with a deviation of 6
    assert drawn_alike(films, 119, 10, 2, rng) == []


def partly_placed() -> Catalogue:
    """Of the first 200 every tenth lies somewhere, of five all but 202, of five only 207."""
    number = np.arange(210)
    placed = np.where(number < 200, number % 10 == 0, (number < 205) ^ (number % 5 == 2))
    return Catalogue.build(
        item_ids=[str(i) for i in range(210)],
        latitude_deg=np.where(placed, number / 10, np.nan),
        longitude_deg=np.where(placed, 0.0, np.nan),
        category_names=["some"] * 200 + ["all but one"] * 5 + ["only one"] * 5,
    )


@pytest.mark.parametrize("many", [4_096, 10])  # with a tree and without
def test_what_is_drawn_lies_somewhere_where_the_item_does(
    monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(geo, "_MANY", many)
    items, rng = partly_placed(), np.random.default_rng(0)
    placed = np.isfinite(items.latitude_deg)
    for item, sort in ((100, placed), (57, ~placed)):
        drawn = {other for _ in range(3_000) for other in drawn_alike(items, item, 40, 1, rng)}
        assert drawn == set(np.flatnonzero(sort[:200])) - {item}


def test_nothing_stands_in_for_the_only_one_that_lies_somewhere_or_nowhere() -> None:
    items, rng = partly_placed(), np.random.default_rng(0)
    for alone in (202, 207):
        assert drawn_alike(items, alone, 40, 3, rng) == []
        assert len(drawn_alike(items, alone + 1, 40, 3, rng)) == 3


def test_a_place_is_drawn_from_the_nearest_of_its_category() -> None:
    places, rng = catalogue(0), np.random.default_rng(0)
    for item in np.flatnonzero(np.isfinite(places.latitude_deg))[::7].tolist():
        near = set(nearest_alike(places, item, 5).tolist())
        drawn = [drawn_alike(places, item, 5, 3, rng) for _ in range(60)]
        assert {other for three in drawn for other in three} == near
        assert all(len(set(three)) == 3 for three in drawn)


def test_the_way_over_the_date_line_is_the_short_one() -> None:
    one, other = np.array([179.5]), np.array([-179.5])
    zero = np.zeros(1)
    assert distance_km(zero, one, zero, other) == pytest.approx([111.195], abs=0.01)
    assert distance_km(zero, other, zero, one) == pytest.approx([111.195], abs=0.01)
