"""A daemon whose releases are used up: nothing of it leaves, it says so, and it goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

import pytest
from brokers import running_broker
from running import ENDLESS, Running, config, go_on, start, until

from p2prec.training.config import ProtectionConfig
from peers.cli.say import status as sentences
from peers.config import PeerConfig
from peers.control import ControlClient

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.timeout(900)]
LIMIT = 2
BRISK = dataclasses.replace(ENDLESS, inbox_timeout_s=5.0)


def limited(settings: PeerConfig, *, window_s: float) -> PeerConfig:
    protection = ProtectionConfig(max_releases=LIMIT, window_s=window_s)
    learner = dataclasses.replace(settings.learner, protection=protection)
    return dataclasses.replace(settings, learner=learner)


def shares_from(peer: Running, sender: Running) -> set[int]:
    """Rounds of the sender that reached the peer."""
    name = sender.daemon.keyring.peer_id[:8]
    heard = peer.heard("payload_received")
    return {int(str(t.fields["round"])) for t in heard if t.fields["peer"] == name}


async def test_used_up_releases_are_said_and_the_peer_goes_on(tmp_path: Path) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        settings = config("dclr", schedule=BRISK, mqtt=(broker.address,), mdns=False)
        peers = [
            start(0, limited(settings, window_s=3_600.0), tmp_path / "0"),
            *(start(i, settings, tmp_path / str(i)) for i in (1, 2)),
        ]
        thrifty, *friends = peers
        try:
            await until(lambda: len(thrifty.heard("withheld")) == 1)
            goal = thrifty.daemon.life.round + 4
            await until(lambda: thrifty.daemon.life.round >= goal)
            await go_on(*peers)  # it still hears the others, and they each other
            assert len(thrifty.heard("withheld")) == 1, "said once"
            assert thrifty.daemon.counters["withheld"] > 4, "counted each time"

            # What left is what the ledger holds, and no more came to anybody.
            ledger = {r.round for r in thrifty.daemon.store.releases()}
            assert len(ledger) == LIMIT
            for friend in friends:
                assert shares_from(friend, thrifty) <= ledger
                assert thrifty.daemon.keyring.peer_id in friend.daemon.life.known
            status = await asyncio.to_thread(ControlClient(tmp_path / "0").request, "status")
            assert status["counters"]["withheld"] > 4
            assert status["privacy"]["releases"] == LIMIT
            assert status["privacy"]["releases_left"] == 0
            assert 0 < status["privacy"]["next_release_s"] - time.time() < 3_600
            assert "Nothing more leaves until" in sentences(status, [])

            # Nobody waits for who has nothing to say: rounds take no inbox_timeout_s each.
            begun, before = time.monotonic(), friends[0].daemon.life.round
            await until(lambda: friends[0].daemon.life.round >= before + 8)
            assert time.monotonic() - begun < 4 * BRISK.inbox_timeout_s
        finally:
            for peer in peers:
                await peer.end()


async def test_a_restart_gives_no_releases_back_and_time_does(tmp_path: Path) -> None:
    settings = config("dclr", schedule=dataclasses.replace(ENDLESS, min_neighbours=0), mdns=False)
    first = start(0, limited(settings, window_s=3_600.0), tmp_path)
    await until(lambda: bool(first.heard("withheld")))
    await first.end()
    again = start(0, limited(settings, window_s=3_600.0), tmp_path)
    await until(lambda: bool(again.heard("withheld")))
    assert len(again.daemon.store.releases()) == LIMIT
    await again.end()
    # The first window is over at once; the next ones are some rounds long.
    later = start(0, limited(settings, window_s=2.0), tmp_path)
    await until(lambda: bool(later.heard("withheld")) and bool(later.heard("released_again")))
    times_s = [r.time_s for r in later.daemon.store.releases()]
    await later.end()
    new = times_s[LIMIT:]
    assert len(new) > LIMIT
    for first_s, third_s in zip(new, new[LIMIT:], strict=False):
        assert third_s - first_s >= 2.0
