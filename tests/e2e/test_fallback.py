"""Two daemons that reach each other both ways: TCP first, a broker where TCP is dead, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from brokers import KINDS, running_broker
from running import ENDLESS, Running, config, go_on, start, until

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.timeout(900)]


def shares_from(peer: Running, sender: Running) -> list[int]:
    """Rounds of the sender that reached the peer, in order."""
    name = sender.daemon.keyring.peer_id[:8]
    heard = peer.heard("payload_received")
    return [int(str(t.fields["round"])) for t in heard if t.fields["peer"] == name]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_messages_take_the_broker_while_tcp_is_dead(kind: str, tmp_path: Path) -> None:
    async with running_broker(kind, tmp_path) as broker:
        settings = config("dclr", schedule=ENDLESS, mqtt=(broker.address,), mdns=False)
        peers = [start(i, settings, tmp_path / str(i)) for i in range(2)]
        sender, deaf = peers
        sent = sender.daemon.counters
        try:
            await go_on(*peers)
            assert sent["sent.tcp"] > 0
            assert sent["sent.mqtt"] == 0, "the cheaper way where both are there"

            # Nobody listens at the advertised port any more.
            assert deaf.daemon.ways.tcp is not None
            await deaf.daemon.ways.tcp.close()
            await until(lambda: sent["sent.mqtt"] > 0)
            by_tcp, after = sent["sent.tcp"], shares_from(deaf, sender)[-1]
            await go_on(*peers, rounds=4)
            assert sent["sent.tcp"] == by_tcp
            assert sender.daemon.counters["not_sent"] == 0
            assert deaf.daemon.counters["received.mqtt"] > 0
            # The newest share may still be on its way.
            await until(lambda: shares_from(deaf, sender)[-1] >= after + 4)
            late = [r for r in shares_from(deaf, sender) if r > after]
            assert late == list(range(after + 1, after + 1 + len(late))), "no round is lost"

            # It listens again, and after a while is found again.
            await deaf.daemon.ways.tcp.start()
            await until(lambda: sent["sent.tcp"] > by_tcp)
            by_mqtt = sent["sent.mqtt"]
            await go_on(*peers, rounds=4)
            assert sent["sent.mqtt"] == by_mqtt
        finally:
            for peer in peers:
                await peer.end()
