"""Envelopes and messages: what is accepted, and everything that is not."""

from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2prec.collaboration.payload import (
    ModelUpdate,
    ReferenceSequence,
    ReferenceSet,
    SoftPredictions,
)
from p2prec.errors import RemoteProtocolError
from p2prec.limits import REPLAY_IDS_PER_SENDER
from peers.adverts import decode_advert, encode_advert, public_prekey, verify_binding
from peers.codec import PayloadSchema, decode_message, encode_message
from peers.keys import GRACE_S, Keyring
from peers.messages import Advert, Endpoints, Goodbye, Hello, PeerId, Share, Shuffle
from peers.replay import BoundedReplayMemory
from peers.sealing import Opener, seal

REALM, NOW = b"r" * 32, 1_000_000.0
SCHEMA = PayloadSchema(n_items=100, models={"next_place/3": (4, 5)})


def advert_of(ring: Keyring) -> Advert:
    return ring.advert(
        endpoints=Endpoints(tcp=(("127.0.0.1", 4000),), mqtt_inbox="0" * 32),
        cell_label="abc",
        now_s=NOW,
        lifetime_s=900,
    )


ALICE, BOB, EVE = (Keyring.create(REALM) for _ in range(3))
BOB_ADVERT = advert_of(BOB)


def update(**changes: object) -> ModelUpdate:
    fields: dict[str, object] = {
        "round": 3,
        "model": "next_place/3",
        "rows": np.array([1, 5, 99], np.uint32),
        "values": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
        "evidence": np.array([1, 2, 0.5], np.float32),
        "dense": np.arange(5, dtype=np.float32),
        "degree": 4,
    }
    return ModelUpdate(**(fields | changes))  # type: ignore[arg-type]


def messages() -> list[object]:
    hello = Hello(
        advert=BOB_ADVERT,
        binding=BOB.binding(),
        wants_reply=True,
        area="862a1072fffffff",
        sketch=b"\0\1\1",
        method="dclr",
        model="next_place/3",
        accepts=False,
    )
    sequence = ReferenceSequence(
        items=np.array([3, 3, 7], np.uint32), timestamp_s=np.array([0, 3_600, 7_200])
    )
    soft = SoftPredictions(
        round=1,
        references=(b"12345678", b"abcdefgh"),
        items=np.array([[1, 2, 3], [4, 50, 99]], np.uint32),
        log_probabilities=np.full((2, 3), -2.0, np.float32),
        quality=0.5,
    )
    return [
        hello,
        Shuffle(adverts=(BOB_ADVERT,), wants_reply=False),
        Goodbye(),
        Share(payload=update()),
        Share(payload=ReferenceSet(round=2, sequences=(sequence,))),
        Share(payload=soft),
    ]


@pytest.mark.parametrize("message", messages(), ids=lambda m: type(m).__name__)
def test_every_message_survives_the_wire_and_an_independent_reader(message: object) -> None:
    body = encode_message(message)  # type: ignore[arg-type]
    again = decode_message(body, schema=SCHEMA)
    assert encode_message(again) == body
    independent = msgpack.unpackb(body, use_list=False)
    assert isinstance(independent, tuple)
    assert msgpack.packb(independent) == body or b"\xca" in body or b"\xcb" in body


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_a_counted_error(data: bytes) -> None:
    for read in (
        lambda: decode_message(data, schema=SCHEMA),
        lambda: decode_advert(data, realm=REALM, now_s=NOW),
        lambda: Opener(BOB, BoundedReplayMemory()).open(data, now_s=NOW),
    ):
        with contextlib.suppress(RemoteProtocolError):
            read()


def test_nested_arrays_are_refused_without_recursion() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_message(b"\x91" * 100_000 + b"\x00", schema=SCHEMA)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": np.array([1, 5, 100], np.uint32)}, "unknown_item"),
        ({"rows": np.array([5, 1, 9], np.uint32)}, "wrong_shape"),
        ({"rows": np.array([1, 1, 9], np.uint32)}, "wrong_shape"),
        ({"values": np.zeros((3, 5), np.float32)}, "wrong_shape"),
        ({"dense": np.zeros(6, np.float32)}, "wrong_shape"),
        ({"evidence": np.full(3, -1, np.float32)}, "wrong_shape"),
        ({"model": "mf/3"}, "unknown_model"),
        ({"degree": 10**6}, "malformed"),
    ],
)
def test_updates_that_do_not_fit_the_realm(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_message(encode_message(Share(payload=update(**changes))), schema=SCHEMA)
    assert caught.value.reason == reason


def opener(ring: Keyring = BOB) -> Opener:
    return Opener(ring, BoundedReplayMemory())


def test_a_sealed_message_opens_once() -> None:
    [envelope] = seal(b"hello", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    box = opener()
    opened = box.open(envelope, now_s=NOW + 1)
    assert opened is not None
    assert (opened.sender, opened.body) == (ALICE.peer_id, b"hello")
    with pytest.raises(RemoteProtocolError, match="replayed"):
        box.open(envelope, now_s=NOW + 2)
    assert b"hello" not in envelope
    assert ALICE.identity_key not in envelope


def test_every_flipped_bit_is_refused() -> None:
    [envelope] = seal(b"x", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    box = opener()
    for at in range(0, len(envelope) * 8, 7):  # all header bits fall into the first 256
        broken = bytearray(envelope)
        broken[at // 8] ^= 1 << at % 8
        with pytest.raises(RemoteProtocolError):
            box.open(bytes(broken), now_s=NOW)
    assert box.open(envelope, now_s=NOW) is not None


@pytest.mark.parametrize(
    ("now", "reason"), [(NOW + 3_601, "expired"), (NOW - 301, "from_the_future")]
)
def test_time_bounds(now: float, reason: str) -> None:
    [envelope] = seal(b"x", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    with pytest.raises(RemoteProtocolError, match=reason):
        opener().open(envelope, now_s=now)


def test_lifetimes_are_bounded() -> None:
    [envelope] = seal(b"x", keyring=ALICE, to=BOB_ADVERT, now_s=NOW, lifetime_s=8 * 86_400)
    with pytest.raises(RemoteProtocolError, match="lives_too_long"):
        opener().open(envelope, now_s=NOW)


def test_others_cannot_open_and_other_realms_are_noise() -> None:
    [envelope] = seal(b"x", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    with pytest.raises(RemoteProtocolError, match="unknown_prekey"):
        opener(EVE).open(envelope, now_s=NOW)
    with pytest.raises(RemoteProtocolError, match="wrong_door"):
        opener(Keyring.create(b"q" * 32)).open(envelope, now_s=NOW)


def test_a_recipient_cannot_pass_a_message_on() -> None:
    import msgspec

    from peers import sealing

    [envelope] = seal(b"for bob", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    inner = Opener(BOB, BoundedReplayMemory())._unseal(envelope)
    eve = advert_of(EVE)
    plain = sealing._pad(msgspec.msgpack.encode(inner))
    secret = sealing.SUITE.encrypt(
        plain, public_prekey(eve.prekey), sealing._info(REALM, eve.pseudonym)
    )
    forged = sealing._frame(REALM, eve.prekey_id, secret)
    with pytest.raises(RemoteProtocolError, match="wrong_recipient"):
        opener(EVE).open(forged, now_s=NOW)
    renamed = msgspec.structs.replace(inner, recipient=eve.pseudonym, prekey_id=eve.prekey_id)
    secret = sealing.SUITE.encrypt(
        sealing._pad(msgspec.msgpack.encode(renamed)),
        public_prekey(eve.prekey),
        sealing._info(REALM, eve.pseudonym),
    )
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        opener(EVE).open(sealing._frame(REALM, eve.prekey_id, secret), now_s=NOW)


def test_long_messages_travel_in_chunks_in_any_order() -> None:
    body = np.random.default_rng(0).bytes(200_000)
    envelopes = seal(body, keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    assert len(envelopes) == 4
    assert max(map(len, envelopes)) <= 65_536
    box = opener()
    for envelope in [*envelopes[:0:-1], envelopes[1]]:
        assert box.open(envelope, now_s=NOW) is None
    opened = box.open(envelopes[0], now_s=NOW)
    assert opened is not None
    assert opened.body == body
    assert not len(box._chunks)


def test_unfinished_messages_stay_bounded() -> None:
    box = opener()
    for _ in range(20):
        first, *_ = seal(bytes(100_000), keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
        assert box.open(first, now_s=NOW) is None
    assert len(box._chunks) <= 2


def test_the_replay_floor_rises() -> None:
    memory, sender = BoundedReplayMemory(), PeerId("a")
    for i in range(REPLAY_IDS_PER_SENDER + 10):
        assert memory.accept(sender, i.to_bytes(16, "big"), created_s=float(i), expires_s=1e9)
    for i in range(12):
        assert not memory.accept(sender, i.to_bytes(16, "big"), created_s=float(i), expires_s=1e9)


def test_destroyed_prekeys_open_nothing() -> None:
    ring = Keyring.create(REALM)
    [envelope] = seal(b"x", keyring=ALICE, to=advert_of(ring), now_s=NOW, lifetime_s=6e5)
    ring.rotate(NOW)
    assert opener(ring).open(envelope, now_s=NOW + 10) is not None
    ring.rotate(NOW + GRACE_S + 1)
    with pytest.raises(RemoteProtocolError, match="unknown_prekey"):
        opener(ring).open(envelope, now_s=NOW + 20)


def test_keys_survive_the_store() -> None:
    ring = Keyring.create(REALM)
    again = Keyring.from_bytes(ring.to_bytes())
    assert again.peer_id == ring.peer_id
    [envelope] = seal(b"x", keyring=ALICE, to=advert_of(ring), now_s=NOW)
    assert opener(again).open(envelope, now_s=NOW) is not None


def test_adverts_are_verified() -> None:
    data = encode_advert(BOB_ADVERT)
    assert decode_advert(data, realm=REALM, now_s=NOW) == BOB_ADVERT
    for now, realm, reason in (
        (NOW + 901, REALM, "advert_expired"),
        (NOW - 301, REALM, "advert_from_the_future"),
        (NOW, b"q" * 32, "advert_other_realm"),
    ):
        with pytest.raises(RemoteProtocolError, match=reason):
            decode_advert(data, realm=realm, now_s=now)
    forged = data.replace(b"abc", b"abd")
    with pytest.raises(RemoteProtocolError, match="advert_bad_signature"):
        decode_advert(forged, realm=REALM, now_s=NOW)
    verify_binding(BOB_ADVERT, BOB.binding(), BOB.identity_key)
    with pytest.raises(RemoteProtocolError, match="bad_binding"):
        verify_binding(BOB_ADVERT, EVE.binding(), EVE.identity_key)
