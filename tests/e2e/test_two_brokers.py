"""Daemons on different brokers with one common acquaintance: gossip brings them together."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from brokers import running_broker
from running import ENDLESS, config, go_on, start, until

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.timeout(900)]


async def test_peers_of_two_brokers_meet_through_a_common_acquaintance(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as brokers:
        here, there = [
            (await brokers.enter_async_context(running_broker("amqtt", tmp_path))).address
            for _ in range(2)
        ]
        peers = [
            start(i, config("dclr", schedule=ENDLESS, mqtt=mqtt, mdns=False), tmp_path / str(i))
            for i, mqtt in enumerate([(here,), (there,), (here, there)])
        ]
        a, b, common = (peer.daemon for peer in peers)
        try:
            await until(
                lambda: (
                    b.keyring.peer_id in a.life.neighbours
                    and a.keyring.peer_id in b.life.neighbours
                )
            )
            assert common.life.discovered["mqtt"] == 2
            for daemon in (a, b):
                assert daemon.life.discovered["mqtt"] == 1  # the common one alone was in sight
            # One of them was told of the other, and introduced itself.
            assert a.life.discovered["gossip"] + b.life.discovered["gossip"] > 0
            await go_on(*peers)
        finally:
            for peer in peers:
                await peer.end()
