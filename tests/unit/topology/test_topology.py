"""Cells, sketches, similarities and selection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2prec.data.city import generate_city, generate_towns
from topology.cells import (
    NOWHERE,
    area_cell,
    blurred,
    cell_centre,
    cell_elsewhere,
    coarse_cell,
)
from topology.profile import category_profile, sketch
from topology.selection import SELECTIONS, Candidate, choose_neighbours
from topology.similarity import geographic_similarity, semantic_similarity

CITY = generate_city(rng=np.random.default_rng(0), n_users=4, n_places=60)
candidates = st.lists(
    st.builds(
        Candidate,
        peer_id=st.text("abcdef", min_size=4, max_size=4),
        geographic=st.floats(0, 1),
        semantic=st.floats(0, 1),
        is_friend=st.booleans(),
    ),
    unique_by=lambda c: c.peer_id,
    max_size=20,
)


@given(candidates, st.sampled_from(sorted(SELECTIONS)), st.integers(0, 8), st.integers(0, 99))
def test_selection_is_bounded_distinct_and_repeatable(
    among: list[Candidate], selection: str, k: int, seed: int
) -> None:
    def choose() -> list[str]:
        return choose_neighbours(
            among,
            selection=selection,
            k=k,
            geographic_threshold=0.5,
            semantic_threshold=0.5,
            random_share=0.25,
            rng=np.random.default_rng(seed),
        )

    chosen = choose()
    assert len(chosen) == len(set(chosen)) == min(k, len(among))
    assert set(chosen) <= {c.peer_id for c in among}
    assert chosen == choose()


def test_a_cell_elsewhere_is_that_of_any_place_of_the_realm() -> None:
    catalogue = generate_towns(seed=0, n_users=9, n_places=60, people_per_town=3).catalogue
    lat, lon = catalogue.latitude_deg.copy(), catalogue.longitude_deg
    cells = [coarse_cell(latitude_deg=a, longitude_deg=b) for a, b in zip(lat, lon, strict=True)]
    drawn = [cell_elsewhere(catalogue, number) for number in range(1 << 40, (1 << 40) + 60)]
    assert sorted(drawn) == sorted(cells)
    assert len(set(cells)) > 1
    lat[:] = np.nan
    assert cell_elsewhere(replace(catalogue, latitude_deg=lat), 7) == NOWHERE


def test_the_nearest_are_chosen() -> None:
    among = [Candidate(peer_id=str(i), geographic=i / 10, semantic=1 - i / 10) for i in range(10)]
    options = {
        "k": 2,
        "geographic_threshold": 0.0,
        "semantic_threshold": 0.0,
        "random_share": 0.0,
        "rng": np.random.default_rng(0),
    }
    assert choose_neighbours(among, selection="geography", **options) == ["9", "8"]  # type: ignore[arg-type]
    assert choose_neighbours(among, selection="category", **options) == ["0", "1"]  # type: ignore[arg-type]


def test_geographic_similarity_falls_with_distance() -> None:
    home = area_cell(latitude_deg=40.7, longitude_deg=-74.0)
    near = area_cell(latitude_deg=40.75, longitude_deg=-74.0)
    far = area_cell(latitude_deg=42.0, longitude_deg=-74.0)
    assert geographic_similarity(home, home) == pytest.approx(1.0)
    assert geographic_similarity(home, near) > geographic_similarity(home, far)
    assert geographic_similarity(home, near) == pytest.approx(geographic_similarity(near, home))
    assert geographic_similarity(home, "") == geographic_similarity(home, "zz") == 0.0


def test_sketches_estimate_overlap_without_bias() -> None:
    rng = np.random.default_rng(1)
    history = CITY.interactions.history(0)
    pairs = [
        semantic_similarity(
            sketch(CITY.catalogue, history, rng=rng), sketch(CITY.catalogue, history, rng=rng)
        )
        for _ in range(200)
    ]
    assert np.mean(pairs) > 0.7
    assert semantic_similarity(b"", b"") == 0.0


def test_blur_has_the_promised_mean() -> None:
    rng = np.random.default_rng(0)
    shifts = [
        np.hypot((p[0] - 40.0) * 111.2, (p[1] + 74.0) * 111.2 * np.cos(np.radians(40.0)))
        for p in (blurred((40.0, -74.0), epsilon_per_km=np.log(4), rng=rng) for _ in range(2_000))
    ]
    assert np.mean(shifts) == pytest.approx(2 / np.log(4), rel=0.05)
    assert cell_centre("nonsense") is None


def test_a_profile_is_a_distribution_over_all_categories() -> None:
    profile = category_profile(CITY.catalogue, CITY.interactions.history(0))
    assert profile.shape == (len(CITY.catalogue.categories),)
    assert profile.min() > 0
    assert profile.sum() == pytest.approx(1.0)
