"""Pseudonyms that change in mid-run: identities and links stay, nobody is met twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from brokers import running_broker
from running import ENDLESS, Running, config, go_on, start, until

from peers.messages import Advert, Hello, Message, PeerId, Pseudonym

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.timeout(900)]
N, K, TURNS, LIFETIME_S = 5, 3, 3, 6.0
CALM = dataclasses.replace(ENDLESS, round_interval_s=1.0)


class Greetings:
    """To which pseudonyms a peer introduced itself, and whom it knew at that moment."""

    def __init__(self, peer: Running) -> None:
        self.said: list[tuple[Pseudonym, frozenset[PeerId]]] = []
        outbox, life = peer.daemon.outbox, peer.daemon.life
        put = outbox.put

        def noted(to: Advert, message: Message) -> None:
            if isinstance(message, Hello) and message.wants_reply:
                self.said.append((to.pseudonym, frozenset(life.known)))
            put(to, message)

        outbox.put = noted  # type: ignore[method-assign]


def faces(peer: Running) -> set[str]:
    """All pseudonyms that it has shown."""
    return {str(told.fields["pseudonym"]) for told in peer.heard("advertised")}


@pytest.mark.slow
async def test_pseudonyms_rotate_and_nobody_is_met_twice(tmp_path: Path) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        settings = config(
            "dclr",
            schedule=CALM,
            mqtt=(broker.address,),
            mdns=False,
            pseudonym_lifetime_s=LIFETIME_S,
            advert_lifetime_s=2 * LIFETIME_S,
        )
        peers = [start(i, settings, tmp_path / str(i)) for i in range(N)]
        greetings = [Greetings(peer) for peer in peers]
        identities = [peer.daemon.keyring.peer_id for peer in peers]
        try:
            await until(lambda: all(len(p.daemon.life.neighbours) == K for p in peers))
            links = [set(p.daemon.life.neighbours) for p in peers]
            shown = [len(faces(p)) for p in peers]
            await until(
                lambda: all(len(faces(p)) >= n + TURNS for p, n in zip(peers, shown, strict=True))
            )
            await go_on(*peers)
            whose = {f: i for p, i in zip(peers, identities, strict=True) for f in faces(p)}
            assert len(whose) >= N * TURNS
            for i, peer in enumerate(peers):
                life = peer.daemon.life
                assert peer.daemon.keyring.peer_id == identities[i]
                assert set(life.neighbours) == links[i], "neighbours survive"
                # Under whatever name: who is known is not greeted, nor passed on twice.
                assert not any(whose[face] in known for face, known in greetings[i].said)
                held = [whose[face] for face in life.adverts]
                assert len(set(held)) == len(held)
                assert identities[i] not in held
        finally:
            for peer in peers:
                await peer.end()
