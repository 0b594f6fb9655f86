"""Worlds in virtual time: the same on any number of shards, whatever befalls their peers."""

from __future__ import annotations

import gc
import json
import re
import shlex
import socket
import sys
import weakref
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from typer.testing import CliRunner

from p2prec.errors import ConfigError, P2PRecError, TransportError
from peers.cli.main import app, main
from peers.scenario import MethodConfig, PeersConfig, load_scenario
from peers.simulator import command, estimate, happenings, shard
from peers.simulator.command import run_simulation, simulate
from peers.simulator.config import SimulationConfig
from peers.simulator.hands import InProcess
from peers.simulator.peer import SimulatedPeer
from peers.simulator.repeating import command_line, repeatable
from peers.simulator.run import live
from peers.simulator.world import World
from peers.swarm.data import load_realm
from peers.swarm.repeats import asked
from peers.version import version
from tests.sim.worlds import REALM, SCENARIO, TOML, hard, lived, world_of, written
from topology.cells import home_cell


def simulated(simulation: SimulationConfig, *, processes: int = 1) -> dict[str, Any]:
    return simulate(replace(SCENARIO, simulation=simulation), REALM, processes=processes)


def test_a_run_is_the_same_twice_sealed_and_on_several_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(happenings, "GROUP", 3)
    plain = simulated(SCENARIO.simulation)
    assert plain["digest"] == simulated(SCENARIO.simulation)["digest"]
    assert plain["digest"] == simulated(SCENARIO.simulation, processes=3)["digest"]
    assert plain["digest"] == simulated(replace(SCENARIO.simulation, seal=True))["digest"]
    other = simulate(replace(SCENARIO, seed=1), REALM)
    assert other["digest"] != plain["digest"]


def test_a_world_that_is_over_leaves_the_memory() -> None:
    gone = []
    for _ in range(2):  # the second one is built while the first one waits to be collected
        world = World(SCENARIO, SCENARIO.methods[0], REALM)
        hand = InProcess(world, 0, 1)
        live(world, [hand])
        gone += [weakref.ref(peer.life) for peer in hand.shard.peers.values() if peer.life]
        hand.close()
        del hand
    gc.collect()
    assert len(gone) == 2 * SCENARIO.peers.count
    assert {life() for life in gone} == {None}


def test_lives_that_crashed_leave_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a circle of objects, and circles are seldom looked for while a run lasts."""
    lives: list[weakref.ref[object]] = []
    begin = SimulatedPeer.begin

    def noting(peer: SimulatedPeer, world: World) -> object:
        life = begin(peer, world)
        lives.append(weakref.ref(life))
        return life

    monkeypatch.setattr(SimulatedPeer, "begin", noting)
    base = SCENARIO.simulation
    devices = replace(base.devices, crashes_per_day=20_000.0, restart_s=1.0)
    at_once: list[int] = []
    lived(
        world_of(
            replace(base, hours=0.03, devices=devices),
            schedule=replace(SCENARIO.schedule, max_rounds=0),
        ),
        look=lambda *_: at_once.append(sum(life() is not None for life in lives)),
    )
    assert len(lives) > 100
    assert max(at_once) < 60


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
    first, second = (c["seconds"] for c in method["validation"])
    assert 0 < first < second <= summary["virtual_seconds"]


def test_answers_are_for_comparisons_and_no_part_of_a_summary(tmp_path: Path) -> None:
    path = written(tmp_path, "[simulation]\nanswers = true")
    assert "answers" not in json.loads(json.dumps(run_simulation(path, show=False, quiet=True)))


def test_a_hard_world_is_reproducible_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happenings, "GROUP", 3)
    one = simulated(hard())
    assert one["digest"] == simulated(hard(), processes=2)["digest"]
    assert one["restarted"] > 0
    assert one["methods"]["dclr"]["all"]["n"] > SCENARIO.peers.count // 2


@pytest.mark.parametrize(("skew_s", "dropped"), [(30.0, False), (2_000.0, True)])
def test_clocks_that_are_too_far_apart_do_not_understand_each_other(
    skew_s: float, *, dropped: bool
) -> None:
    base = SCENARIO.simulation
    devices = replace(base.devices, clock_skew_s=skew_s)
    found = [
        lived(world_of(replace(base, hours=0.01, seal=seal, devices=devices)))[0].peers
        for seal in (True, False)
    ]
    sealed, measured = (
        sum((peer.counters for peer in peers.values()), Counter()) for peers in found
    )
    assert sealed["received.tcp"] > 0
    assert (sealed["dropped.from_the_future"] > 0) is dropped
    assert (sealed["dropped.advert_from_the_future"] > 0) is dropped
    assert sealed == measured


@of_hypothesis(
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
    settings = [
        "simulation.hours=0.05",
        "simulation.devices.restart_s=1.0",
        "simulation.devices.offline_h=0.003",
        "simulation.people.leave_within_h=0.02",
        f"simulation.network.loss={loss}",
        f"simulation.network.duplication={duplication}",
        f"simulation.network.reordering={loss}",
        f"simulation.devices.crashes_per_day={crashes}",
        f"simulation.devices.online_h={online_h}",
        f"simulation.people.leave_share={leave}",
        f"simulation.people.replay_days={replay_days}",
    ]
    with repeatable(command_line(TOML, seed=seed, settings=settings)):
        scenario = replace(asked(TOML, peers=0, rounds=0, settings=settings), seed=seed)
        world = World(scenario, scenario.methods[0], load_realm(scenario, data=""))
        hand = InProcess(world, 0, 1)
        (report,), virtual_s = live(world, [hand])
        assert virtual_s <= 0.05 * 3_600
        for peer in hand.shard.peers.values():
            assert peer.counters["dropped.from_myself"] == 0
            if not loss and not crashes and not online_h and not leave:
                assert peer.counters["dropped.too_many_messages"] == 0
        if duplication and report.peer_rounds:
            assert sum(p.counters["dropped.replayed"] for p in hand.shard.peers.values()) > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failing_world_says_the_one_line_that_brings_it_about_again(
    processes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fault of the code that only some worlds meet: here those in which a device crashes."""
    sound = shard.Shard._befall

    def faulty(self: shard.Shard, peer: SimulatedPeer, what: str, time_s: float) -> None:
        if what == "crashes":
            raise ZeroDivisionError(f"peer {peer.index} after {time_s} s")
        sound(self, peer, what, time_s)

    monkeypatch.setattr(shard.Shard, "_befall", faulty)
    path = tmp_path / "a small one.toml"
    written(tmp_path).rename(path)
    crashing = ["simulation.devices.crashes_per_day=3000.0"]
    options = {"show": False, "quiet": True, "processes": processes}
    run_simulation(path, seed=4, **options)  # no crash, no fault
    with pytest.raises((ZeroDivisionError, P2PRecError)) as failed:
        run_simulation(path, peers=5, seed=4, seeds=2, settings=crashing, **options)
    [line] = failed.value.__notes__
    fault = re.search(r"peer \d after [\d.]+ s", str(failed.value))
    assert fault
    assert line.startswith("to see it fail again: p2prec simulate ")
    assert "\n" not in line
    assert line.endswith(f"  # p2prec {version()}")
    words = shlex.split(line.removeprefix("to see it fail again: p2prec "), comments=True)
    monkeypatch.setattr("sys.argv", ["p2prec", *words, "--quiet", "--processes", str(processes)])
    if processes == 1:
        with pytest.raises(ZeroDivisionError, match=re.escape(fault[0])):
            main()
        return
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert fault[0] in said
    assert said.rstrip().splitlines()[-1] == line


def test_who_has_asked_wrongly_is_told_no_line_to_repeat(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        run_simulation(written(tmp_path), peers=10_000, data=str(tmp_path / "none.csv"))
    assert not hasattr(refused.value, "__notes__")


def test_settings_take_the_place_of_those_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = asked(
        path,
        peers=0,
        rounds=0,
        settings=["simulation.network.loss=0.25", 'name = "other"', "data.path=a b.csv"],
    )
    assert found.simulation.network.loss == 0.25
    assert found.name == "other"
    assert found.data.path == "a b.csv"
    assert found.neighbours == load_scenario(path).neighbours
    for setting, says in (
        ("simulation.network.los=1", "did you mean simulation.network.loss?"),
        ("simulation.network.loss", "write KEY=VALUE"),
        ("simulation.network.loss=2", "is out of range"),
        ("neighbours.k=many", "Expected `int`, got `str`"),
    ):
        with pytest.raises(ConfigError) as refused:
            asked(path, peers=0, rounds=0, settings=[setting])
        assert says in str(refused.value)


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
            '[simulation.network]\nlatency_trace = "t.csv"\nlatency_spread = 0.8\n',
            "latency_spread = 0.8 would change nothing beside simulation.network.latency_trace",
        ),
        (
            '[simulation.network]\nlatency_trace = "t.csv"\nbroker_latency_ms = 10\n',
            "simulation.network.broker_latency_ms = 10 would change nothing",
        ),
        (
            '[simulation.network]\nbandwidth_trace = "t.csv"\nbandwidth_spread = 0.4\n',
            "bandwidth_spread = 0.4 would change nothing beside simulation.network.bandwidth_trace",
        ),
        (
            "[simulation.network]\nbandwidth_spread = -1\n",
            "simulation.network.bandwidth_spread = -1.0 is out of range",
        ),
        (
            '[simulation.devices]\nsession_trace = "t.csv"\nonline_h = 2\n',
            "online_h = 2 would change nothing beside simulation.devices.session_trace",
        ),
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
    endless = path.read_text().replace("max_rounds = 1", "max_rounds = 0")
    path.write_text(endless)
    with pytest.raises(ConfigError, match=r"dclr never ends .* or simulation\.hours"):
        run_simulation(path)
    path.write_text(f"{endless}\nrounds = 1")
    assert run_simulation(path, show=False, quiet=True)["methods"]["dclr"]["rounds"] == 1


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("network.latency_trace", None, "there is no .*trace.csv; did you mean .*traces.csv"),
        ("network.latency_trace", "ms\n-1\n", "trace.csv: line 2 .*: -1 is no number from 0 on"),
        ("network.latency_trace", "s\n1\n", "a trace of latencies has the columns ms; there is"),
        ("network.bandwidth_trace", None, "there is no .*trace.csv; did you mean .*traces.csv"),
        ("network.bandwidth_trace", "mbit_s\n9\n0\n", "line 3 .*: at mbit_s 0 nothing ever leaves"),
        ("devices.session_trace", "peer,from_s\n0,1\n", "there is no to_s"),
        ("devices.session_trace", "peer,from_s,to_s\n0.5,0,9\n", "line 2 .*peer 0.5 is no whole"),
        ("devices.session_trace", "peer,from_s,to_s\n1,9,9\n", "from_s 9 must lie before to_s 9"),
        ("devices.session_trace", "peer,from_s,to_s\n6,0,9\n", "none of the 6 peers.*nearest is 5"),
        ("devices.session_trace", b"peer,from_s,to_s\n\xff", "is no UTF-8 text"),
    ],
)
def test_a_trace_that_does_not_do_is_named_by_scenario_and_key(
    key: str, text: str | bytes | None, says: str, tmp_path: Path
) -> None:
    (tmp_path / "traces.csv").write_text("")
    trace = tmp_path / "trace.csv"
    if text is not None:
        trace.write_bytes(text if isinstance(text, bytes) else text.encode())
    path = written(tmp_path)
    with pytest.raises(ConfigError, match=rf"small\.toml: simulation\.{key}: .*{says}"):
        run_simulation(path, settings=[f"simulation.{key}={trace}"])


def test_ray_that_is_not_there_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'p2prec\[ray\]'"):
        run_simulation(path, ray="local")
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(TransportError, match=f"no Ray cluster at 127.0.0.1:{port}: Connect"):
            run_simulation(path, ray=address)


TWO = """
[[methods]]
name = "epidemic"
label = "small"
models = ["mf/4"]
options = { max_rows = 16 }
[[methods]]
name = "epidemic"
label = "large"
models = ["mf/64"]
"""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which methods have begun; none of them is run."""
    found: list[str] = []

    def ran(_: World, method: MethodConfig, *more: object) -> None:
        del more
        found.append(method.title)
        raise ZeroDivisionError

    monkeypatch.setattr(command, "_run", ran)
    return found


def test_a_method_that_does_not_fit_is_refused_before_another_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[str]
) -> None:
    path = tmp_path / "two.toml"
    path.write_text(TOML.read_text().partition("[[methods]]")[0] + TWO)
    scenario = load_scenario(path)
    realm = load_realm(scenario, data="")
    small, large = (
        estimate.bytes_per_peer(World(scenario, method, realm)) for method in scenario.methods
    )
    assert large > 1.5 * small
    between = int(scenario.peers.count * (small + large) / 2 / 0.9)
    monkeypatch.setattr(estimate, "_available_bytes", lambda: between)
    with pytest.raises(
        ConfigError, match=r"^large: 6 peers of [0-9]+ KiB each need .* [1-5] peers"
    ):
        run_simulation(path, show=False, quiet=True)
    assert not begun
    monkeypatch.setattr(estimate, "_available_bytes", lambda: 2 * between)
    with pytest.raises(ZeroDivisionError):
        run_simulation(path, show=False, quiet=True)
    assert begun == ["small"]
    with pytest.raises(ConfigError, match=r"and 3 processes of [0-9]+ MiB .* take fewer processes"):
        run_simulation(path, show=False, quiet=True, processes=3)
    assert begun == ["small"]


def test_a_city_beyond_any_catalogue_is_refused_at_once(tmp_path: Path) -> None:
    says = r"small\.toml: a city of 9,000,000 people .* nearest is 666,666 people, 2,000,000 places"
    with pytest.raises(ConfigError, match=says):
        run_simulation(written(tmp_path), settings=["data.users=9_000_000"])


def test_neighbours_are_found_in_other_towns_too() -> None:
    """What all have learned finds a way from each town to each, though most stay at home."""
    towns = replace(SCENARIO.data, users=60, places=240, days=30, people_per_town=20)
    scenario = replace(
        SCENARIO, data=towns, peers=PeersConfig(count=60, mdns_only=0.0, mqtt_only=0.0)
    )
    realm = load_realm(scenario, data="")
    cells = [home_cell(realm.catalogue, history) for history in realm.histories]
    links = np.array(simulate(scenario, realm)["methods"]["dclr"]["links"])
    inside = sum(cells[i] == cells[j] for i, j in links.tolist())
    assert 0.75 * len(links) < inside < len(links)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(60, 60))
    assert connected_components(graph, connection="weak")[0] == 1
