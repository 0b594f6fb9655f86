"""What is modelled of devices, links and people has its effect on a run."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peers import events as ev
from peers.life import Peer, Phase
from peers.messages import PeerId
from peers.scenario import MethodConfig
from peers.simulator.config import DeviceClass, Partition, SimulationConfig
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World
from tests.sim.worlds import REALM, SCENARIO, lived, sessions, world_of

BASE = SCENARIO.simulation
ALONE = replace(SCENARIO, methods=(MethodConfig(name="alone", models=("next_place/4",)),))


def on(kind: DeviceClass, **devices: Any) -> float:
    """Virtual seconds in which all learn alone on devices of one kind, some seconds a round."""
    devices = {"classes": (kind,), "seconds_per_example": 0.5, **devices}
    simulation = replace(BASE, devices=replace(BASE.devices, **devices))
    world = World(replace(ALONE, simulation=simulation), ALONE.methods[0], REALM)
    return lived(world)[1]


def linked(**network: Any) -> SimulationConfig:
    return replace(BASE, network=replace(BASE.network, **network))


def endless(simulation: SimulationConfig, **more: Any) -> World:
    """Rounds follow each other until the virtual end."""
    schedule = replace(SCENARIO.schedule, round_interval_s=5.0, max_rounds=0)
    return world_of(simulation, schedule=schedule, **more)


def counted(peers: Iterable[SimulatedPeer], what: str) -> int:
    return sum(peer.counters[f"{what}.{way}"] for peer in peers for way in ("tcp", "mqtt"))


def test_a_slow_device_trains_longer_by_its_speed() -> None:
    laptop, pi = (on(DeviceClass(name=n, share=1.0, speed=s)) for n, s in (("a", 1.0), ("b", 0.2)))
    assert pi / laptop == pytest.approx(5.0, rel=0.03)


def test_an_empty_battery_delays_a_round() -> None:
    mains, battery = (DeviceClass(name="phone", share=1.0, battery_s=s) for s in (0.0, 30.0))
    # The second round of 24 s finds 6 s left: 18 s come at 0.1 s a second.
    longer_s = on(battery, charge_per_h=360.0) - on(mains)
    assert longer_s == pytest.approx(180.0, abs=30.0)


@pytest.fixture(scope="module")
def usual_s() -> float:
    return lived(world_of(BASE))[1]


def test_messages_that_travel_long_make_a_run_longer(usual_s: float) -> None:
    slow = linked(lan_latency_ms=6_000.0, broker_latency_ms=6_000.0, latency_spread=0.0)
    assert lived(world_of(slow))[1] > usual_s + 2 * 6.0  # a greeting and its answer at the least


def test_narrow_uplinks_make_a_run_longer(usual_s: float) -> None:
    narrow = linked(lan_mbit_s=0.004, broker_mbit_s=0.004)  # a greeting takes 8 s
    assert lived(world_of(narrow))[1] > usual_s + 2 * 8.0


def test_a_crashed_peer_goes_on_with_what_was_saved() -> None:
    world = endless(
        replace(
            BASE, hours=0.02, devices=replace(BASE.devices, crashes_per_day=1e-9, restart_s=5.0)
        )
    )  # so that rounds are saved
    rounds: list[int] = []

    def look(_: float, peers: dict[int, SimulatedPeer]) -> None:
        peer = peers[0]
        if peer.lives == 2 and not rounds:
            assert peer.life is not None
            assert peer.learner is not None
            assert peer.saved.learner is not None
            rounds.extend((peer.life.round, peer.saved.round))
            held = peer.learner.state()
            assert held.keys() == peer.saved.learner.keys()
            for name, value in held.items():
                np.testing.assert_array_equal(value, peer.saved.learner[name])

    lived(world, look=look, prepare=lambda s: s._fates.add(s.peers[0], 40.0, "crashes"))
    began, saved = rounds
    assert saved > 0
    assert began == saved


def test_who_leaves_says_goodbye_and_its_neighbours_drop_it() -> None:
    people = replace(BASE.people, leave_share=0.4, leave_within_h=0.015)
    left_s: dict[int, float] = {}
    followed: set[tuple[int, int]] = set()  # and by whom
    dropped: set[tuple[int, int]] = set()

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        lives = {i: peer.life for i, peer in peers.items() if peer.life is not None}
        for i in (i for i, life in lives.items() if life.phase is Phase.HALTED):
            gone_s = now_s - left_s.setdefault(i, now_s)
            name, staying = peers[i].papers.peer_id, lives.keys() - left_s.keys()
            of = {(i, j) for j in staying if name in lives[j].neighbours}
            if not gone_s:
                followed.update(of)
            elif 3.0 < gone_s < 5.0:
                dropped.update({(i, j) for j in staying} - of)

    shard, _ = lived(endless(replace(BASE, hours=0.02, people=people)), look=look)
    assert sum(shard.peers[i].counters["said.goodbye"] for i in left_s) > len(left_s)
    staying = shard.peers.keys() - left_s.keys()
    asked = {(i, j) for i, j in followed if j in staying}
    assert len(asked) > 3
    assert asked <= dropped


def test_nothing_is_received_while_a_device_is_away(tmp_path: Path) -> None:
    trace = sessions(tmp_path, {1: [(0.0, 25.0), (50.0, 1e9)]})  # it is reached by a broker
    simulation = replace(BASE, hours=0.02, devices=replace(BASE.devices, session_trace=trace))
    received: list[tuple[float, int]] = []

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        received.append((now_s, counted([peers[1]], "received")))

    shard, _ = lived(endless(simulation), look=look)
    away = {n for now_s, n in received if 25.0 < now_s <= 50.0}
    assert len(away) == 1
    assert 0 < min(away) < received[-1][1]
    assert shard.peers[1].counters["dropped.away"] > 0


def test_of_what_is_sent_the_share_arrives_that_is_not_lost() -> None:
    peers = lived(endless(replace(linked(loss=0.3), hours=0.04)))[0].peers.values()
    assert counted(peers, "sent") > 700
    share = counted(peers, "received") / counted(peers, "sent")
    assert share == pytest.approx(0.7, abs=0.04)


@pytest.mark.parametrize("reordering", [0.0, 0.5])
def test_later_messages_come_first_where_some_are_held_back(
    reordering: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[tuple[int, PeerId], list[float]] = defaultdict(list)
    handle = Peer.handle

    def noting(life: Peer, event: ev.Event, now: float) -> list[ev.Effect]:
        if isinstance(event, ev.Arrived):
            heard[id(life), event.sender].append(event.order)
        return handle(life, event, now)

    monkeypatch.setattr(Peer, "handle", noting)
    lived(world_of(linked(reordering=reordering, held_back_s=20.0, latency_spread=0.0)))
    pairs = [pair for orders in heard.values() for pair in itertools.pairwise(orders)]
    assert len(pairs) > 100
    assert any(a > b for a, b in pairs) is bool(reordering)


def test_peers_on_both_sides_of_a_partition_meet_when_it_has_healed() -> None:
    until_s = 40.0
    cut = linked(partitions=(Partition(from_s=0.0, to_s=until_s),))
    world = world_of(
        replace(cut, hours=0.15),  # those who gave no answer are greeted again after 300 s
        neighbours=replace(SCENARIO.neighbours, k=10),
        schedule=replace(SCENARIO.schedule, round_interval_s=60.0, max_rounds=0),
    )
    links: list[tuple[float, int, int]] = []  # time, inside, across

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        index = {peer.papers.peer_id: i for i, peer in peers.items()}
        across = Counter(
            world.network.cut(i, index[p], 0.0)
            for i, peer in peers.items()
            if peer.life is not None
            for p in peer.life.neighbours
        )
        links.append((now_s, across[False], across[True]))

    lived(world, look=look)
    before = [(inside, across) for now_s, inside, across in links if now_s <= until_s]
    assert before[-1][0] > 0
    assert not any(across for _, across in before)
    assert links[-1][2] > 0


def test_check_ins_become_known_at_their_own_time() -> None:
    people = replace(BASE.people, replay_days=3.0)
    schedule = replace(SCENARIO.schedule, round_interval_s=12 * 3_600.0, max_rounds=0)
    simulation = replace(BASE, hours=80.0, people=people)
    world = World(replace(ALONE, simulation=simulation, schedule=schedule), ALONE.methods[0], REALM)
    grew: set[int] = set()

    def look(now_s: float, peers: dict[int, SimulatedPeer]) -> None:
        for i, peer in peers.items():
            times_s = world.split(i).train.timestamp_s
            assert peer.known == np.searchsorted(times_s, world.epoch_s + now_s, side="left")
            if peer.learner is not None:
                assert len(peer.learner.knowledge.history) == peer.known
            if world.known_at_start(i) < peer.known < len(times_s):
                grew.add(i)

    lived(world, look=look)
    assert len(grew) > SCENARIO.peers.count // 2
