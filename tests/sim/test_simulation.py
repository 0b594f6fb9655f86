"""Worlds in virtual time: the same on any number of shards, whatever befalls their peers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from p2prec.errors import ConfigError
from peers.cli.main import app
from peers.scenario import load_scenario
from peers.simulator import estimate, shard
from peers.simulator.command import run_simulation, simulate
from peers.simulator.config import SimulationConfig
from peers.simulator.run import InProcess, live
from peers.simulator.world import World
from tests.sim.worlds import REALM, SCENARIO, hard, written


def simulated(simulation: SimulationConfig, *, processes: int = 1) -> dict[str, Any]:
    return simulate(replace(SCENARIO, simulation=simulation), REALM, processes=processes)


def test_a_run_is_the_same_twice_sealed_and_on_several_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard, "_GROUP", 3)
    plain = simulated(SCENARIO.simulation)
    assert plain["digest"] == simulated(SCENARIO.simulation)["digest"]
    assert plain["digest"] == simulated(SCENARIO.simulation, processes=3)["digest"]
    assert plain["digest"] == simulated(replace(SCENARIO.simulation, seal=True))["digest"]
    other = simulate(replace(SCENARIO, seed=1), REALM)
    assert other["digest"] != plain["digest"]


def test_all_peers_meet_exchange_and_finish() -> None:
    summary = simulated(SCENARIO.simulation)
    method = summary["methods"]["dclr"]
    assert summary["lost"] == 0
    assert summary["ready"] == SCENARIO.peers.count
    assert method["peer_rounds"] == 2 * SCENARIO.peers.count
    assert summary["messages"]["tcp"] > 0 < summary["messages"]["mqtt"]
    assert summary["discovered_by"]["mdns"] > 0 < summary["discovered_by"]["mqtt"]
    assert method["all"]["n"] == SCENARIO.peers.count
    assert method["bytes_per_peer"] > 1_000
    assert 0 < summary["virtual_seconds"] < 300
    assert {c["round"] for c in method["validation"]} == {1, 2}


def test_a_hard_world_is_reproducible_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "_GROUP", 3)
    one = simulated(hard())
    assert one["digest"] == simulated(hard(), processes=2)["digest"]
    assert one["restarted"] > 0
    assert one["methods"]["dclr"]["all"]["n"] > SCENARIO.peers.count // 2


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 1_000),
    loss=st.sampled_from([0.0, 0.3]),
    duplication=st.sampled_from([0.0, 0.5]),
    crashes=st.sampled_from([0.0, 3_000.0]),
    online_h=st.sampled_from([0.0, 0.005]),
    leave=st.sampled_from([0.0, 0.5]),
    replay_days=st.sampled_from([0.0, 0.001]),
)
def test_any_world_comes_to_its_end(  # noqa: PLR0917
    seed: int,
    loss: float,
    duplication: float,
    crashes: float,
    online_h: float,
    leave: float,
    replay_days: float,
) -> None:
    note(f"p2prec simulate small.toml --seed {seed}, with the values above in [simulation]")
    base = SCENARIO.simulation
    simulation = replace(
        base,
        hours=0.05,
        network=replace(base.network, loss=loss, duplication=duplication, reordering=loss),
        devices=replace(
            base.devices, crashes_per_day=crashes, restart_s=1.0, online_h=online_h, offline_h=0.003
        ),
        people=replace(
            base.people, leave_share=leave, leave_within_h=0.02, replay_days=replay_days
        ),
    )
    scenario = replace(
        SCENARIO, seed=seed, simulation=simulation, peers=replace(SCENARIO.peers, count=6)
    )
    world = World(scenario, scenario.methods[0], replace(REALM, histories=REALM.histories[:6]))
    hand = InProcess(world, 0, 1)
    (report,), virtual_s = live(world, [hand])
    assert virtual_s <= 0.05 * 3_600
    for peer in hand.shard.peers.values():
        assert peer.counters["dropped.from_myself"] == 0
        if not loss and not crashes and not online_h and not leave:
            assert peer.counters["dropped.too_many_messages"] == 0
    if duplication and report.peer_rounds:
        assert sum(p.counters["dropped.replayed"] for p in hand.shard.peers.values()) > 0


def test_check_ins_come_in_their_order_while_the_network_learns() -> None:
    simulation = replace(
        SCENARIO.simulation, hours=49.0, people=replace(SCENARIO.simulation.people, replay_days=2.0)
    )
    schedule = replace(SCENARIO.schedule, round_interval_s=6 * 3_600.0, max_rounds=0)
    scenario = replace(SCENARIO, simulation=simulation, schedule=schedule)
    world = World(scenario, scenario.methods[0], REALM)
    hand = InProcess(world, 0, 1)
    before = {i: p.known for i, p in hand.shard.peers.items()}
    live(world, [hand])
    grown = {i: p.known - before[i] for i, p in hand.shard.peers.items()}
    assert sum(grown.values()) > 0
    for i, peer in hand.shard.peers.items():
        assert peer.known == len(world.split(i).train)


def test_who_joins_late_is_waited_for() -> None:
    people = replace(SCENARIO.simulation.people, late_share=0.5, late_within_h=2.0)
    summary = simulated(replace(SCENARIO.simulation, people=people))
    assert summary["lost"] == 0
    assert summary["methods"]["dclr"]["peer_rounds"] == 2 * SCENARIO.peers.count
    assert summary["virtual_seconds"] > 600.0


def test_half_of_the_peers_cannot_be_reached_during_a_partition() -> None:
    base = SCENARIO.simulation
    partition = {"from_s": 0.0, "to_s": 1_000.0, "share": 0.5}
    from peers.simulator.config import Partition

    whole = simulated(base)
    cut = simulated(
        replace(base, network=replace(base.network, partitions=(Partition(**partition),)))
    )
    links = cut["methods"]["dclr"]["links"]
    world = World(
        replace(
            SCENARIO,
            simulation=replace(
                base, network=replace(base.network, partitions=(Partition(**partition),))
            ),
        ),
        SCENARIO.methods[0],
        REALM,
    )
    assert links
    assert not any(world.network.cut(i, j, 10.0) for i, j in links)
    assert len(whole["methods"]["dclr"]["links"]) > len(links)


def test_the_command_prints_what_a_swarm_prints(tmp_path: Path) -> None:
    path = str(written(tmp_path))
    result = CliRunner().invoke(app, ["simulate", path, "--json", "--quiet", "--seed", "2"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["seed"] == 2
    assert {"peers", "seconds", "seconds_to_ready", "uss_mib", "messages", "discovered_by"} <= set(
        summary
    )
    assert {"virtual_seconds", "peer_rounds_per_second", "digest"} <= set(summary)
    for name in ("dclr", "most_frequent"):
        assert {"all", "returning", "new", "bytes_per_peer", "rounds"} <= set(
            summary["methods"][name]
        )


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            "[simulation.network]\nloss = 1.5\n",
            "simulation.network.loss = 1.5 is out of range; it must be 0 to 1, nearest is 1",
        ),
        ("[simulation]\nhours = nan\n", "simulation.hours = nan is out of range"),
        (
            "[[simulation.network.partitions]]\nfrom_s = 1\nto_s = 2\nshare = 2\n",
            "simulation.network.partitions[0].share = 2.0 is out of range",
        ),
        ("[simulation.network]\nlos = 0.5\n", "did you mean simulation.network.loss"),
        ("[simulation.devices]\nday_from_h = 25\n", "hours of one day"),
        ("[simulation]\nslice_s = -1.0\n", "simulation.slice_s"),
        (
            '[[simulation.devices.classes]]\nname = "pi"\nshare = 0.5\n',
            "add up to 0.5",
        ),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path: Path, more: str, reason: str) -> None:
    path = written(tmp_path, more)
    with pytest.raises(ConfigError, match=r"small\.toml") as refused:
        load_scenario(path)
    assert reason in str(refused.value)


def test_a_run_without_an_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("max_rounds = 1", "max_rounds = 0"))
    with pytest.raises(ConfigError, match=r"max_rounds or simulation\.hours"):
        run_simulation(path)


def test_too_many_peers_are_refused_with_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_available_bytes", lambda: 1_000_000)
    scenario = replace(SCENARIO, peers=replace(SCENARIO.peers, count=1_000))
    histories = tuple(REALM.histories[i % len(REALM.histories)] for i in range(1_000))
    world = World(scenario, scenario.methods[0], replace(REALM, histories=histories))
    with pytest.raises(ConfigError, match=r"1,000 peers of [0-9]+ KiB each"):
        estimate.check_memory(world)
