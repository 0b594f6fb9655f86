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
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag

from p2prec import limits
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from peers.keys import SUITE, Keyring, public_prekey, verify
from peers.messages import Advert, PeerId, peer_id_of
from peers.wire import SealedWire

_HEADER: Final = struct.Struct(">BBH8s16sI")  # version, suite, flags, prekey id, door, length
_VERSION, _SUITE = 1, 1
_SEAL_LABEL, _MESSAGE_LABEL, _DOOR_LABEL = b"p2prec/seal/1", b"p2prec/msg/1", b"p2prec/door/1"
_FIELDS_BYTES: Final = 512  # room for the signed fields beside the body
_BUCKETS: Final = tuple(k * 1_024 for k in (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 62))
_CHUNK_BODY: Final = _BUCKETS[-1] - _FIELDS_BYTES
DEFAULT_LIFETIME_S: Final = 3_600.0


class ReplayMemory(Protocol):
    """Remembers message ids."""

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """Whether this is new; from then on it is not."""
        ...


class BoundedReplayMemory:
    """Message ids of the latest senders; a full memory raises the sender's floor."""

    def __init__(self) -> None:
        self._senders: OrderedDict[PeerId, tuple[float, OrderedDict[bytes, float]]] = OrderedDict()

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """Whether this is new; ids at or below the floor never are."""
        del expires_s
        floor, ids = self._senders.pop(sender, (-1.0, OrderedDict()))
        new = message_id not in ids and created_s > floor
        if new:
            ids[message_id] = created_s
            while len(ids) > limits.REPLAY_IDS_PER_SENDER:
                floor = max(floor, ids.popitem(last=False)[1])
        self._senders[sender] = (floor, ids)
        while len(self._senders) > limits.MAX_REMEMBERED_SENDERS:
            self._senders.popitem(last=False)
        return new


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An authentic, complete, never seen message."""

    sender: PeerId
    sender_key: bytes
    body: bytes
    n_bytes: int


@dataclass(slots=True)
class _Reassembly:
    chunks: int
    digest: bytes
    begun_s: float
    n_bytes: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)


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
            created_s=now_s,
            expires_s=now_s + lifetime_s,
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


class Opener:
    """Opens envelopes; bounded in memory whatever arrives."""

    def __init__(self, keyring: Keyring, replay: ReplayMemory) -> None:
        self.keyring = keyring
        self._replay = replay
        self._pending: OrderedDict[tuple[PeerId, bytes], _Reassembly] = OrderedDict()

    def open(self, envelope: bytes, *, now_s: float) -> Opened | None:
        """The message, or None while chunks of it are missing.

        Raises:
            RemoteProtocolError: ``envelope_length``, ``unknown_version``, ``wrong_door``,
                ``unknown_prekey``, ``cannot_open``, ``malformed``, ``bad_signature``,
                ``wrong_recipient``, ``wrong_realm``, ``from_the_future``, ``expired``,
                ``lives_too_long``, ``replayed`` or ``wrong_digest``.
        """
        sealed = self._unseal(envelope)
        self._check(sealed, now_s)
        sender = peer_id_of(sealed.sender_key)
        body: bytes | None = sealed.body
        n_bytes = len(envelope)
        if sealed.chunks > 1:
            body, n_bytes = self._reassemble(sender, sealed, len(envelope), now_s)
        if body is None:
            return None
        if hashlib.sha256(body).digest() != sealed.digest:
            raise RemoteProtocolError("wrong_digest")
        if not self._replay.accept(
            sender, sealed.message_id, created_s=sealed.created_s, expires_s=sealed.expires_s
        ):
            raise RemoteProtocolError("replayed")
        return Opened(sender=sender, sender_key=sealed.sender_key, body=body, n_bytes=n_bytes)

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
        try:
            sealed = msgspec.msgpack.decode(_unpad(plain), type=SealedWire)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise RemoteProtocolError("malformed", str(error)[:200]) from None
        if sealed.prekey_id != prekey_id or sealed.recipient != face.pseudonym:
            raise RemoteProtocolError("wrong_recipient")
        return sealed

    def _check(self, sealed: SealedWire, now_s: float) -> None:
        verify(sealed.sender_key, sealed.signature, _signed(sealed), reason="bad_signature")
        if sealed.realm != self.keyring.realm:
            raise RemoteProtocolError("wrong_realm")
        if sealed.created_s > now_s + limits.MAX_CLOCK_SKEW_S:
            raise RemoteProtocolError("from_the_future")
        if sealed.expires_s <= now_s:
            raise RemoteProtocolError("expired")
        if sealed.expires_s - sealed.created_s > limits.MAX_MESSAGE_LIFETIME_S:
            raise RemoteProtocolError("lives_too_long")
        if sealed.chunk >= sealed.chunks:
            raise RemoteProtocolError("malformed", "chunk beyond the last")

    def _reassemble(
        self, sender: PeerId, sealed: SealedWire, n_bytes: int, now_s: float
    ) -> tuple[bytes | None, int]:
        for key in [
            k for k, r in self._pending.items() if now_s - r.begun_s > limits.REASSEMBLY_TIMEOUT_S
        ]:
            del self._pending[key]
        key = (sender, sealed.message_id)
        pending = self._pending.setdefault(key, _Reassembly(sealed.chunks, sealed.digest, now_s))
        if (pending.chunks, pending.digest) != (sealed.chunks, sealed.digest):
            raise RemoteProtocolError("malformed", "chunks do not belong together")
        if sealed.chunk not in pending.parts:
            pending.n_bytes += n_bytes
        pending.parts[sealed.chunk] = sealed.body
        if len(pending.parts) == pending.chunks:
            del self._pending[key]
            return b"".join(pending.parts[i] for i in range(pending.chunks)), pending.n_bytes
        mine = [k for k in self._pending if k[0] == sender]
        for old in mine[: -limits.MAX_OPEN_REASSEMBLIES]:
            del self._pending[old]
        while len(self._pending) > limits.MAX_OPEN_REASSEMBLIES_TOTAL:
            self._pending.popitem(last=False)
        return None, 0


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
    size = next(b for b in _BUCKETS if b >= len(plain) + 4)
    return struct.pack(">I", len(plain)) + plain + b"\0" * (size - 4 - len(plain))


def _unpad(padded: bytes) -> bytes:
    if len(padded) < 4:
        raise RemoteProtocolError("malformed", "no length")
    (length,) = struct.unpack_from(">I", padded)
    if length > len(padded) - 4 or padded[4 + length :].strip(b"\0"):
        raise RemoteProtocolError("malformed", "padding")
    return padded[4 : 4 + length]
