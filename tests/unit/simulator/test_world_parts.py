"""The modelled links and devices behave as their settings say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2prec.errors import ConfigError
from peers.events import Source
from peers.messages import Endpoints
from peers.sealing import seal, sealed_bytes
from peers.simulator import draws
from peers.simulator.config import DeviceClass, DeviceConfig, LinkConfig, Partition
from peers.simulator.devices import Battery, Devices
from peers.simulator.meeting import Announcement, MeetingPlaces, Topic
from peers.simulator.network import Network
from peers.simulator.papers import Papers, peer_id

REALM = b"\1" * 32


@given(n_bytes=st.integers(0, 300_000))
def test_the_size_of_an_envelope_is_the_true_one(n_bytes: int) -> None:
    sender = Papers(realm=REALM, seed=1, peer=1, seal=True)
    advert, _ = sender.advert(endpoints=Endpoints(), cell_label="", now_s=1e9, lifetime_s=60.0)
    assert sender.keyring is not None
    sealed = seal(bytes(n_bytes), keyring=sender.keyring, to=advert, now_s=1e9)
    assert sum(map(len, sealed)) == sealed_bytes(n_bytes)


def test_names_do_not_depend_on_whether_messages_are_sealed() -> None:
    papers = [Papers(realm=REALM, seed=3, peer=5, seal=seal_) for seal_ in (False, True)]
    for turn in range(2):
        adverts = [
            p.advert(endpoints=Endpoints(), cell_label="", now_s=float(turn), lifetime_s=60.0)[0]
            for p in papers
        ]
        assert adverts[0].pseudonym == adverts[1].pseudonym
        assert {p.peer_id for p in papers} == {peer_id(3, 5)}
        for p in papers:
            p.rotate(float(turn))
        assert adverts[0].pseudonym != papers[0].advert(
            endpoints=Endpoints(), cell_label="", now_s=0.0, lifetime_s=1.0
        )[0].pseudonym  # fmt: skip


def passages(config: LinkConfig, way: str = "mqtt", n: int = 4_000) -> list[tuple[float, ...]]:
    network = Network(config, seed=0)
    return [network.passage(way, sender=0, to=1, number=i, left_s=0.0).arrivals_s for i in range(n)]


def test_latencies_follow_their_distribution() -> None:
    found = np.array([p[0] for p in passages(LinkConfig(broker_latency_ms=40, latency_spread=0.5))])
    assert np.median(found) == pytest.approx(0.040, rel=0.05)
    assert np.log(found).std() == pytest.approx(0.5, rel=0.05)
    assert {p[0] for p in passages(LinkConfig(latency_spread=0.0), "tcp", 9)} == {0.002}


def test_messages_are_lost_doubled_and_held_back_at_their_rates() -> None:
    lost = passages(LinkConfig(loss=0.2))
    assert np.mean([not p for p in lost]) == pytest.approx(0.2, abs=0.03)
    twice = passages(LinkConfig(duplication=0.3))
    assert np.mean([len(p) == 2 for p in twice]) == pytest.approx(0.3, abs=0.03)
    held = passages(LinkConfig(reordering=0.4, held_back_s=100.0, latency_spread=0.0))
    assert np.mean([p[0] > 0.1 for p in held]) == pytest.approx(0.4, abs=0.04)


def test_directions_of_a_link_differ_where_links_are_asymmetric() -> None:
    def both(asymmetry: float) -> tuple[float, float]:
        network = Network(LinkConfig(asymmetry=asymmetry, latency_spread=0.0), seed=0)
        there = network.passage("tcp", sender=0, to=1, number=0, left_s=0.0).arrivals_s[0]
        back = network.passage("tcp", sender=1, to=0, number=0, left_s=0.0).arrivals_s[0]
        return there, back

    assert len(set(both(0.0))) == 1
    assert len(set(both(1.0))) == 2


def test_a_partition_cuts_while_it_lasts_and_both_ways() -> None:
    network = Network(LinkConfig(partitions=(Partition(from_s=10.0, to_s=20.0),)), seed=0)
    pairs = [(i, j) for i in range(20) for j in range(20)]
    assert 0.3 < np.mean([network.cut(i, j, 15.0) for i, j in pairs]) < 0.7
    assert all(network.cut(i, j, 15.0) == network.cut(j, i, 15.0) for i, j in pairs)
    assert not any(network.cut(i, j, at) for i, j in pairs for at in (9.9, 20.0))


def test_a_trace_of_latencies_takes_the_place_of_the_distribution(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("ms\n10\n30\n")
    found = {round(p[0], 6) for p in passages(LinkConfig(latency_trace=str(trace)))}
    assert found == {0.010, 0.030}


def test_directions_of_a_link_differ_by_a_trace_too(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("ms\n10\n")
    network = Network(LinkConfig(latency_trace=str(trace), asymmetry=1.0), seed=0)
    found = {
        network.passage("tcp", sender=a, to=b, number=n, left_s=0.0).arrivals_s[0]
        for a, b in ((0, 1), (1, 0))
        for n in range(5)
    }
    assert len(found) == 2
    assert 0.010 not in found


def uplinks_mbit_s(config: LinkConfig, way: str, n: int = 4_000) -> list[float]:
    network = Network(config, seed=0)
    return [8.0 / network.upload_s(way, 1_000_000, sender=i) for i in range(n)]


def test_uplinks_are_as_fast_as_said_and_differ_by_device() -> None:
    config = LinkConfig(lan_mbit_s=100.0, broker_mbit_s=20.0)
    assert uplinks_mbit_s(config, "tcp", 9) == pytest.approx([100.0] * 9)
    assert uplinks_mbit_s(config, "mqtt", 9) == pytest.approx([20.0] * 9)
    spread = replace(config, bandwidth_spread=0.5)
    lan, broker = (np.array(uplinks_mbit_s(spread, way)) for way in ("tcp", "mqtt"))
    assert np.median(broker) == pytest.approx(20.0, rel=0.05)
    assert np.log(broker).std() == pytest.approx(0.5, rel=0.05)
    assert lan / broker == pytest.approx(5.0)  # a slow device is slow on both
    network = Network(spread, seed=0)
    assert len({network.upload_s("mqtt", 1_000, sender=3) for _ in range(5)}) == 1


def test_uplinks_to_brokers_can_come_from_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("at,mbit_s\n1,2\n2,8\n3,8\n")
    config = LinkConfig(bandwidth_trace=str(trace))
    found = np.array(uplinks_mbit_s(config, "mqtt")).round(6)
    assert set(found) == {2.0, 8.0}
    assert (found == 8.0).mean() == pytest.approx(2 / 3, abs=0.03)
    assert set(np.round(uplinks_mbit_s(config, "tcp"), 6)) == {100.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mbit\n10\n", "a trace of bandwidths has the columns mbit_s; there is no mbit_s"),
        ("mbit_s\n10\nmany\n", "line 3 of the trace of bandwidths: could not convert"),
        ("mbit_s\n10\n0\n", "line 3 .*: at mbit_s 0 nothing ever leaves; leave out what"),
        (None, "there is no .+, the trace of bandwidths"),
    ],
)
def test_a_trace_of_bandwidths_that_is_none_is_refused(
    text: str | None, says: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    if text is not None:
        trace.write_text(text)
    with pytest.raises(ConfigError, match=says):
        Network(LinkConfig(bandwidth_trace=str(trace)), seed=0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("latency\n10\n", "a trace of latencies has the columns ms; there is no ms"),
        ("ms\n10\n-1\n", "line 3 of the trace of latencies: -1 is no number from 0 on"),
        ("ms\n10\nnan\n", "line 3 of the trace of latencies: nan is no number from 0 on"),
        ("ms,at\n,1\n", "line 2 of the trace of latencies: could not convert"),
        ("ms\n", "the trace of latencies is empty"),
        ("", "there is no ms"),
        (None, "there is no .+, the trace of latencies"),
    ],
)
def test_a_trace_that_is_none_is_refused(text: str | None, says: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    if text is not None:
        trace.write_text(text)
    with pytest.raises(ConfigError, match=says):
        Network(LinkConfig(latency_trace=str(trace)), seed=0)


def test_devices_come_in_their_shares() -> None:
    devices = Devices(DeviceConfig(), seed=0)
    kinds = [devices.kind(i).name for i in range(4_000)]
    assert kinds.count("laptop") / 4_000 == pytest.approx(0.4, abs=0.03)
    assert kinds.count("pi") / 4_000 == pytest.approx(0.3, abs=0.03)


@given(peer=st.integers(0, 10_000), online=st.sampled_from([0.0, 0.5, 6.0]), nights=st.booleans())
def test_whiles_away_are_in_order_and_apart(peer: int, online: float, *, nights: bool) -> None:
    config = DeviceConfig(online_h=online, offline_h=2.0)
    if nights:
        config = replace(config, day_from_h=7.0, day_to_h=23.0)
    away = list(itertools.islice(Devices(config, seed=0).away(peer, 1e9), 8))
    assert bool(away) == bool(online or nights)
    assert all(begin <= end for begin, end in away)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(away))
    if nights:
        for hour in range(0, 24 * 3, 1):
            of_day = ((1e9 + 3_600.0 * hour) / 3_600.0) % 24
            asleep = any(b <= 3_600.0 * hour < e for b, e in away)
            if hour * 3_600.0 < away[-1][0] and not 7.0 <= of_day < 23.0:
                assert asleep


def test_sessions_can_come_from_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "sessions.csv"
    trace.write_text("peer,from_s,to_s\n0,10,20\n0,30,40\n")
    devices = Devices(DeviceConfig(session_trace=str(trace)), seed=0)
    assert list(devices.away(0, 0.0)) == [(0.0, 10.0), (20.0, 30.0), (40.0, float("inf"))]
    trace.write_text("peer,from_s\n0,10\n")
    with pytest.raises(ConfigError, match="the columns peer,from_s,to_s; there is no to_s"):
        Devices(DeviceConfig(session_trace=str(trace)), seed=0)


def test_a_trace_of_sessions_leaves_nights_as_they_are(tmp_path: Path) -> None:
    trace = tmp_path / "sessions.csv"
    hour = 3_600.0
    trace.write_text(f"peer,from_s,to_s\n0,{5 * hour},{30 * hour}\n")
    config = DeviceConfig(session_trace=str(trace), day_from_h=7.0, day_to_h=23.0)
    away = list(Devices(config, seed=0).away(0, 86_400.0 * 365))
    assert away == [(-hour, 7 * hour), (23 * hour, float("inf"))]
    assert list(Devices(config, seed=0).away(1, 0.0)) == [(-hour, float("inf"))]


def test_crashes_come_at_their_rate() -> None:
    devices = Devices(DeviceConfig(crashes_per_day=4.0), seed=0)
    times = list(itertools.islice(devices.crashes_s(3), 2_000))
    assert np.diff(times).mean() == pytest.approx(86_400 / 4, rel=0.1)
    assert not list(Devices(DeviceConfig(), seed=0).crashes_s(3))


def test_an_empty_battery_makes_a_job_wait() -> None:
    battery = Battery(capacity_s=10.0, charge_per_s=0.1, level_s=10.0)
    assert battery.ready_s(8.0, 0.0) == 0.0
    assert battery.ready_s(4.0, 0.0) == pytest.approx(20.0)
    assert battery.ready_s(50.0, 20.0) == pytest.approx(120.0)  # no more than a full one
    kinds = (DeviceClass(name="phone", share=1.0, battery_s=60.0),)
    assert Devices(DeviceConfig(classes=kinds), seed=0).battery(1) is not None
    assert Devices(DeviceConfig(), seed=0).battery(1) is None


def test_who_looks_at_a_topic_hears_of_those_who_come_and_sees_those_who_are_there() -> None:
    places = MeetingPlaces()
    topic = Topic(Source.MQTT, "cell", 0)
    papers = [Papers(realm=REALM, seed=1, peer=i, seal=False) for i in range(3)]
    adverts = [
        p.advert(endpoints=Endpoints(), cell_label="", now_s=0.0, lifetime_s=1.0)[0] for p in papers
    ]
    assert places.look(0, topic) == []
    assert places.take(Announcement(0.0, 1, topic, adverts[1])) == [0]
    assert places.look(2, topic) == [(1, adverts[1])]
    assert places.look(2, topic) == []
    assert places.take(Announcement(0.0, 1, topic, adverts[1], gone=True)) == [0, 2]
    places.close_eyes(2, [topic])
    assert places.take(Announcement(0.0, 1, topic, adverts[1])) == [0]


def test_what_has_expired_is_swept_away() -> None:
    places, topic = MeetingPlaces(), Topic(Source.MQTT, "cell", 0)
    papers = [Papers(realm=REALM, seed=1, peer=i, seal=False) for i in range(2)]
    for i, p in enumerate(papers):
        advert, _ = p.advert(endpoints=Endpoints(), cell_label="", now_s=50.0 * i, lifetime_s=60.0)
        places.take(Announcement(0.0, i, topic, advert))
    places.sweep(100.0)
    assert places.shown[topic].keys() == {1}
    places.sweep(200.0)
    assert not places.shown


@given(a=st.integers(0, 2**40), b=st.integers(-5, 2**40))
def test_draws_are_a_function_of_what_they_are_for(a: int, b: int) -> None:
    one = draws.uniform(1, draws.LOSS, a, b)
    assert 0 < one < 1
    assert one == draws.uniform(1, draws.LOSS, a, b)
    assert one != draws.uniform(2, draws.LOSS, a, b)
    assert one != draws.uniform(1, draws.LATENCY, a, b)
