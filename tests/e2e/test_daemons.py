"""Whole daemons on loopback: they find each other, learn together, are stopped and go on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from brokers import running_broker
from running import CITY, ENDLESS, config, go_on, start, until

from p2prec.collaboration.od_update import ODUpdate
from p2prec.errors import ConfigError
from p2prec.training.config import LearnerConfig, ModelConfig
from peers import events as ev
from peers.broker import EmbeddedBroker
from peers.config import PeerConfig, ScheduleConfig
from peers.control import ControlClient
from peers.daemon import Daemon
from peers.discovery.responder import Responder

# One after the other with all that multicast: hundreds of packets of one test drown another's.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.xdist_group("multicast"),
    pytest.mark.timeout(900),
]


async def test_a_peer_looks_into_a_cell_elsewhere_too(tmp_path: Path) -> None:
    daemon = Daemon(
        config=config("dclr", mdns=False, tcp=False),
        home=tmp_path,
        catalogue=CITY.catalogue,
        history=CITY.interactions.history(0),
    )
    looked: list[tuple[str, bool]] = []

    class Way:
        async def advertise(self, **shown: object) -> None:
            self.shown = shown

        async def browse(self, label: str, *, drawn_only: bool = False) -> None:
            looked.append((label, drawn_only))

    way = Way()
    daemon.ways.mqtt.append(way)  # type: ignore[arg-type]
    try:
        await daemon.presence.advertise(rotate=False)
        own = looked.pop()
        assert own == (way.shown["label"], False)
        assert not looked  # the city lies in one cell
        daemon.presence._elsewhere = "8428309ffffffff"
        await daemon.presence.advertise(rotate=False)
        assert looked[0] == own
        [elsewhere] = looked[1:]
        assert elsewhere[0] != own[0]
        assert elsewhere[1]
    finally:
        daemon.store.close()


async def test_an_inbox_has_another_name_after_a_restart(tmp_path: Path) -> None:
    """Brokers see inboxes: one name for good would join all that a device ever sends and hears."""
    names = []
    for _ in range(2):
        daemon = Daemon(config=config("dclr", mdns=False), home=tmp_path, catalogue=CITY.catalogue)
        names.append((daemon.keyring.peer_id, daemon.presence.inbox_name))
        daemon.store.close()
    (before, first), (after, second) = names
    assert before == after
    assert first != second


@contextlib.asynccontextmanager
async def infrastructure(path: Path) -> AsyncIterator[tuple[str, str]]:
    broker = EmbeddedBroker()
    await broker.start()
    responder = Responder(path=path, interfaces=("127.0.0.1",), rng=random.Random(0))
    await responder.start()
    task = asyncio.create_task(responder.run())
    try:
        yield f"127.0.0.1:{broker.port}", str(path)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await responder.close()
        await broker.stop()


@pytest.mark.parametrize("method", ["dclr", "mac"])
async def test_peers_learn_together_over_both_transports(method: str, tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    async with infrastructure(tmp_path / "r.sock") as (broker, responder):
        both = config(method, mqtt=(broker,), mdns_responder=responder)
        local = config(method, mdns_responder=responder)
        remote = config(method, mqtt=(broker,), tcp=False, mdns=False)
        peers = [
            start(i, settings, tmp_path / str(i), told)
            for i, settings in enumerate([both, both, local, local, remote, remote])
        ]
        try:
            await until(lambda: all(p.daemon.life.round == 3 for p in peers))
            sums: Counter[str] = Counter()
            for p in peers:
                sums.update(p.daemon.counters)
                sums.update(p.daemon.life.discovered)
            assert sums["sent.tcp"] > 0
            assert sums["sent.mqtt"] > 0
            assert sums["mdns"] > 0
            assert sums["mqtt"] > 0
            assert told["payload_received"] > 10
            answer = await asyncio.to_thread(
                ControlClient(tmp_path / "0").request, "recommend", k=5
            )
            assert len(answer["recommendations"]) == 5
            status = await asyncio.to_thread(ControlClient(tmp_path / "0").request, "status")
            assert status["round"] == 3
            assert "no formal privacy guarantee" in status["privacy"]["sentence"]
        finally:
            for p in peers:
                await p.end()
    assert not list(tmp_path.glob("*/control.sock"))  # noqa: ASYNC240 - the loop is idle


async def test_two_model_families_teach_each_other(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    async with infrastructure(tmp_path / "r.sock") as (_, responder):
        settings = config("mac", mdns_responder=responder)
        settings = dataclasses.replace(
            settings, schedule=dataclasses.replace(settings.schedule, min_neighbours=1)
        )
        models = (
            ModelConfig(family="mf", embedding_size=16),
            ModelConfig(family="next_place", embedding_size=8),
        )
        peers = [
            start(
                i,
                dataclasses.replace(
                    settings, learner=dataclasses.replace(settings.learner, model=model)
                ),
                tmp_path / str(i),
                told,
            )
            for i, model in enumerate(models)
        ]
        try:
            await until(lambda: all(p.daemon.life.round == 3 for p in peers))
            for p in peers:
                learner = p.daemon.learner
                rng = np.random.default_rng(0)
                assert learner.collaboration.lessons(learner.knowledge, rng=rng)
                # What the other family says is understood; a late repetition may be dropped.
                refused = ("unknown_model", "wrong_shape", "malformed", "out_of_range")
                assert not any(p.daemon.counters[f"dropped.{reason}"] for reason in refused)
            stored = peers[0].daemon.store.learner_state()["private"]
            assert np.array_equal(stored, peers[0].daemon.learner.knowledge.private)
            assert np.abs(stored).max() > 0
            status = await asyncio.to_thread(ControlClient(tmp_path / "0").request, "status")
            assert status["model"] == "mf/16"
        finally:
            for p in peers:
                await p.end()


async def test_a_stopped_peer_goes_on_from_its_store(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    settings = config("alone")
    first = start(0, settings, tmp_path, told)
    await until(lambda: first.daemon.life.round == 3)
    peer_id, dense = first.daemon.keyring.peer_id, first.daemon.learner.knowledge.dense.copy()
    await first.end()
    again = start(0, settings, tmp_path, told)
    await until(lambda: again.daemon.life.phase == "resting")
    assert again.daemon.keyring.peer_id == peer_id
    assert again.daemon.life.round == 3
    assert (again.daemon.learner.knowledge.dense == dense).all()
    await again.end()


async def test_tables_of_others_are_held_over_a_restart_and_the_own_one_is_whole_again(
    tmp_path: Path,
) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        settings = config("od_update", schedule=ENDLESS, mqtt=(broker.address,), mdns=False)
        model = ModelConfig(family="mf", embedding_size=16, table="codes", compression=2)
        settings = dataclasses.replace(
            settings, learner=dataclasses.replace(settings.learner, model=model)
        )
        peers = [start(i, settings, tmp_path / str(i)) for i in range(2)]

        def method(number: int) -> ODUpdate:
            found = peers[number].daemon.learner.collaboration
            assert isinstance(found, ODUpdate)
            return found

        try:
            await until(lambda: all(method(i).said and method(i).held for i in range(2)))
            await go_on(*peers)
            await peers[0].end()
            before = dict(method(0).held)
            peers[0] = start(0, settings, tmp_path / "0")
            # Nothing has run yet: this is what the store had.
            assert method(0).said is None
            assert {name: table.digest for name, table in method(0).held.items()} == {
                name: table.digest for name, table in before.items()
            }
            await until(lambda: method(0).said is not None)
            await go_on(*peers)
        finally:
            for peer in peers:
                await peer.end()


async def test_a_follower_that_comes_late_gets_only_what_the_ledger_knows(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    settings = config("dclr", mdns=False)
    lonely = dataclasses.replace(
        settings, schedule=dataclasses.replace(settings.schedule, min_neighbours=0, max_rounds=1)
    )
    peer = start(0, lonely, tmp_path, told)
    await until(lambda: peer.daemon.life.round == 1)
    assert peer.daemon.life._spoken  # would go to whoever follows now
    assert [r.round for r in peer.daemon.store.releases()] == [0]
    await peer.end()


async def test_nothing_leaves_without_consent(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    settings = PeerConfig(schedule=ScheduleConfig(round_interval_s=0.0, max_rounds=2))
    assert not settings.share
    peer = start(0, settings, tmp_path, told)
    await until(lambda: peer.daemon.life.phase == "resting")
    assert peer.daemon.ways.tcp is None
    assert told["advertised"] == 0
    assert peer.daemon.store.releases() == []
    await peer.end()


def test_a_model_size_that_nobody_takes_is_refused(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        config("dclr"), learner=LearnerConfig(model=ModelConfig(embedding_size=17))
    )
    with pytest.raises(ConfigError, match="take one of 8, 16, 32"):
        Daemon(config=settings, home=tmp_path, catalogue=CITY.catalogue)


async def test_strangers_are_counted_and_the_peer_goes_on(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    peer = start(0, config("dclr", mdns=False), tmp_path, told)
    await until(lambda: told["advertised"] == 1)
    for garbage in (b"", b"x" * 100, bytes(70_000)):
        assert not await peer.daemon.inbox.take(garbage, "tcp")
    assert sum(n for name, n in peer.daemon.counters.items() if name.startswith("dropped.")) == 3
    assert peer.daemon.life.handle(
        ev.TimerFired(timer=ev.Timer.DISCOVER), peer.daemon.life._started_s + 1
    )
    await peer.end()
