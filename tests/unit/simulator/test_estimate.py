"""The estimate of a world's memory knows what peers will hold, not only what they begin with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peers.scenario import MethodConfig
from peers.simulator.estimate import bytes_per_peer
from peers.simulator.world import World
from tests.sim.worlds import REALM, SCENARIO


def estimated(method: str, *models: str) -> float:
    config = MethodConfig(name=method, models=models or ("mf/8",))
    return bytes_per_peer(World(replace(SCENARIO, methods=(config,)), config, REALM))


@pytest.mark.parametrize(("method", "without"), [("mac", "alone"), ("dclr_mac", "dclr")])
def test_what_is_taught_counts(method: str, without: str) -> None:
    """After some rounds of mac a peer holds 11 KiB of references and 28 of what it was taught.

    There is room for as much again.
    """
    assert estimated(method) > estimated(without) + 2 * 39 * 1024


def test_of_models_given_in_turn_all_count() -> None:
    """Whichever of them the first peer has."""
    small, large = (estimated("mac", f"mf/{size}") for size in (4, 64))
    both = [estimated("mac", *models) for models in (("mf/4", "mf/64"), ("mf/64", "mf/4"))]
    assert both[0] == pytest.approx(both[1], rel=0.1)
    assert both == pytest.approx([(small + large) / 2] * 2, rel=0.15)
