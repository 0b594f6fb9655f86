"""The sealed envelope: one protection for every transport.

Layout, order of checks and reasons are in ``docs/protocol.md``. HPKE (RFC 9180) in base mode seals
to the recipient's prekey; the sender signs inside, over the recipient's pseudonym, so that nobody
can pass a message on as if it had been meant for somebody else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from p2prec import limits
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from peers.adverts import public_prekey, verify
from peers.keys import Keyring
from peers.messages import Advert, PeerId, peer_id_of
from peers.reassembly import Reassembler
from peers.replay import ReplayMemory
from peers.wire import SealedWire, decode_record

SUITE: Final = hpke.Suite(
    hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305
)

_DECODER: Final = msgspec.msgpack.Decoder(SealedWire)
_HEADER: Final = struct.Struct(">BBH8s16sI")  # version, suite, flags, prekey id, door, length
_VERSION, _SUITE = 1, 1
_SEAL_LABEL, _MESSAGE_LABEL, _DOOR_LABEL = b"p2prec/seal/1", b"p2prec/msg/1", b"p2prec/door/1"
_FIELDS_BYTES: Final = 512  # room for the signed fields beside the body
_BUCKETS: Final = tuple(k * 1_024 for k in (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 62))
_CHUNK_BODY: Final = _BUCKETS[-1] - _FIELDS_BYTES
_FIELDS_AROUND_BYTES: Final = 251  # of a sealed record, all but the body and its length
_HPKE_BYTES: Final = 1_120 + 16  # encapsulated key (ML-KEM 1,088, X25519 32), and tag
DEFAULT_LIFETIME_S: Final = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An authentic, complete, never seen message."""

    sender: PeerId
    sender_key: bytes
    body: bytes
    n_bytes: int
    created_s: float


def seal(
    body: bytes,
    *,
    keyring: Keyring,
    to: Advert,
    now_s: float,
    lifetime_s: float = DEFAULT_LIFETIME_S,
) -> list[bytes]:
    """Sign, pad and seal a body to the peer behind an advert; one envelope a chunk.

    Raises:
        LocalProtocolError: The body is too long.
        RemoteProtocolError: The advert's prekey is none.
    """
    parts = [body[i : i + _CHUNK_BODY] for i in range(0, len(body), _CHUNK_BODY)] or [b""]
    if len(parts) > limits.MAX_CHUNKS:
        raise LocalProtocolError(f"a body of {len(body)} bytes does not fit a message")
    prekey = public_prekey(to.prekey)
    message_id, digest = os.urandom(16), hashlib.sha256(body).digest()
    envelopes = []
    for number, part in enumerate(parts):
        sealed = SealedWire(
            sender_key=keyring.identity_key,
            recipient=to.pseudonym,
            realm=keyring.realm,
            prekey_id=to.prekey_id,
            message_id=message_id,
            created_s=float(now_s),
            expires_s=float(now_s + lifetime_s),
            chunk=number,
            chunks=len(parts),
            digest=digest,
            body=part,
            signature=b"\0" * 64,
        )
        signed = msgspec.structs.replace(sealed, signature=keyring.sign(_signed(sealed)))
        plain = _pad(msgspec.msgpack.encode(signed))
        try:
            secret = SUITE.encrypt(plain, prekey, _info(keyring.realm, to.pseudonym))
        except ValueError as error:
            raise RemoteProtocolError("bad_prekey", str(error)) from None
        envelopes.append(_frame(keyring.realm, to.prekey_id, secret))
    return envelopes


@lru_cache(maxsize=4_096)  # a simulator asks for every message
def sealed_bytes(n_body_bytes: int) -> int:
    """How long the envelopes of a body are together, without sealing anything."""
    n_chunks = max(1, -(-n_body_bytes // _CHUNK_BODY))
    last = n_body_bytes - (n_chunks - 1) * _CHUNK_BODY
    return (n_chunks - 1) * _envelope_bytes(_CHUNK_BODY) + _envelope_bytes(last)


def _envelope_bytes(n_part_bytes: int) -> int:
    # MessagePack writes the length of bytes in 1, 2 or 4 of them, behind a mark.
    length = 2 if n_part_bytes < 1 << 8 else 3 if n_part_bytes < 1 << 16 else 5
    return _HEADER.size + _HPKE_BYTES + _bucket(_FIELDS_AROUND_BYTES + length + n_part_bytes)


class Opener:
    """Opens envelopes; bounded in memory whatever arrives.

    Args:
        keyring: Own keys; prekeys that it destroys open nothing from then on.
        replay: Remembers messages that were delivered.
        on_drop: Hears the reason where a message is lost without any envelope being at fault.
    """

    def __init__(
        self,
        keyring: Keyring,
        replay: ReplayMemory,
        *,
        on_drop: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.keyring = keyring
        self.replay = replay
        self._chunks = Reassembler(on_drop=lambda: on_drop("unfinished"))

    def open(self, envelope: bytes, *, now_s: float) -> Opened | None:
        """The message, or None while chunks of it are missing.

        Raises:
            RemoteProtocolError: ``envelope_length``, ``unknown_version``, ``wrong_door``,
                ``unknown_prekey``, ``cannot_open``, ``malformed_envelope``, ``wrong_recipient``,
                ``bad_signature``, ``wrong_realm``, ``from_the_future``, ``expired``,
                ``lives_too_long``, ``malformed_chunk``, ``replayed`` or ``wrong_digest``.
        """
        self._chunks.drop_old(now_s)
        sealed = self._unseal(envelope)
        self._check(sealed, now_s)
        sender = peer_id_of(sealed.sender_key)
        # Before chunks are put together: old ones must not push out those of a living message.
        if self.replay.seen(sender, sealed.message_id, created_s=sealed.created_s):
            raise RemoteProtocolError("replayed")
        body, n_bytes = sealed.body, len(envelope)
        if sealed.chunks > 1:
            whole = self._chunks.add(sender, sealed, n_bytes=n_bytes, now_s=now_s)
            if whole is None:
                return None
            body, n_bytes = whole
        if hashlib.sha256(body).digest() != sealed.digest:
            raise RemoteProtocolError("wrong_digest")
        if not self.replay.accept(
            sender, sealed.message_id, created_s=sealed.created_s, expires_s=sealed.expires_s
        ):
            raise RemoteProtocolError("replayed")
        return Opened(
            sender=sender,
            sender_key=sealed.sender_key,
            body=body,
            n_bytes=n_bytes,
            created_s=sealed.created_s,
        )

    def _unseal(self, envelope: bytes) -> SealedWire:
        if not _HEADER.size < len(envelope) <= limits.MAX_ENVELOPE_BYTES:
            raise RemoteProtocolError("envelope_length", str(len(envelope)))
        version, suite, flags, prekey_id, door, length = _HEADER.unpack_from(envelope)
        if (version, suite, flags) != (_VERSION, _SUITE, 0):
            raise RemoteProtocolError("unknown_version", f"{version}/{suite}/{flags}")
        secret = envelope[_HEADER.size :]
        if length != len(secret):
            raise RemoteProtocolError("envelope_length")
        if not hmac.compare_digest(door, _door(self.keyring.realm, prekey_id, secret)):
            raise RemoteProtocolError("wrong_door")
        face = self.keyring.face_of(prekey_id)
        if face is None:
            raise RemoteProtocolError("unknown_prekey")
        try:
            plain = SUITE.decrypt(secret, face.private(), _info(self.keyring.realm, face.pseudonym))
        except (InvalidTag, ValueError):
            raise RemoteProtocolError("cannot_open") from None
        sealed = decode_record(_unpad(plain), _DECODER, reason="malformed_envelope")
        if sealed.prekey_id != prekey_id or sealed.recipient != face.pseudonym:
            raise RemoteProtocolError("wrong_recipient")
        return sealed

    def _check(self, sealed: SealedWire, now_s: float) -> None:
        verify(sealed.sender_key, sealed.signature, _signed(sealed), reason="bad_signature")
        if sealed.realm != self.keyring.realm:
            raise RemoteProtocolError("wrong_realm")
        check_age(sealed.created_s, sealed.expires_s, now_s=now_s)
        if sealed.expires_s - sealed.created_s > limits.MAX_MESSAGE_LIFETIME_S:
            raise RemoteProtocolError("lives_too_long")
        if sealed.chunk >= sealed.chunks:
            raise RemoteProtocolError("malformed_chunk", "beyond the last")


def check_age(created_s: float, expires_s: float, *, now_s: float) -> None:
    """Check the times of a message, all in UTC epoch seconds.

    Raises:
        RemoteProtocolError: ``from_the_future`` or ``expired``.
    """
    if created_s > now_s + limits.MAX_CLOCK_SKEW_S:
        raise RemoteProtocolError("from_the_future")
    if expires_s <= now_s:
        raise RemoteProtocolError("expired")


def _info(realm: bytes, pseudonym: str) -> bytes:
    return _SEAL_LABEL + bytes([_VERSION, _SUITE]) + realm + pseudonym.encode()


def _signed(sealed: SealedWire) -> bytes:
    blank = msgspec.structs.replace(sealed, signature=b"\0" * 64)
    return _MESSAGE_LABEL + bytes([_VERSION, _SUITE]) + msgspec.msgpack.encode(blank)


def _door(realm: bytes, prekey_id: bytes, secret: bytes) -> bytes:
    # In an open realm the key is public: this drops noise cheaply, it authenticates nobody.
    key = hashlib.sha256(_DOOR_LABEL + realm).digest()
    return hmac.digest(key, prekey_id + hashlib.sha256(secret).digest(), "sha256")[:16]


def _frame(realm: bytes, prekey_id: bytes, secret: bytes) -> bytes:
    door = _door(realm, prekey_id, secret)
    return _HEADER.pack(_VERSION, _SUITE, 0, prekey_id, door, len(secret)) + secret


def _pad(plain: bytes) -> bytes:
    """Length (u32), plain bytes, zeros up to the next bucket."""
    size = _bucket(len(plain))
    return struct.pack(">I", len(plain)) + plain + b"\0" * (size - 4 - len(plain))


def _bucket(n_plain_bytes: int) -> int:
    return next(bucket for bucket in _BUCKETS if bucket >= n_plain_bytes + 4)


def _unpad(padded: bytes) -> bytes:
    if len(padded) < 4:
        raise RemoteProtocolError("malformed_envelope", "no length")
    (length,) = struct.unpack_from(">I", padded)
    if length > len(padded) - 4 or padded[4 + length :].strip(b"\0"):
        raise RemoteProtocolError("malformed_envelope", "padding")
    return padded[4 : 4 + length]
