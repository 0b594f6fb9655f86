"""Recorded bytes: old peers stay readable, and the documents suffice to read them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from cast import NOW, REALM, SCHEMA, messages
from second_reader import Recipient, check_advert, check_binding, open_envelope

from p2prec.errors import RemoteProtocolError
from peers import sealing
from peers.adverts import decode_advert, public_prekey, verify_binding
from peers.codec import decode_message, encode_message
from peers.keys import Keyring
from peers.messages import Advert
from peers.replay import BoundedReplayMemory
from peers.sealing import Opener

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "protocol_1.json").read_text()
)
BOB_RECORD, ALICE_RECORD = RECORDED["recipient"], RECORDED["sender"]
ENVELOPE = bytes.fromhex(RECORDED["envelope"]["bytes"])
CHUNKS = [bytes.fromhex(chunk) for chunk in RECORDED["chunked"]["envelopes"]]
BODIES = {name: bytes.fromhex(body) for name, body in RECORDED["bodies"].items()}
ADVERT = bytes.fromhex(BOB_RECORD["advert"])
RECIPIENT = Recipient(
    realm=bytes.fromhex(RECORDED["realm"]),
    pseudonym=BOB_RECORD["pseudonym"],
    prekey_id=bytes.fromhex(BOB_RECORD["prekey_id"]),
    mlkem_seed=bytes.fromhex(BOB_RECORD["mlkem768_seed"]),
    x25519=bytes.fromhex(BOB_RECORD["x25519_private"]),
)


def bob() -> Opener:
    return Opener(Keyring.from_bytes(bytes.fromhex(BOB_RECORD["keyring"])), BoundedReplayMemory())


def advert() -> Advert:
    return decode_advert(ADVERT, realm=REALM, now_s=NOW)


def flips(data: bytes) -> Any:
    for at in range(len(data) * 8):
        broken = bytearray(data)
        broken[at // 8] ^= 1 << at % 8
        yield bytes(broken)


@pytest.mark.parametrize("name", BODIES)
def test_recorded_bodies_are_read_and_written_the_same(name: str) -> None:
    assert type(decode_message(BODIES[name], schema=SCHEMA)) is type(messages()[name])
    assert encode_message(decode_message(BODIES[name], schema=SCHEMA)) == BODIES[name]


@pytest.mark.parametrize(
    "name", ["model_update", "reference_set", "soft_predictions", "table_update", "goodbye"]
)
def test_bodies_without_keys_have_not_changed(name: str) -> None:
    assert encode_message(messages()[name]) == BODIES[name]


def test_recorded_envelopes_open() -> None:
    opened = bob().open(ENVELOPE, now_s=NOW)
    assert opened is not None
    assert (opened.sender, opened.body) == (ALICE_RECORD["peer_id"], BODIES["model_update"])
    box = bob()
    assert [box.open(chunk, now_s=NOW) for chunk in CHUNKS[:-1]] == [None, None]
    opened = box.open(CHUNKS[-1], now_s=NOW)
    assert opened is not None
    assert opened.body.hex() == RECORDED["chunked"]["body"]


def test_a_second_implementation_reads_the_same() -> None:
    record = open_envelope(ENVELOPE, RECIPIENT)
    assert record["body"] == BODIES["model_update"]
    assert record["sender_key"] == bytes.fromhex(ALICE_RECORD["identity_key"])
    assert record["recipient"] == BOB_RECORD["pseudonym"]
    chunks = [open_envelope(chunk, RECIPIENT) for chunk in CHUNKS]
    assert b"".join(c["body"] for c in chunks).hex() == RECORDED["chunked"]["body"]  # type: ignore[misc]
    values = check_advert(ADVERT)
    assert values[0] == REALM
    check_binding(
        values, bytes.fromhex(BOB_RECORD["binding"]), bytes.fromhex(BOB_RECORD["identity_key"])
    )


def test_a_second_implementation_reads_the_numbers_of_an_update() -> None:
    tag, round_, model, wide, rows, values, evidence, dense, degree = msgpack.unpackb(
        BODIES["model_update"]
    )
    assert not wide
    assert (tag, round_, model, degree) == (3, 3, "next_place/3", 4)
    assert struct.unpack("<3H", rows) == (1, 5, 99)
    assert struct.unpack("<12e", values) == tuple(i / 8 for i in range(12))
    assert struct.unpack("<3e", evidence) == (1.0, 2.0, 0.5)
    assert struct.unpack("<5e", dense) == (0.0, 1.0, 2.0, 3.0, 4.0)


def test_every_flipped_bit_of_an_envelope_is_refused() -> None:
    box = bob()
    for broken in flips(ENVELOPE):
        with pytest.raises(RemoteProtocolError):
            box.open(broken, now_s=NOW)
    assert box.open(ENVELOPE, now_s=NOW) is not None


def test_every_flipped_bit_behind_a_right_door_is_refused() -> None:
    """Whoever has the catalogue can make the door; the seal must hold without it."""
    box = bob()
    sealed = ENVELOPE[32:]
    for broken in flips(sealed):
        forged = sealing._frame(REALM, RECIPIENT.prekey_id, broken)
        with pytest.raises(RemoteProtocolError, match="cannot_open"):
            box.open(forged, now_s=NOW)


def test_every_flipped_bit_behind_a_right_seal_is_refused() -> None:
    """Anybody can seal to a public prekey; the signature must cover every bit of the record."""
    box = bob()
    key, info = public_prekey(advert().prekey), sealing._info(REALM, advert().pseudonym)
    record = msgspec.msgpack.encode(box._unseal(ENVELOPE))
    reasons = set()
    for broken in flips(sealing._pad(record)):
        forged = sealing._frame(
            REALM, RECIPIENT.prekey_id, sealing.SUITE.encrypt(broken, key, info)
        )
        with pytest.raises(RemoteProtocolError) as caught:
            box.open(forged, now_s=NOW)
        reasons.add(caught.value.reason)
    assert reasons == {"malformed_envelope", "bad_signature", "wrong_recipient"}


def test_every_flipped_bit_of_an_advert_and_a_binding_is_refused() -> None:
    for broken in flips(ADVERT):
        with pytest.raises(RemoteProtocolError):
            decode_advert(broken, realm=REALM, now_s=NOW)
    identity_key = bytes.fromhex(BOB_RECORD["identity_key"])
    binding = bytes.fromhex(BOB_RECORD["binding"])
    for broken in flips(binding):
        with pytest.raises(RemoteProtocolError, match="bad_binding"):
            verify_binding(advert(), broken, identity_key)
    verify_binding(advert(), binding, identity_key)


def test_a_longer_way_to_say_the_same_is_refused() -> None:
    """One meaning, one encoding: nobody can make a second valid advert out of a first one."""
    fields = msgpack.unpackb(ADVERT)
    same = msgpack.packb(fields)
    assert same == ADVERT
    as_integer = msgpack.packb([*fields[:7], int(fields[7]), *fields[8:]])
    long_array = b"\xdc\x00\x0a" + ADVERT[1:]
    for longer in (as_integer, long_array):
        assert msgpack.unpackb(longer) == fields
        with pytest.raises(RemoteProtocolError, match="advert_malformed"):
            decode_advert(longer, realm=REALM, now_s=NOW)
    body = BODIES["goodbye"]
    assert body == b"\x91\x06"
    for longer in (b"\xdc\x00\x01\x06", b"\x91\xcc\x06"):
        assert msgpack.unpackb(longer) == [6]
        with pytest.raises(RemoteProtocolError, match="malformed"):
            decode_message(longer, schema=SCHEMA)
