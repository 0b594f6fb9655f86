"""A second implementation of the opening side, written from ``docs/protocol.md`` alone.

It uses none of p2prec's code and not the library's HPKE: only ML-KEM-768, X25519, Ed25519, HMAC,
SHA-2, SHA-3 and ChaCha20-Poly1305, and msgpack instead of msgspec. HPKE is RFC 9180, base mode; its
KEM 0x647a is X-Wing (draft-connolly-cfrg-xwing-kem).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_HPKE_SUITE = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0003)
SEALED_FIELDS = [
    "sender_key",
    "recipient",
    "realm",
    "prekey_id",
    "message_id",
    "created_s",
    "expires_s",
    "chunk",
    "chunks",
    "digest",
    "body",
    "signature",
]


@dataclass(frozen=True)
class Recipient:
    """Private halves as the vectors give them."""

    realm: bytes
    pseudonym: str
    prekey_id: bytes
    mlkem_seed: bytes
    x25519: bytes


def open_envelope(envelope: bytes, recipient: Recipient) -> dict[str, object]:
    """The fields of the sealed record, after door, seal, padding and signature were checked."""
    version, suite, flags, prekey_id, door, length = struct.unpack(">BBH8s16sI", envelope[:32])
    sealed = envelope[32:]
    assert (version, suite, flags, length) == (1, 1, 0, len(sealed))
    assert prekey_id == recipient.prekey_id
    door_key = hashlib.sha256(b"p2prec/door/1" + recipient.realm).digest()
    expected = _hmac(door_key, prekey_id + hashlib.sha256(sealed).digest())[:16]
    assert door == expected
    info = b"p2prec/seal/1\x01\x01" + recipient.realm + recipient.pseudonym.encode("ascii")
    plain = _hpke_open(sealed, info, recipient)
    (n,) = struct.unpack(">I", plain[:4])
    assert not plain[4 + n :].strip(b"\0")
    values = msgpack.unpackb(plain[4 : 4 + n])
    record = dict(zip(SEALED_FIELDS, values, strict=True))
    signed = b"p2prec/msg/1\x01\x01" + msgpack.packb([*values[:-1], bytes(64)])
    Ed25519PublicKey.from_public_bytes(values[0]).verify(values[-1], signed)
    return record


def check_advert(advert: bytes) -> list[object]:
    """The fields of an advert whose signature holds."""
    values = msgpack.unpackb(advert)
    signed = b"p2prec/advert/1" + msgpack.packb([*values[:-1], bytes(64)])
    Ed25519PublicKey.from_public_bytes(values[1]).verify(values[-1], signed)
    assert isinstance(values, list)
    return values


def check_binding(advert: list[object], binding: bytes, identity_key: bytes) -> None:
    realm, pseudonym_key = advert[:2]
    assert isinstance(realm, bytes)
    assert isinstance(pseudonym_key, bytes)
    signed = b"p2prec/bind/1" + realm + identity_key
    Ed25519PublicKey.from_public_bytes(pseudonym_key).verify(binding, signed)


def _hpke_open(sealed: bytes, info: bytes, recipient: Recipient) -> bytes:
    shared = _xwing(sealed[:1088], sealed[1088:1120], recipient)
    context = b"\0" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key = _expand(secret, b"key", context, 32)
    nonce = _expand(secret, b"base_nonce", context, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, sealed[1120:], b"")


def _xwing(mlkem_part: bytes, x25519_part: bytes, recipient: Recipient) -> bytes:
    mlkem = MLKEM768PrivateKey.from_seed_bytes(recipient.mlkem_seed).decapsulate(mlkem_part)
    private = X25519PrivateKey.from_private_bytes(recipient.x25519)
    x25519 = private.exchange(X25519PublicKey.from_public_bytes(x25519_part))
    public = private.public_key().public_bytes_raw()
    return hashlib.sha3_256(mlkem + x25519 + x25519_part + public + rb"\.//^" + b"\\").digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    return _hmac(salt, b"HPKE-v1" + _HPKE_SUITE + label + material)


def _expand(key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = struct.pack(">H", length) + b"HPKE-v1" + _HPKE_SUITE + label + info
    result, block, counter = b"", b"", 1
    while len(result) < length:
        block = _hmac(key, block + labelled + bytes([counter]))
        result, counter = result + block, counter + 1
    return result[:length]
