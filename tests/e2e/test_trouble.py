"""Brokers that fail, full disks, killed processes: the peer says so and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from brokers import KINDS, RealBroker, running_broker
from processes import PeerProcess
from processes import until as wait_for
from running import ENDLESS, Running, config, go_on, start, until

from peers import events as ev
from peers.discovery.responder import Responder
from peers.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.xdist_group("multicast"),
    pytest.mark.timeout(900),
]
LONELY = replace(ENDLESS, min_neighbours=0, inbox_timeout_s=0.5)


# --- brokers ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_is_down_at_start_and_restarts_in_mid_life(
    kind: str, tmp_path: Path
) -> None:
    broker = RealBroker(kind, tmp_path)
    settings = config("dclr", schedule=ENDLESS, mqtt=(broker.address,), tcp=False, mdns=False)
    peers = [start(i, settings, tmp_path / str(i)) for i in range(2)]
    try:
        await until(lambda: all(p.daemon.counted()["mqtt.connection_lost"] > 1 for p in peers))
        for peer in peers:  # tried again and again, said once
            [told] = peer.heard("broker_lost")
            assert told.fields["broker"] == broker.address
            assert told.fields["reason"]
        await broker.start()
        await until(lambda: all(len(p.heard("broker_connected")) == 1 for p in peers))
        await go_on(*peers)
        await broker.stop()
        await until(lambda: all(len(p.heard("broker_lost")) == 2 for p in peers))
        await broker.start()  # a fresh one: no session, no retained message is left
        await until(lambda: all(len(p.heard("broker_connected")) == 2 for p in peers))
        await go_on(*peers)
        newcomer = start(2, settings, tmp_path / "2")
        peers.append(newcomer)
        await go_on(newcomer)  # found by presence, so that presence came back too
    finally:
        for peer in peers:
            await peer.end()
        await broker.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_wants_a_password(kind: str, tmp_path: Path) -> None:
    async with running_broker(kind, tmp_path, anonymous=False) as broker:
        peer = start(0, config("dclr", schedule=LONELY, mqtt=(broker.address,)), tmp_path / "0")
        try:
            await until(lambda: peer.daemon.counted()["mqtt.connection_lost"] > 1)
            [told] = peer.heard("broker_lost")
            assert "authori" in str(told.fields["reason"]).lower()
            goal = peer.daemon.life.round + 2
            await until(lambda: peer.daemon.life.round >= goal)
        finally:
            await peer.end()


async def test_a_port_that_closes_at_once_and_becomes_a_broker(tmp_path: Path) -> None:
    broker = RealBroker("amqtt", tmp_path)
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", broker.port)
    peer = start(0, config("dclr", schedule=LONELY, mqtt=(broker.address,)), tmp_path / "0")
    try:
        await until(lambda: peer.daemon.counted()["mqtt.connection_lost"] > 1)
        [told] = peer.heard("broker_lost")
        assert "closed the connection at once" in str(told.fields["reason"])
        server.close()
        await broker.start()
        await until(lambda: len(peer.heard("broker_connected")) == 1)
        await until(lambda: peer.daemon.life.round > 0)
    finally:
        server.close()
        await peer.end()
        await broker.stop()


async def test_an_interface_that_does_not_exist_is_said_once(tmp_path: Path) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        network = {"mqtt": (broker.address,), "mdns_interfaces": ("203.0.113.7",)}
        settings = config("dclr", schedule=ENDLESS, **network)
        peers = [start(i, settings, tmp_path / str(i)) for i in range(2)]
        try:
            await go_on(*peers)
            for peer in peers:
                [told] = peer.heard("no_multicast")
                assert "a broker in [network] still reaches others" in str(told.fields["reason"])
                assert peer.daemon.counters["no_multicast"] == 1
        finally:
            for peer in peers:
                await peer.end()


async def test_a_responder_that_dies_is_said_and_the_peers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    responder = Responder(path=path, interfaces=("127.0.0.1",), rng=random.Random(0))
    await responder.start()
    run = asyncio.create_task(responder.run())
    settings = config("dclr", schedule=ENDLESS, mdns_responder=str(path))
    peers = [start(i, settings, tmp_path / str(i)) for i in range(2)]
    try:
        await go_on(*peers)
        run.cancel()
        await responder.close()
        await until(lambda: all(p.heard("no_multicast") for p in peers))
        await go_on(*peers)
    finally:
        for peer in peers:
            await peer.end()
        await asyncio.gather(run, return_exceptions=True)


# --- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    return ballast


async def test_a_full_disk_is_said_and_the_peer_goes_on_from_memory(
    small_disk: Path, tmp_path: Path
) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        # A short wait, since each round with a full disk is a round alone.
        brisk = replace(ENDLESS, inbox_timeout_s=2.0)
        settings = config("dclr", schedule=brisk, mqtt=(broker.address,), mdns=False)
        homes = (small_disk / "peer", tmp_path / "friend")
        peers = [start(i, settings, home) for i, home in enumerate(homes)]
        peer, friend = peers
        try:
            await go_on(*peers)
            ballast = fill(small_disk)
            await until(lambda: bool(peer.heard("store_failed")))
            kept = peer.daemon.store.progress()
            released = [r.round for r in peer.daemon.store.releases()]
            assert kept is not None
            goal = peer.daemon.life.round + 3
            await until(lambda: peer.daemon.life.round >= goal)
            [told] = peer.heard("store_failed")  # said once, counted each time
            assert "Free some space" in str(told.fields["reason"])
            assert peer.daemon.counters["store_failed"] > 1
            # What the ledger cannot hold does not leave.
            assert [r.round for r in peer.daemon.store.releases()] == released
            assert peer.daemon.store.progress() == kept
            assert len(peer.daemon.answers.recommend(k=3, new_only=False)) == 3
            ballast.unlink()
            await until(lambda: bool(peer.heard("store_recovered")))
            await go_on(peer, friend)
            later = peer.daemon.store.progress()
            assert later is not None
            assert later.round >= goal
            assert [r.round for r in peer.daemon.store.releases()][: len(released)] == released
        finally:
            for p in peers:
                await p.end()
        store = Store.open(homes[0] / "peer.db")
        assert store.check() == "ok"
        assert len(store.history()) == len(peer.daemon.learner.knowledge.history)
        store.close()


# --- a killed process ---------------------------------------------------------------------------


class Witness(Running):
    """A peer that writes down what it merged of whom."""

    def __init__(self, running: Running) -> None:
        self.__dict__.update(running.__dict__)
        self.merged: Counter[tuple[str, int]] = Counter()
        perform = self.daemon._perform

        def noted(effect: ev.Effect) -> None:
            if isinstance(effect, ev.Merge):
                for r in effect.received:
                    self.merged[r.sender, r.payload.round] += 1
            perform(effect)

        self.daemon._perform = noted  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def witnesses(broker: str, folder: Path) -> AsyncIterator[list[Witness]]:
    settings = config("dclr", schedule=ENDLESS, mqtt=(broker,), mdns=False)
    peers = [Witness(start(i, settings, folder / f"w{i}")) for i in (1, 2)]
    try:
        yield peers
    finally:
        for peer in peers:
            await peer.end()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["training", "sending"])
async def test_a_killed_peer_goes_on_from_its_store(where: str, tmp_path: Path) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        network = {"mqtt": [broker.address], "mdns": False}
        peer = PeerProcess(tmp_path / "peer", user=0, network=network)
        async with witnesses(broker.address, tmp_path) as friends:
            try:
                peer.start(dies=where, round=2)
                assert await asyncio.to_thread(peer.wait) == -signal.SIGKILL
                store = Store.open(peer.home / "peer.db")
                before, died_with = store.releases(), store.progress()
                identity, visits = store.keyring(), len(store.history())
                store.close()
                assert died_with is not None
                assert died_with.round >= 2
                # In training nothing of this round had left; what was being sent is in the ledger.
                last = died_with.round - 1
                assert before[-1].round in ({last} if where == "training" else {last, last + 1})
                peer.start()
                await asyncio.to_thread(
                    wait_for, lambda: peer.status().get("round", 0) >= died_with.round + 3
                )
                await until(
                    lambda: all(
                        max((r for _, r in f.merged), default=0) > died_with.round + 1
                        for f in friends
                    )
                )
                sender = (await asyncio.to_thread(peer.status))["peer_id"]
            finally:
                await asyncio.to_thread(peer.end)
            store = Store.open(peer.home / "peer.db")
            ledger = [r.round for r in store.releases()]
            assert store.keyring() == identity
            assert len(store.history()) == visits
            assert store.check() == "ok"
            store.close()
            assert ledger == sorted(set(ledger)), "the ledger holds each round once"
            assert [r.round for r in before] == ledger[: len(before)], "nothing is forgotten"
            for friend in friends:
                assert max(friend.merged.values()) == 1, "no round is merged twice"
                rounds = {r for s, r in friend.merged if s == sender}
                assert rounds <= set(ledger), "nothing left that the ledger does not know"
            await go_on(*friends, rounds=1)
