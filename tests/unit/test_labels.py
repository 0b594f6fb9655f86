"""Cells around a cell."""

from __future__ import annotations

import h3
import pytest

from peers.discovery.labels import cells_around
from topology.cells import NOWHERE, coarse_cell


@pytest.mark.parametrize("ring", [1, 2])
def test_rings_are_disjoint_and_surround_the_cell(ring: int) -> None:
    cell = coarse_cell(latitude_deg=40.7, longitude_deg=-74.0)
    around = cells_around(cell, ring)
    assert len(around) == len(set(around)) == 6 * ring
    assert {h3.grid_distance(cell, other) for other in around} == {ring}


def test_a_pentagon_has_five_and_no_cell_has_none() -> None:
    pentagon = min(h3.get_pentagons(4))
    assert len(cells_around(pentagon, 1)) == 5
    assert cells_around(NOWHERE, 1) == []
