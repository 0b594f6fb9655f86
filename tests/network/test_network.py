"""Real sockets, a real broker and real multicast, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from zeroconf import Zeroconf

from p2prec import limits
from p2prec.errors import ConfigError, TransportError
from peers.broker import EmbeddedBroker, free_port
from peers.discovery import mdns
from peers.discovery.mdns import LocalService, MdnsDiscovery
from peers.discovery.responder import Responder, ResponderClient
from peers.transports.access import Access, parse_broker
from peers.transports.mqtt import MqttTransport
from peers.transports.tcp import TcpTransport, fetch_bundle

# Conditions, not clocks, decide: under load, multicast loses packets and is asked again.
pytestmark = [pytest.mark.network, pytest.mark.timeout(600)]
LABEL = "abcdefghijklmnopqrstuvwxyz"


async def until(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.02)


class Ear:
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, envelope: bytes) -> bool:
        self.heard.append(envelope)
        return not envelope.startswith(b"bad")


@contextlib.asynccontextmanager
async def listener(ear: Ear) -> AsyncIterator[TcpTransport]:
    tcp = TcpTransport(host="127.0.0.1", port=0, on_envelope=ear, bundle=lambda: b"advert")
    await tcp.start()
    try:
        yield tcp
    finally:
        await tcp.close()
        await asyncio.sleep(0.05)


async def test_tcp_carries_envelopes_and_adverts() -> None:
    ear = Ear()
    async with listener(ear) as server, listener(Ear()) as client:
        address = ("127.0.0.1", server.port)
        await client.send([("127.0.0.1", free_port()), address], [b"one", b"two"])
        await client.send([address], [b"x" * limits.MAX_ENVELOPE_BYTES])
        await until(lambda: len(ear.heard) == 3)
        assert ear.heard[:2] == [b"one", b"two"]
        assert await fetch_bundle(*address) == b"advert"
        with pytest.raises(TransportError):
            await client.send([("127.0.0.1", free_port())], [b"x"])


async def test_nothing_is_written_into_a_connection_that_the_other_side_has_ended() -> None:
    """It would be lost without an error; a listener ends each connection that is silent long."""
    ear = Ear()
    async with listener(ear) as server, listener(Ear()) as client:
        address = ("127.0.0.1", server.port)
        await client.send([address], [b"before"])
        await until(lambda: ear.heard == [b"before"])
        for writer in server._inbound:
            writer.close()
        await until(lambda: not client._outbound[address].is_open)
        await client.send([address], [b"after"])
        await until(lambda: ear.heard == [b"before", b"after"])


@pytest.mark.slow
async def test_an_address_that_swallows_everything_is_waited_for_once() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)  # its queue takes one or two, further ones get no answer at all
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(hole.getsockname())
        async with listener(Ear()) as client:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            with pytest.raises(TransportError):
                await client.send([hole.getsockname()], [b"x"], insist=False)
            waited_s = loop.time() - began_s
            began_s = loop.time()
            with pytest.raises(TransportError, match="a moment ago"):
                await client.send([hole.getsockname()], [b"x"], insist=False)
            assert loop.time() - began_s < waited_s / 10
        for filler in fillers:
            filler.close()


async def test_tcp_survives_strangers() -> None:
    ear = Ear()
    async with listener(ear) as server, listener(Ear()) as friend:

        async def closed(data: bytes) -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(data)
            try:
                async with asyncio.timeout(60):
                    return await reader.read() == b""
            finally:
                writer.close()

        assert await closed(struct.pack(">IB", 1 << 31, 1))
        assert await closed(struct.pack(">IB", 4, 77) + b"abcd")
        assert await closed(3 * (struct.pack(">IB", 3, 1) + b"bad"))
        assert server.counters["bad_frame"] == 2
        assert server.counters["closed_for_bad_envelopes"] == 1
        held = [
            await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(limits.MAX_CONNECTIONS_PER_ADDRESS + 5)
        ]
        await until(lambda: server.counters["refused_connection"] >= 5)
        for _, writer in held:
            writer.close()
        await until(lambda: not server._inbound)
        await friend.send([("127.0.0.1", server.port)], [b"still here"])
        await until(lambda: b"still here" in ear.heard)


async def test_a_taken_port_is_one_sentence() -> None:
    async with listener(Ear()) as server:
        other = TcpTransport(
            host="127.0.0.1", port=server.port, on_envelope=Ear(), bundle=lambda: b""
        )
        with pytest.raises(TransportError, match="Choose another port"):
            await other.start()


def mqtt(port: int, name: int, ear: Ear, seen: dict[str, bytes]) -> MqttTransport:
    return MqttTransport(
        broker=Access.of(f"127.0.0.1:{port}"),
        realm=b"r" * 32,
        inbox=f"{name:032x}",
        on_envelope=ear,
        on_presence=seen.__setitem__,
        rng=random.Random(name),
    )


async def test_mqtt_presence_inbox_and_a_broker_that_restarts() -> None:
    broker = EmbeddedBroker()
    a_ear, b_ear, seen = Ear(), Ear(), dict[str, bytes]()
    a, b = mqtt(broker.port, 1, a_ear, {}), mqtt(broker.port, 2, b_ear, seen)
    tasks = [asyncio.create_task(t.run()) for t in (a, b)]
    try:
        with pytest.raises(TransportError, match="cannot be reached"):
            await a.send(b.inbox, [b"nobody"])
        await a.advertise(label=LABEL, pseudonym="a" * 32, advert=b"advert of a")
        await b.browse(LABEL)
        await until(lambda: a.counters["connection_lost"] > 0)
        await broker.start()
        await until(lambda: seen.get("a" * 32) == b"advert of a")
        await a.send(b.inbox, [b"hello", b"x" * 60_000])
        await until(lambda: {b"hello", b"x" * 60_000} <= set(b_ear.heard))
        await broker.stop()
        await until(lambda: not b.connected.is_set() and not a.connected.is_set())
        broker = EmbeddedBroker(port=broker.port)
        await broker.start()
        await until(lambda: a.connected.is_set() and b.connected.is_set())
        await a.send(b.inbox, [b"again"])
        await until(lambda: b"again" in b_ear.heard)
        await a.withdraw()
        await until(lambda: seen["a" * 32] == b"")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await broker.stop()


def test_broker_addresses() -> None:
    assert parse_broker("example.org:1884") == ("example.org", 1884, False)
    assert parse_broker("mqtts://example.org") == ("example.org", 8883, True)
    for wrong in ("http://x", "", "host:port", "mqtts://me:secret@host"):
        with pytest.raises(ConfigError) as caught:
            parse_broker(wrong)
        assert "secret" not in str(caught.value)


@pytest.mark.xdist_group("multicast")
async def test_two_mdns_instances_find_each_other() -> None:
    found: dict[str, LocalService] = {}
    lost: list[str] = []
    a = MdnsDiscovery(interfaces=("127.0.0.1",), on_found=lambda _: None, on_lost=lambda _: None)
    b = MdnsDiscovery(
        interfaces=("127.0.0.1",),
        on_found=lambda s: found.__setitem__(s.instance, s),
        on_lost=lost.append,
    )
    await a.start()
    await b.start()
    try:
        service = LocalService(instance="f" * 32, host="127.0.0.1", port=4321, label=LABEL)
        await b.browse(LABEL)
        await a.advertise(service)
        await until(lambda: "f" * 32 in found)
        assert found["f" * 32] == service
        await a.withdraw("f" * 32)
        await until(lambda: "f" * 32 in lost)
    finally:
        await a.close()
        await b.close()


@pytest.mark.xdist_group("multicast")
async def test_who_does_not_answer_at_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser names each service once: a lost answer must not hide it for good."""
    asked: list[str] = []

    class Unheard(mdns.AsyncServiceInfo):
        def load_from_cache(self, *_: Any) -> bool:
            return False

        async def async_request(self, zeroconf: Zeroconf, *_: Any) -> bool:
            asked.append(self.name)
            return len(asked) > 2 and super().load_from_cache(zeroconf)

    monkeypatch.setattr(mdns, "AsyncServiceInfo", Unheard)
    monkeypatch.setattr(mdns, "_RESOLVE_PAUSE_S", 0.01)
    found: list[LocalService] = []
    a = MdnsDiscovery(interfaces=("127.0.0.1",), on_found=found.append, on_lost=lambda _: None)
    await a.start()
    try:
        label = LABEL[1:] + LABEL[0]  # nobody else's: what follows a goodbye is not looked for
        service = LocalService(instance="e" * 32, host="127.0.0.1", port=4321, label=label)
        await a.browse(label)
        await a.advertise(service)
        await until(lambda: bool(found))
        assert found == [service]
        assert len(asked) == 3
        assert not a._resolving
    finally:
        await a.close()


@pytest.mark.xdist_group("multicast")
async def test_who_comes_back_while_it_leaves_stays() -> None:
    a = MdnsDiscovery(interfaces=("127.0.0.1",), on_found=lambda _: None, on_lost=lambda _: None)
    await a.start()
    try:
        service = LocalService(instance="d" * 32, host="127.0.0.1", port=4321, label=LABEL[::-1])
        await a.advertise(service)
        leaving = asyncio.create_task(a.withdraw("d" * 32))
        await asyncio.sleep(0)
        await a.advertise(service)
        await leaving
        assert a._open().zeroconf.registry.async_get_info_name(f"{'d' * 32}._p2prec._tcp.local.")
    finally:
        await a.close()


@pytest.mark.xdist_group("multicast")
async def test_peers_of_two_responders_hear_of_each_other(tmp_path: Path) -> None:
    responders = [
        Responder(path=tmp_path / f"{i}", interfaces=("127.0.0.1",), rng=random.Random(i))
        for i in range(2)
    ]
    found: list[dict[str, bytes]] = [{} for _ in range(4)]
    clients = [
        ResponderClient(
            path=tmp_path / f"{i % 2}",
            on_found=lambda s, advert, i=i: found[i].__setitem__(s.instance, advert),
            on_lost=lambda instance, i=i: found[i].pop(instance, None) and None,
        )
        for i in range(4)
    ]
    tasks = []
    try:
        for responder in responders:
            await responder.start()
            tasks.append(asyncio.create_task(responder.run()))
        for i, client in enumerate(clients):
            await client.start()
            tasks.append(asyncio.create_task(client.run()))
            await client.browse(LABEL)
            service = LocalService(
                instance=f"{i}" * 32, host="127.0.0.1", port=4000 + i, label=LABEL
            )
            await client.advertise(service, b"advert")
        await until(lambda: all(len(f) == 3 for f in found))
        assert found[0]["2" * 32] == b"advert"  # same host: no connection needed
        assert found[0]["1" * 32] == b""  # from the other responder, by multicast
        await clients[1].close()
        await until(lambda: all("1" * 32 not in f for i, f in enumerate(found) if i != 1))
    finally:
        for client in clients:
            await client.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for responder in responders:
            await responder.close()


async def test_no_multicast_is_one_sentence() -> None:
    mdns = MdnsDiscovery(
        interfaces=("203.0.113.7",), on_found=lambda _: None, on_lost=lambda _: None
    )
    with pytest.raises(TransportError, match="no multicast here"):
        await mdns.start()


async def test_the_broker_serves_clients_that_come_at_once_and_replays_to_nobody_else() -> None:
    """amqtt itself loses some of them, and sends everybody's retained messages to each."""
    broker = EmbeddedBroker()
    await broker.start()
    seen: list[list[str]] = [[] for _ in range(40)]
    ears = [Ear() for _ in seen]
    transports = [
        MqttTransport(
            broker=Access.of(f"127.0.0.1:{broker.port}"),
            realm=b"r" * 32,
            inbox=f"{i:032x}",
            on_envelope=ears[i],
            on_presence=lambda name, _, i=i: seen[i].append(name),  # type: ignore[misc]
            rng=random.Random(i),
        )
        for i in range(len(seen))
    ]
    names = {f"{i:032x}" for i in range(len(seen))}
    try:
        for i, transport in enumerate(transports):
            await transport.browse(LABEL)
            await transport.advertise(label=LABEL, pseudonym=f"{i:032x}", advert=b"advert")
        tasks = [asyncio.create_task(t.run()) for t in transports]
        await until(lambda: all(set(s) == names for s in seen))
        assert sum(map(len, seen)) == len(seen) ** 2  # each once
        await transports[0].send(transports[1].inbox, [b"sealed"])
        await until(lambda: ears[1].heard == [b"sealed"])
        assert not any(ear.heard for ear in ears if ear is not ears[1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await broker.stop()


async def test_of_a_cell_elsewhere_one_part_is_heard_and_of_the_own_two() -> None:
    broker = EmbeddedBroker()
    await broker.start()
    seen: set[str] = set()
    said, heard = [
        MqttTransport(
            broker=Access.of(f"127.0.0.1:{broker.port}"),
            realm=b"r" * 32,
            inbox=f"{own:08x}" + 24 * "0",
            on_envelope=Ear(),
            on_presence=lambda name, _: seen.add(name),
            rng=random.Random(5),
            buckets=buckets,
        )
        for own, buckets in [(0, 1), (3, 6)]
    ]
    running = asyncio.create_task(said.run())
    try:
        await asyncio.wait_for(said.connected.wait(), 10)
        for bucket in range(6):  # one peer in each part
            name = f"{bucket:032x}"
            await said._client.publish(  # type: ignore[union-attr]
                f"{said._root}/c/{LABEL}/{bucket}/{name}", b"advert", qos=1, retain=True
            )
        listening = asyncio.create_task(heard.run())
        await heard.browse(LABEL, drawn_only=True)
        await until(lambda: len(seen) == 1)
        await heard.browse(LABEL, drawn_only=True)  # again: changes nothing
        assert len(heard._labels) == 1
        await heard.browse(LABEL)
        await until(lambda: f"{3:032x}" in seen)
        assert len(seen) <= 3
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await broker.stop()


async def test_a_closed_transport_hands_on_nothing() -> None:
    ear = Ear()
    server = TcpTransport(host="127.0.0.1", port=0, on_envelope=ear, bundle=lambda: b"advert")
    await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    frame = struct.pack(">IB", 3, 1) + b"one"
    writer.write(frame)
    await until(lambda: len(ear.heard) == 1)
    writer.write(frame * 1_000)
    await writer.drain()
    await server.close()
    heard = len(ear.heard)
    await asyncio.sleep(0.1)
    assert len(ear.heard) == heard
    writer.close()


async def test_a_connection_that_fails_while_it_is_stopped_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wait that has failed in the same moment may hide that it was cancelled."""
    waiting = asyncio.Event()

    class Refused:
        async def __aenter__(self) -> None:
            first = not waiting.is_set()
            waiting.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if not first:
                    raise
            raise aiomqtt.MqttError("not authorised")

        async def __aexit__(self, *_: object) -> None: ...

    transport = MqttTransport(
        broker=Access.of("127.0.0.1:1"),
        realm=b"r" * 32,
        inbox="0" * 32,
        on_envelope=Ear(),
        on_presence=lambda *_: None,
        rng=random.Random(0),
    )
    monkeypatch.setattr(transport, "_new_client", Refused)
    running = asyncio.create_task(transport.run())
    await waiting.wait()
    running.cancel()
    await asyncio.wait({running}, timeout=5)
    assert running.cancelled()
