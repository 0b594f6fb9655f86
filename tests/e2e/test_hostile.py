"""Everything bad that a stranger can send, over real sockets and real brokers, to a running peer.

Each is dropped under its name, and the peer goes on with its neighbours and its rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import numpy as np
import pytest
from brokers import KINDS, running_broker
from running import ENDLESS, Running, config, go_on, start, until

from p2prec import limits
from peers import sealing
from peers.adverts import encode_advert, public_prekey
from peers.codec import encode_message
from peers.keys import Keyring
from peers.messages import Advert, Endpoints, Goodbye
from peers.sealing import seal
from peers.store import Store
from peers.wire import SealedWire, SoftWire, UpdateWire

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.xdist_group("multicast"),
    pytest.mark.timeout(900),
]
MODEL = "next_place/16"
Sender = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Stranger:
    """Somebody with the catalogue and keys, who keeps to no rule."""

    keys: Keyring
    victim: Advert
    shape: tuple[int, int]

    def sealed(self, body: bytes, **changes: Any) -> bytes:
        [envelope] = seal(
            body, **{"keyring": self.keys, "to": self.victim, "now_s": time.time(), **changes}
        )
        return envelope

    def update(self, **changes: Any) -> bytes:
        width, dense = self.shape
        fields = {
            "round": 0,
            "model": MODEL,
            "wide": False,
            "rows": np.arange(2, dtype="<u2").tobytes(),
            "values": np.zeros((2, width), "<f2").tobytes(),
            "evidence": np.ones(2, "<f2").tobytes(),
            "dense": np.zeros(dense, "<f2").tobytes(),
            "degree": 1,
        }
        return self.sealed(msgspec.msgpack.encode(UpdateWire(**(fields | changes))))

    def soft(self, **changes: Any) -> bytes:
        fields = {
            "round": 0,
            "references": bytes(8),
            "width": 1,
            "items": np.zeros(1, "<u4").tobytes(),
            "log_probabilities": np.full(1, -1.0, "<f2").tobytes(),
        }
        return self.sealed(msgspec.msgpack.encode(SoftWire(**(fields | changes))))

    def forged(self, *, sign: Keyring | None = None, **changes: Any) -> bytes:
        """Right door and right seal, but another record within."""
        now_s = time.time()
        record = SealedWire(
            sender_key=self.keys.identity_key,
            recipient=self.victim.pseudonym,
            realm=self.keys.realm,
            prekey_id=self.victim.prekey_id,
            message_id=bytes(16),
            created_s=now_s,
            expires_s=now_s + 60,
            chunk=0,
            chunks=1,
            digest=bytes(32),
            body=b"",
            signature=bytes(64),
        )
        record = msgspec.structs.replace(record, **changes)
        if sign is not None:
            record = msgspec.structs.replace(record, signature=sign.sign(sealing._signed(record)))
        plain = sealing._pad(msgspec.msgpack.encode(record))
        info = sealing._info(self.keys.realm, self.victim.pseudonym)
        secret = sealing.SUITE.encrypt(plain, public_prekey(self.victim.prekey), info)
        return sealing._frame(self.keys.realm, self.victim.prekey_id, secret)


def bad_envelopes(who: Stranger) -> list[tuple[str, bytes]]:
    """(what it is counted as, envelope)."""
    good = who.sealed(encode_message(Goodbye()))
    once_more = who.sealed(encode_message(Goodbye()))
    other = Keyring.create(b"q" * 32, time.time())
    width, dense = who.shape
    nan = float("nan")
    return [
        # malformed
        ("unknown_version", b"\x07" * 2_000),
        ("wrong_door", good[:12] + bytes(16) + good[28:]),
        ("cannot_open", sealing._frame(who.keys.realm, who.victim.prekey_id, bytes(2_000))),
        ("malformed_envelope", who.forged(sign=who.keys, chunks=0)),
        ("unknown_kind", who.sealed(b"\x91\x63")),
        ("malformed", who.sealed(b"\x91\x06" + bytes(9))),
        ("malformed", who.sealed(b"\x97" * 40)),
        # truncated
        ("envelope_length", good[:-1]),
        ("envelope_length", good[:31]),
        ("malformed", who.sealed(encode_message(Goodbye())[:1])),
        # wrongly signed, passed on, for another peer
        ("bad_signature", who.forged()),
        ("bad_signature", who.forged(sign=other)),
        ("wrong_recipient", who.forged(sign=who.keys, recipient="0" * 32)),
        ("unknown_prekey", sealing._frame(who.keys.realm, bytes(8), bytes(2_000))),
        # of another realm, at another time
        ("wrong_door", who.sealed(b"", keyring=other)),
        ("wrong_realm", who.forged(sign=who.keys, realm=b"q" * 32)),
        ("expired", who.sealed(b"", now_s=time.time() - 9_000)),
        ("from_the_future", who.sealed(b"", now_s=time.time() + 9_000)),
        ("wrong_digest", who.forged(sign=who.keys)),
        # of a wrong shape
        ("wrong_shape", who.update(values=np.zeros((2, width - 1), "<f2").tobytes())),
        ("wrong_shape", who.update(dense=np.zeros(dense + 1, "<f2").tobytes())),
        ("unknown_item", who.update(rows=np.array([1, 65_535], "<u2").tobytes())),
        ("unknown_model", who.update(model="next_place/17")),
        ("out_of_range", who.update(values=np.full((2, width), 60_000, "<f2").tobytes())),
        # NaN
        ("not_finite", who.update(values=np.full((2, width), nan, "<f2").tobytes())),
        ("not_finite", who.update(dense=np.full(dense, np.inf, "<f2").tobytes())),
        ("not_finite", who.soft(log_probabilities=np.full(1, nan, "<f2").tobytes())),
        ("malformed", who.soft(width=-1)),
        ("malformed_envelope", who.forged(sign=who.keys, created_s=nan)),
        # authentic, but from nobody that was met, and then repeated
        ("from_a_stranger", once_more),
        ("replayed", once_more),
    ]


@contextlib.asynccontextmanager
async def two_peers(broker: str, folder: Path) -> AsyncIterator[tuple[Running, Running]]:
    settings = config("dclr", schedule=ENDLESS, mqtt=(broker,), mdns=False)
    peers = [start(i, settings, folder / str(i)) for i in range(2)]
    try:
        await go_on(*peers, rounds=1)
        yield peers[0], peers[1]
    finally:
        for peer in peers:
            await peer.end()


def stranger(peer: Running) -> Stranger:
    assert peer.daemon.presence.advert is not None
    return Stranger(
        keys=Keyring.create(peer.daemon.catalogue.digest, time.time()),
        victim=peer.daemon.presence.advert[0],
        shape=peer.daemon.inbox.schema.models[MODEL],
    )


async def counted(peer: Running, name: str, action: Awaitable[None], *, least: int = 1) -> None:
    before = peer.daemon.counted()[name]
    await action
    await until(lambda: peer.daemon.counted()[name] >= before + least, 60)


async def send_all(peer: Running, send: Sender) -> None:
    for reason, envelope in bad_envelopes(stranger(peer)):
        await counted(peer, f"dropped.{reason}", send(envelope))


async def test_bad_messages_over_tcp(tmp_path: Path) -> None:
    async with running_broker("amqtt", tmp_path) as broker:
        async with two_peers(broker.address, tmp_path) as (peer, friend):
            assert peer.daemon.ways.tcp is not None
            port = peer.daemon.ways.tcp.port

            async def raw(data: bytes) -> None:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                await writer.drain()
                writer.close()

            def send(envelope: bytes) -> Awaitable[None]:
                return raw(struct.pack(">IB", len(envelope), 1) + envelope)

            await send_all(peer, send)
            too_long = struct.pack(">IB", limits.MAX_ENVELOPE_BYTES + 1, 1)
            await counted(peer, "tcp.bad_frame", raw(too_long))
            await counted(peer, "tcp.bad_frame", raw(struct.pack(">IB", 4, 77) + b"what"))
            await counted(peer, "tcp.broken_connection", raw(struct.pack(">IB", 900, 1) + b"cut"))
            status = peer.daemon.answers.status()["counters"]
            assert status["dropped.bad_signature"] >= 2
            assert status["tcp.bad_frame"] >= 2
            await go_on(peer, friend)


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_messages_over_mqtt(kind: str, tmp_path: Path) -> None:
    async with running_broker(kind, tmp_path) as broker:
        async with two_peers(broker.address, tmp_path) as (peer, friend):
            root = f"p2prec/1/{peer.daemon.catalogue.digest[:8].hex()}"
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:

                async def send(envelope: bytes) -> None:
                    await client.publish(
                        f"{root}/in/{peer.daemon.presence.inbox_name}", envelope, qos=1
                    )

                await send_all(peer, send)
                too_long = bytes(limits.MAX_ENVELOPE_BYTES + 1)
                await counted(peer, "mqtt.too_long", send(too_long))
                await bad_presence(peer, client, root)
            await go_on(peer, friend)


async def bad_presence(peer: Running, client: aiomqtt.Client, root: str) -> None:
    """Adverts that lie, on the topic where everybody reads them."""
    who = stranger(peer)
    realm = Keyring.create(b"q" * 32, time.time())

    def advert(keys: Keyring, **changes: Any) -> Advert:
        fields: dict[str, Any] = {
            "endpoints": Endpoints(tcp=(("127.0.0.1", 9),)),
            "cell_label": "abc",
            "now_s": time.time(),
            "lifetime_s": 900.0,
        }
        return keys.advert(**(fields | changes))

    good = encode_advert(advert(who.keys))
    for reason, data in [
        ("advert_malformed", b"garbage"),
        ("advert_malformed", good[:-1]),
        ("advert_too_long", good + bytes(limits.MAX_ADVERT_BYTES)),
        ("advert_bad_signature", good[:-1] + bytes([good[-1] ^ 1])),
        ("advert_other_realm", encode_advert(advert(realm))),
        ("advert_expired", encode_advert(advert(who.keys, now_s=time.time() - 5_000))),
        ("advert_lives_too_long", encode_advert(advert(who.keys, lifetime_s=1e6))),
    ]:
        topic = f"{root}/c/{who.victim.cell_label}/0/{'e' * 32}"
        await counted(peer, f"dropped.{reason}", client.publish(topic, data, qos=1))


async def test_an_envelope_of_an_earlier_life_is_refused_after_a_restart(tmp_path: Path) -> None:
    """The replay memory is on the disk: what was delivered once is never delivered again."""
    peer = start(0, config("dclr", schedule=ENDLESS, mdns=False), tmp_path)
    await until(lambda: bool(peer.heard("advertised")))
    who = stranger(peer)
    envelope = who.sealed(encode_message(Goodbye()))
    assert await peer.daemon.inbox.take(envelope, "tcp")
    await peer.end()
    again = start(0, config("dclr", schedule=ENDLESS, mdns=False), tmp_path)
    await until(lambda: bool(again.heard("advertised")))
    assert await again.daemon.inbox.take(envelope, "tcp")
    assert again.daemon.counters["dropped.replayed"] == 1
    assert again.daemon.counters["received.tcp"] == 0
    await again.end()
    store = Store.open(tmp_path / "peer.db")
    assert store.counters()["dropped.replayed"] == 1
    store.close()
