"""The keys of one peer: identity, pseudonyms, prekeys.

The identity (Ed25519) signs messages and never appears in an advert. A pseudonym (Ed25519) signs
adverts; with each comes one HPKE prekey of the hybrid KEM MLKEM768-X25519. Old prekeys are kept
for a grace period, so that messages which a broker held back still open, and are then destroyed:
that is the forward secrecy of the network, no more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from p2prec.errors import RemoteProtocolError, StoreError
from p2prec.limits import MAX_ADVERT_BYTES, MAX_ADVERT_LIFETIME_S, MAX_CLOCK_SKEW_S
from peers.messages import Advert, Endpoints, PeerId, Pseudonym, peer_id_of, pseudonym_of
from peers.wire import AdvertWire, advert_fields

GRACE_S = 7 * 86_400.0  # the longest time a stored message may travel
_ADVERT_LABEL = b"p2prec/advert/1"
_BIND_LABEL = b"p2prec/bind/1"
_MLKEM_BYTES = 1_184
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


@dataclass(slots=True, kw_only=True)
class Face:
    """A pseudonym with its prekey, as others see this peer for a while."""

    pseudonym_key: Ed25519PrivateKey
    prekey_id: bytes
    mlkem: MLKEM768PrivateKey
    x25519: X25519PrivateKey
    retired_s: float | None = None

    @classmethod
    def create(cls) -> Face:
        """Fresh keys from the system's generator."""
        return cls(
            pseudonym_key=Ed25519PrivateKey.generate(),
            prekey_id=os.urandom(8),
            mlkem=MLKEM768PrivateKey.generate(),
            x25519=X25519PrivateKey.generate(),
        )

    @property
    def public(self) -> bytes:
        """The public prekey: ML-KEM-768 part, then X25519 part; 1,216 bytes."""
        return (
            self.mlkem.public_key().public_bytes_raw() + self.x25519.public_key().public_bytes_raw()
        )

    @property
    def pseudonym(self) -> Pseudonym:
        """Short name of the pseudonym key."""
        return pseudonym_of(self.pseudonym_key.public_key().public_bytes_raw())

    def private(self) -> hpke.MLKEM768X25519PrivateKey:
        """The prekey's private half."""
        return hpke.MLKEM768X25519PrivateKey(self.mlkem, self.x25519)


class _StoredFace(msgspec.Struct, array_like=True):
    pseudonym_key: bytes
    prekey_id: bytes
    mlkem: bytes
    x25519: bytes
    retired_s: float | None


class _StoredRing(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    realm: bytes
    identity: bytes
    faces: list[_StoredFace]


class Keyring:
    """All keys of one peer in one realm; the last face is the current one."""

    def __init__(self, *, realm: bytes, identity: Ed25519PrivateKey, faces: list[Face]) -> None:
        self.realm = realm
        self._identity = identity
        self._faces = faces
        self.identity_key = identity.public_key().public_bytes_raw()
        self.peer_id: PeerId = peer_id_of(self.identity_key)

    @classmethod
    def create(cls, realm: bytes) -> Keyring:
        """A newcomer's keys."""
        return cls(realm=realm, identity=Ed25519PrivateKey.generate(), faces=[Face.create()])

    @property
    def face(self) -> Face:
        """How this peer shows itself now."""
        return self._faces[-1]

    def rotate(self, now_s: float) -> None:
        """Take a new pseudonym and prekey; the old one opens messages for the grace period."""
        self.face.retired_s = now_s
        self._faces.append(Face.create())
        self.expire(now_s)

    def expire(self, now_s: float) -> None:
        """Forget prekeys whose grace period is over."""
        self._faces = [
            f for f in self._faces if f.retired_s is None or f.retired_s + GRACE_S > now_s
        ]

    def face_of(self, prekey_id: bytes) -> Face | None:
        """The face that a message was sealed to, or None."""
        return next((f for f in self._faces if f.prekey_id == prekey_id), None)

    def sign(self, data: bytes) -> bytes:
        """The identity's signature, 64 bytes."""
        return self._identity.sign(data)

    def binding(self) -> bytes:
        """The identity's word that the current pseudonym is its own."""
        key = self.face.pseudonym_key.public_key().public_bytes_raw()
        return self.sign(_BIND_LABEL + self.realm + key)

    def advert(
        self, *, endpoints: Endpoints, cell_label: str, now_s: float, lifetime_s: float
    ) -> Advert:
        """A signed advert of the current face."""
        face = self.face
        unsigned = Advert(
            realm=self.realm,
            pseudonym_key=face.pseudonym_key.public_key().public_bytes_raw(),
            prekey_id=face.prekey_id,
            prekey=face.public,
            cell_label=cell_label,
            endpoints=endpoints,
            not_before_s=now_s,
            expires_s=now_s + lifetime_s,
            signature=b"\0" * 64,
        )
        signature = face.pseudonym_key.sign(_signed(unsigned))
        return _with_signature(unsigned, signature)

    def to_bytes(self) -> bytes:
        """Everything, in clear: to be kept in a file that only the owner may read."""
        faces = [
            _StoredFace(
                f.pseudonym_key.private_bytes_raw(),
                f.prekey_id,
                f.mlkem.private_bytes_raw(),
                f.x25519.private_bytes_raw(),
                f.retired_s,
            )
            for f in self._faces
        ]
        return msgspec.msgpack.encode(
            _StoredRing(1, self.realm, self._identity.private_bytes_raw(), faces)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Keyring:
        """The inverse of ``to_bytes``.

        Raises:
            StoreError: The bytes are no keyring.
        """
        try:
            stored = msgspec.msgpack.decode(data, type=_StoredRing)
            return cls(
                realm=stored.realm,
                identity=Ed25519PrivateKey.from_private_bytes(stored.identity),
                faces=[
                    Face(
                        pseudonym_key=Ed25519PrivateKey.from_private_bytes(f.pseudonym_key),
                        prekey_id=f.prekey_id,
                        mlkem=MLKEM768PrivateKey.from_seed_bytes(f.mlkem),
                        x25519=X25519PrivateKey.from_private_bytes(f.x25519),
                        retired_s=f.retired_s,
                    )
                    for f in stored.faces
                ],
            )
        except (ValueError, TypeError) as error:
            raise StoreError(f"the stored keys are damaged: {error}") from None


def public_prekey(data: bytes) -> hpke.MLKEM768X25519PublicKey:
    """The HPKE key of an advert.

    Raises:
        RemoteProtocolError: The bytes are no such key.
    """
    try:
        return hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_BYTES]),
            X25519PublicKey.from_public_bytes(data[_MLKEM_BYTES:]),
        )
    except (ValueError, TypeError) as error:
        raise RemoteProtocolError("bad_prekey", str(error)) from None


def verify(key: bytes, signature: bytes, data: bytes, *, reason: str) -> None:
    """Check an Ed25519 signature.

    Raises:
        RemoteProtocolError: With ``reason``, where key or signature do not fit.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise RemoteProtocolError(reason) from None


def verify_binding(advert: Advert, binding: bytes, identity_key: bytes) -> None:
    """Check that an identity stands behind an advert's pseudonym.

    Raises:
        RemoteProtocolError: ``bad_binding``.
    """
    verify(
        identity_key,
        binding,
        _BIND_LABEL + advert.realm + advert.pseudonym_key,
        reason="bad_binding",
    )


def encode_advert(advert: Advert) -> bytes:
    """The bytes that travel."""
    return msgspec.msgpack.encode(advert_fields(advert))


def decode_advert(data: bytes, *, realm: bytes, now_s: float) -> Advert:
    """Read and check an advert.

    Raises:
        RemoteProtocolError: Too long, malformed, of another realm, expired, from the future, with
            too long a life, or wrongly signed.
    """
    if len(data) > MAX_ADVERT_BYTES:
        raise RemoteProtocolError("advert_too_long")
    try:
        advert = msgspec.msgpack.decode(data, type=AdvertWire).to_advert()
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise RemoteProtocolError("advert_malformed", str(error)) from None
    check_advert(advert, realm=realm, now_s=now_s)
    return advert


def check_advert(advert: Advert, *, realm: bytes, now_s: float) -> None:
    """The checks of ``decode_advert`` on an advert that is already decoded.

    Raises:
        RemoteProtocolError: See ``decode_advert``.
    """
    if advert.realm != realm:
        raise RemoteProtocolError("advert_other_realm")
    if advert.expires_s <= now_s:
        raise RemoteProtocolError("advert_expired")
    if advert.not_before_s > now_s + MAX_CLOCK_SKEW_S:
        raise RemoteProtocolError("advert_from_the_future")
    if advert.expires_s - advert.not_before_s > MAX_ADVERT_LIFETIME_S:
        raise RemoteProtocolError("advert_lives_too_long")
    verify(advert.pseudonym_key, advert.signature, _signed(advert), reason="advert_bad_signature")


def _signed(advert: Advert) -> bytes:
    return _ADVERT_LABEL + msgspec.msgpack.encode(
        advert_fields(_with_signature(advert, b"\0" * 64))
    )


def _with_signature(advert: Advert, signature: bytes) -> Advert:
    return Advert(
        realm=advert.realm,
        pseudonym_key=advert.pseudonym_key,
        prekey_id=advert.prekey_id,
        prekey=advert.prekey,
        cell_label=advert.cell_label,
        endpoints=advert.endpoints,
        not_before_s=advert.not_before_s,
        expires_s=advert.expires_s,
        signature=signature,
    )
