"""What befalls a device that is off waits until it is on again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from peers.life import Phase
from peers.simulator.config import SimulationConfig
from peers.simulator.peer import SimulatedPeer
from peers.simulator.shard import Shard
from peers.simulator.world import World
from tests.sim.worlds import SCENARIO, lived, sessions, world_of


def of_sessions(
    folder: Path, of: dict[int, list[tuple[float, float]]], **devices: float
) -> SimulationConfig:
    base = SCENARIO.simulation
    trace = sessions(folder, of)
    return replace(base, hours=0.025, devices=replace(base.devices, session_trace=trace, **devices))


def endless(simulation: SimulationConfig) -> World:
    """Rounds follow each other until the virtual end."""
    schedule = replace(SCENARIO.schedule, round_interval_s=5.0, max_rounds=0)
    return world_of(simulation, schedule=schedule)


def test_who_is_never_on_line_is_never_seen(tmp_path: Path) -> None:
    shard, _ = lived(endless(of_sessions(tmp_path, {0: []})))
    hidden = shard.peers[0]
    assert hidden.lives == 0
    assert hidden.advert is None
    assert not hidden.counters["sent.tcp"] + hidden.counters["sent.mqtt"]
    name = hidden.papers.peer_id
    others = [peer.life for i, peer in shard.peers.items() if i]
    assert all(life is not None and name not in life.known for life in others)


def test_who_is_off_line_at_first_joins_with_its_first_session(tmp_path: Path) -> None:
    world = endless(of_sessions(tmp_path, {0: [(30.0, 1e9)]}))
    began_s: list[float] = []

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        if peers[0].lives and not began_s:
            began_s.append(now_s)

    shard, _ = lived(world, look=look)
    assert began_s[0] == pytest.approx(30.0, abs=2 * world.slice_s)
    assert shard.peers[0].counters["said.hello"] > 0


@pytest.mark.parametrize(("restart_s", "due_s"), [(10.0, 60.0), (50.0, 65.0)])
def test_a_crashed_device_that_is_off_restarts_when_it_is_on(
    restart_s: float, due_s: float, tmp_path: Path
) -> None:
    off = {0: [(0.0, 20.0), (60.0, 1e9)]}
    world = endless(of_sessions(tmp_path, off, restart_s=restart_s))
    again_s: list[float] = []

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        if peers[0].lives == 2 and not again_s:
            again_s.append(now_s)

    lived(world, look=look, prepare=lambda s: s._fates.add(s.peers[0], 15.0, "crashes"))
    assert again_s[0] == pytest.approx(due_s, abs=2 * world.slice_s)


@pytest.mark.parametrize("crash_s", [None, 15.0, 35.0])
def test_who_leaves_with_a_device_that_is_off_says_goodbye_when_it_is_on(
    crash_s: float | None, tmp_path: Path
) -> None:
    off = {0: [(0.0, 20.0), (60.0, 1e9)]}
    world = endless(of_sessions(tmp_path, off, restart_s=10.0))
    said: list[tuple[float, int]] = []

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        said.append((now_s, peers[0].counters["said.goodbye"]))

    def prepare(shard: Shard) -> None:
        shard._fates.add(shard.peers[0], 30.0, "leaves")
        if crash_s is not None:
            shard._fates.add(shard.peers[0], crash_s, "crashes")

    shard, _ = lived(world, look=look, prepare=prepare)
    assert not any(n for now_s, n in said if now_s < 60.0)
    life = shard.peers[0].life
    assert life is not None
    assert life.phase is Phase.HALTED
    if crash_s is None:  # else it has come back to nobody yet
        assert shard.peers[0].counters["said.goodbye"] > 0


def test_who_leaves_while_a_crashed_device_restarts_leaves_then(tmp_path: Path) -> None:
    def prepare(shard: Shard) -> None:
        shard._fates.add(shard.peers[0], 15.0, "crashes")
        shard._fates.add(shard.peers[0], 20.0, "leaves")

    shard, _ = lived(endless(of_sessions(tmp_path, {}, restart_s=10.0)), prepare=prepare)
    life = shard.peers[0].life
    assert life is not None
    assert life.phase is Phase.HALTED
    assert shard.peers[0].lives == 2
