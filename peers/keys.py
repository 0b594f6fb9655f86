"""The keys of one peer: identity, pseudonyms, prekeys.

The identity (Ed25519) signs messages and never appears in an advert. A pseudonym (Ed25519) signs
adverts; with each comes one HPKE prekey of the hybrid KEM MLKEM768-X25519. Old prekeys are kept
for a grace period, so that messages which a broker held back still open, and are then destroyed:
that is the forward secrecy of the network, no more.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2prec.errors import StoreError
from p2prec.limits import MAX_KEPT_PREKEYS
from peers.adverts import advert_signed, binding_signed
from peers.messages import Advert, Endpoints, PeerId, Pseudonym, peer_id_of, pseudonym_of

GRACE_S: Final = 7 * 86_400.0  # the longest time a stored message may travel
_STORED_VERSION: Final = 1


@dataclass(slots=True, kw_only=True)
class Face:
    """A pseudonym with its prekey, as others see this peer for a while."""

    pseudonym_key: Ed25519PrivateKey
    prekey_id: bytes
    mlkem: MLKEM768PrivateKey
    x25519: X25519PrivateKey
    created_s: float
    retired_s: float | None = None

    @classmethod
    def create(cls, now_s: float) -> Face:
        """Fresh keys from the system's generator."""
        return cls(
            pseudonym_key=Ed25519PrivateKey.generate(),
            prekey_id=os.urandom(8),
            mlkem=MLKEM768PrivateKey.generate(),
            x25519=X25519PrivateKey.generate(),
            created_s=now_s,
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
    prekey_id: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    mlkem: bytes
    x25519: bytes
    retired_s: float | None
    created_s: float = 0.0


class _StoredRing(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: Annotated[int, msgspec.Meta(ge=_STORED_VERSION, le=_STORED_VERSION)]
    realm: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    identity: bytes
    faces: Annotated[list[_StoredFace], msgspec.Meta(min_length=1)]


class Keyring:
    """All keys of one peer in one realm; the last face is the current one.

    Attributes:
        grace_s: How long a retired prekey still opens messages.
    """

    def __init__(self, *, realm: bytes, identity: Ed25519PrivateKey, faces: list[Face]) -> None:
        self.realm = realm
        self.grace_s = GRACE_S
        self._identity = identity
        self._faces = faces
        self.identity_key = identity.public_key().public_bytes_raw()
        self.peer_id: PeerId = peer_id_of(self.identity_key)

    @classmethod
    def create(cls, realm: bytes, now_s: float = 0.0) -> Keyring:
        """A newcomer's keys; without a time they are due for renewal at once."""
        return cls(realm=realm, identity=Ed25519PrivateKey.generate(), faces=[Face.create(now_s)])

    @property
    def face(self) -> Face:
        """How this peer shows itself now."""
        return self._faces[-1]

    def is_due(self, now_s: float, *, lifetime_s: float) -> bool:
        """Whether the current face has been shown for its whole life."""
        return now_s - self.face.created_s >= lifetime_s

    def rotate(self, now_s: float) -> None:
        """Take a new pseudonym and prekey; the old one opens messages for the grace period."""
        self.take(Face.create(now_s), now_s)

    def take(self, face: Face, now_s: float) -> None:
        """Show another face from now on; the old one opens messages for the grace period."""
        self.face.retired_s = now_s
        self._faces.append(face)
        self.expire(now_s)

    def expire(self, now_s: float) -> bool:
        """Destroy prekeys whose grace period is over; whether there were any."""
        kept = [
            f for f in self._faces if f.retired_s is None or f.retired_s + self.grace_s > now_s
        ][-MAX_KEPT_PREKEYS:]
        destroyed = len(kept) < len(self._faces)
        self._faces = kept
        return destroyed

    def face_of(self, prekey_id: bytes) -> Face | None:
        """The face that a message was sealed to, or None."""
        return next((f for f in self._faces if f.prekey_id == prekey_id), None)

    def sign(self, data: bytes) -> bytes:
        """The identity's signature, 64 bytes."""
        return self._identity.sign(data)

    def binding(self) -> bytes:
        """The current pseudonym's word that it belongs to this identity, 64 bytes."""
        signed = binding_signed(realm=self.realm, identity_key=self.identity_key)
        return self.face.pseudonym_key.sign(signed)

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
            signature=b"",
        )
        signature = face.pseudonym_key.sign(advert_signed(unsigned))
        return dataclasses.replace(unsigned, signature=signature)

    def to_bytes(self) -> bytes:
        """Everything, in clear: to be kept in a file that only the owner may read."""
        faces = [
            _StoredFace(
                f.pseudonym_key.private_bytes_raw(),
                f.prekey_id,
                f.mlkem.private_bytes_raw(),
                f.x25519.private_bytes_raw(),
                f.retired_s,
                f.created_s,
            )
            for f in self._faces
        ]
        return msgspec.msgpack.encode(
            _StoredRing(_STORED_VERSION, self.realm, self._identity.private_bytes_raw(), faces)
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
                faces=[_face(f) for f in stored.faces],
            )
        except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
            raise StoreError(f"the stored keys are damaged: {error}") from None


def _face(stored: _StoredFace) -> Face:
    return Face(
        pseudonym_key=Ed25519PrivateKey.from_private_bytes(stored.pseudonym_key),
        prekey_id=stored.prekey_id,
        mlkem=MLKEM768PrivateKey.from_seed_bytes(stored.mlkem),
        x25519=X25519PrivateKey.from_private_bytes(stored.x25519),
        created_s=stored.created_s,
        retired_s=stored.retired_s,
    )
