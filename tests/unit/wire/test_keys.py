"""Keys, adverts and what binds them: life, rotation, destruction."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cast import ALICE, BOB, BOB_ADVERT, EVE, NOW, REALM, advert_of, opener
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2prec import limits
from p2prec.errors import ConfigError, RemoteProtocolError, StoreError
from peers.adverts import (
    VerifiedAdverts,
    check_advert,
    decode_advert,
    encode_advert,
    is_address,
    public_prekey,
    verify_binding,
)
from peers.keys import GRACE_S, Keyring
from peers.messages import Advert, Endpoints, peer_id_of, pseudonym_of
from peers.sealing import seal
from peers.store import Store


def refused(data: bytes, *, now_s: float = NOW, realm: bytes = REALM) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_advert(data, realm=realm, now_s=now_s)
    return caught.value.reason


def test_an_advert_holds_in_its_time_and_realm_only() -> None:
    data = encode_advert(BOB_ADVERT)
    assert decode_advert(data, realm=REALM, now_s=NOW) == BOB_ADVERT
    assert refused(data, now_s=NOW + 900) == "advert_expired"
    assert decode_advert(data, realm=REALM, now_s=NOW + 899) == BOB_ADVERT
    assert refused(data, now_s=NOW - 301) == "advert_from_the_future"
    assert decode_advert(data, realm=REALM, now_s=NOW - 300) == BOB_ADVERT
    assert refused(data, realm=b"q" * 32) == "advert_other_realm"
    assert refused(data.replace(b"abc", b"abd")) == "advert_bad_signature"
    assert refused(data[:-1]) == "advert_malformed"
    assert refused(data + b"\0") == "advert_malformed"
    assert refused(bytes(limits.MAX_ADVERT_BYTES + 1)) == "advert_too_long"
    assert refused(encode_advert(advert_of(BOB, lifetime_s=3_601))) == "advert_lives_too_long"


def test_a_line_break_is_no_part_of_a_name() -> None:
    for bad in (
        advert_of(BOB, cell_label="abc\n"),
        advert_of(BOB, endpoints=Endpoints(mqtt_inbox="0" * 32 + "\n")),
        advert_of(BOB, endpoints=Endpoints(mqtt_inbox="#")),
    ):
        assert refused(encode_advert(bad)) == "advert_malformed"


@pytest.mark.parametrize(
    "host",
    ["evil.example.org", "localhost", "0.0.0.0", "::", "224.0.0.251", "ff02::fb", "fe80::1%lo",
     "1.2.3", "0x7f.1", "127.0.0.1\n", "127.0.0.01"],
)  # fmt: skip
def test_only_numeric_addresses_of_one_host_are_accepted(host: str) -> None:
    assert not is_address(host)
    bad = advert_of(BOB, endpoints=Endpoints(tcp=(("10.0.0.1", 1), (host, 4_000))))
    assert refused(encode_advert(bad)) == "advert_bad_address"


def test_addresses_of_both_families_are_accepted() -> None:
    tcp = (("192.168.1.7", 1), ("2001:db8::7", 65_535), ("::1", 2))
    data = encode_advert(advert_of(BOB, endpoints=Endpoints(tcp=tcp)))
    assert decode_advert(data, realm=REALM, now_s=NOW).endpoints.tcp == tcp


def test_a_daemon_refuses_a_host_that_others_would_refuse() -> None:
    from peers.config import NetworkConfig, PeerConfig
    from peers.daemon import Daemon

    config = PeerConfig(network=NetworkConfig(host="localhost"))
    with pytest.raises(ConfigError, match="numeric address"):
        Daemon(config=config, home=Path("/nowhere"), catalogue=None)  # type: ignore[arg-type]


def test_nobody_signs_for_another_pseudonym() -> None:
    forged = dataclasses.replace(advert_of(EVE), pseudonym_key=BOB_ADVERT.pseudonym_key)
    assert refused(encode_advert(forged)) == "advert_bad_signature"


def test_pseudonym_and_identity_vouch_for_each_other() -> None:
    verify_binding(BOB_ADVERT, BOB.binding(), BOB.identity_key)
    for advert, binding, identity in (
        (BOB_ADVERT, EVE.binding(), EVE.identity_key),  # Eve claims to be behind Bob's advert
        (BOB_ADVERT, BOB.binding(), EVE.identity_key),
        (advert_of(EVE), BOB.binding(), BOB.identity_key),
        (dataclasses.replace(BOB_ADVERT, realm=b"q" * 32), BOB.binding(), BOB.identity_key),
    ):
        with pytest.raises(RemoteProtocolError, match="bad_binding"):
            verify_binding(advert, binding, identity)


def test_an_advert_shows_no_identity() -> None:
    data = encode_advert(BOB_ADVERT)
    assert BOB.identity_key not in data
    assert bytes.fromhex(BOB.peer_id) not in data
    old = BOB_ADVERT
    ring = Keyring.from_bytes(BOB.to_bytes())
    ring.rotate(NOW)
    new = advert_of(ring)
    assert not {old.pseudonym_key, old.prekey_id, old.prekey} & {
        new.pseudonym_key,
        new.prekey_id,
        new.prekey,
    }


def test_names_are_hashes_of_keys() -> None:
    assert peer_id_of(BOB.identity_key) == BOB.peer_id
    assert len(BOB.peer_id) == 64
    assert pseudonym_of(BOB_ADVERT.pseudonym_key) == BOB_ADVERT.pseudonym
    assert peer_id_of(BOB.identity_key)[:32] != pseudonym_of(BOB.identity_key)


@pytest.mark.parametrize("x25519", [bytes(32), b"\1" + bytes(31)])
def test_nothing_is_sealed_to_a_weak_or_broken_prekey(x25519: bytes) -> None:
    weak = dataclasses.replace(BOB_ADVERT, prekey=BOB_ADVERT.prekey[:1_184] + x25519)
    broken = dataclasses.replace(BOB_ADVERT, prekey=b"\xff" * 1_216)
    short = dataclasses.replace(BOB_ADVERT, prekey=BOB_ADVERT.prekey[:-1])
    for to in (weak, broken, short):
        with pytest.raises(RemoteProtocolError, match="bad_prekey"):
            seal(b"x", keyring=ALICE, to=to, now_s=NOW)
    good = X25519PrivateKey.generate().public_key().public_bytes_raw()
    public_prekey(BOB_ADVERT.prekey[:1_184] + good)


# --- rotation and destruction -------------------------------------------------------------------


def sealed_to(ring: Keyring, now_s: float) -> bytes:
    [envelope] = seal(
        b"x", keyring=ALICE, to=advert_of(ring, now_s=now_s), now_s=now_s, lifetime_s=6.9 * 86_400
    )
    return envelope


def test_an_old_prekey_opens_for_the_grace_period_and_then_never() -> None:
    ring = Keyring.create(REALM, NOW)
    envelope = sealed_to(ring, NOW)
    ring.rotate(NOW)
    assert not ring.expire(NOW + GRACE_S - 1)
    assert opener(ring).open(envelope, now_s=NOW + 5) is not None
    assert ring.expire(NOW + GRACE_S)
    with pytest.raises(RemoteProtocolError, match="unknown_prekey"):
        opener(ring).open(envelope, now_s=NOW + 5)
    assert opener(ring).open(sealed_to(ring, NOW), now_s=NOW + 5) is not None


def test_the_grace_period_is_a_setting() -> None:
    ring = Keyring.create(REALM, NOW)
    ring.grace_s = 60.0
    envelope = sealed_to(ring, NOW)
    ring.rotate(NOW)
    ring.expire(NOW + 60)
    with pytest.raises(RemoteProtocolError, match="unknown_prekey"):
        opener(ring).open(envelope, now_s=NOW + 1)


def test_the_current_prekey_is_never_destroyed_and_kept_ones_are_bounded() -> None:
    ring = Keyring.create(REALM, NOW)
    for i in range(limits.MAX_KEPT_PREKEYS + 5):
        ring.rotate(NOW + i)
    assert len(ring._faces) == limits.MAX_KEPT_PREKEYS
    current = ring.face.prekey_id
    ring.expire(NOW + 10 * GRACE_S)
    assert [f.prekey_id for f in ring._faces] == [current]


def test_keys_survive_the_store_and_open_what_was_sealed_before() -> None:
    ring = Keyring.create(REALM, NOW)
    old = sealed_to(ring, NOW)
    ring.rotate(NOW)
    new = sealed_to(ring, NOW)
    again = Keyring.from_bytes(ring.to_bytes())
    assert again.peer_id == ring.peer_id
    assert again.to_bytes() == ring.to_bytes()
    for envelope in (old, new):
        assert opener(again).open(envelope, now_s=NOW + 1) is not None
    assert again.expire(NOW + GRACE_S)  # the time of retirement survived too


def stored(at: int, value: object) -> bytes:
    fields: list[Any] = msgspec.msgpack.decode(BOB.to_bytes())
    fields[at] = value
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", BOB.to_bytes()[:-1], stored(0, 2), stored(1, b"short"), stored(2, b"short"),
     stored(3, []), stored(3, [[b"", bytes(8), b"", b"", None, 0.0]])],
    # Keys are random: names made of them would differ between the processes that run the tests.
    ids=["nothing", "junk", "cut", "realm", "short_realm", "short_key", "no_face", "bad_face"],
)  # fmt: skip
def test_damaged_keys_are_one_sentence(data: bytes) -> None:
    with pytest.raises(StoreError, match="the stored keys are damaged"):
        Keyring.from_bytes(data)


def on_disk(folder: Path, secret: bytes) -> bool:
    return any(secret in path.read_bytes() for path in folder.iterdir())


def test_a_destroyed_prekey_leaves_the_files(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    ring = Keyring.create(REALM, NOW)
    secrets = [ring.face.mlkem.private_bytes_raw(), ring.face.x25519.private_bytes_raw()]
    store.save_keyring(ring.to_bytes())
    ring.rotate(NOW)
    store.save_keyring(ring.to_bytes())
    assert all(on_disk(tmp_path, secret) for secret in secrets)
    ring.expire(NOW + GRACE_S)
    store.save_keyring(ring.to_bytes())
    assert not any(on_disk(tmp_path, secret) for secret in secrets)
    assert on_disk(tmp_path, ring.face.x25519.private_bytes_raw())
    store.close()


def test_a_daemon_renews_keys_that_came_of_age_while_it_was_off(tmp_path: Path) -> None:
    from peers.config import NetworkConfig
    from peers.presence import Presence

    store = Store.open(tmp_path / "peer.db")
    ring = Keyring.create(REALM, NOW)
    presence: Any = SimpleNamespace(_config=NetworkConfig(), _keyring=ring, _store=store)
    first = ring.face.prekey_id
    Presence._renew_keys(presence, NOW + 86_399, rotate=False)
    assert ring.face.prekey_id == first
    assert store.keyring() is None  # nothing to write
    Presence._renew_keys(presence, NOW + 86_400, rotate=False)
    assert ring.face.prekey_id != first
    assert store.keyring() == ring.to_bytes()
    Presence._renew_keys(presence, NOW + 86_401, rotate=True)
    assert len(ring._faces) == 3
    ring.face.created_s = NOW + 9 * 86_400
    Presence._renew_keys(presence, NOW + 9 * 86_400, rotate=False)  # the first ones' grace is over
    assert len(ring._faces) == 1
    assert store.keyring() == ring.to_bytes()
    store.close()


def test_the_advert_type_has_no_field_for_an_identity() -> None:
    # What is no field of its constructor is computed from one that is.
    assert {f.name for f in dataclasses.fields(Advert) if f.init} == {
        "realm", "pseudonym_key", "prekey_id", "prekey", "cell_label", "endpoints",
        "not_before_s", "expires_s", "signature",
    }  # fmt: skip


def test_a_verified_advert_is_not_verified_again_but_its_time_is_checked() -> None:
    verified = VerifiedAdverts()
    data = encode_advert(BOB_ADVERT)
    decode_advert(data, realm=REALM, now_s=NOW, verified=verified)
    assert verified.holds(BOB_ADVERT)
    check_advert(BOB_ADVERT, realm=REALM, now_s=NOW, verified=verified)
    for changes, reason in (
        ({"signature": bytes(64)}, "advert_bad_signature"),
        ({"prekey_id": bytes(8)}, "advert_bad_signature"),
        ({"expires_s": BOB_ADVERT.expires_s + 1}, "advert_bad_signature"),
        ({"realm": b"q" * 32}, "advert_other_realm"),
    ):
        changed = dataclasses.replace(BOB_ADVERT, **changes)  # type: ignore[arg-type]
        with pytest.raises(RemoteProtocolError, match=reason):
            check_advert(changed, realm=REALM, now_s=NOW, verified=verified)
        assert not verified.holds(changed)
    with pytest.raises(RemoteProtocolError, match="advert_expired"):
        check_advert(BOB_ADVERT, realm=REALM, now_s=NOW + 900, verified=verified)


def test_remembered_adverts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peers.adverts.MAX_KNOWN_ADVERTS", 3)
    verified = VerifiedAdverts()
    adverts = [dataclasses.replace(BOB_ADVERT, prekey_id=bytes([n]) * 8) for n in range(5)]
    for advert in adverts:
        verified.add(advert)
    assert [verified.holds(a) for a in adverts] == [False, False, True, True, True]
