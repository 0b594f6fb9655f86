"""The estimate of a world's memory knows what peers will hold, not only what they begin with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peers.scenario import MethodConfig
from peers.simulator.estimate import bytes_per_peer
from peers.simulator.world import World
from tests.sim.worlds import REALM, SCENARIO


def estimated(method: str) -> float:
    config = MethodConfig(name=method, models=("mf/8",))
    return bytes_per_peer(World(replace(SCENARIO, methods=(config,)), config, REALM))


@pytest.mark.parametrize(("method", "without"), [("mac", "alone"), ("dclr_mac", "dclr")])
def test_what_is_taught_counts(method: str, without: str) -> None:
    """After some rounds of mac a peer holds 11 KiB of references and 28 of what it was taught."""
    assert estimated(method) > estimated(without) + 39 * 1024
