"""What peers say to each other, decoded.

``peers.codec`` turns these records into bytes and back; ``docs/protocol.md`` has the bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NewType

from p2prec.collaboration.payload import Payload

PeerId = NewType("PeerId", str)
"""Lower-case hex of SHA-256("p2prec/id/1" || Ed25519 public key), 64 characters."""

Pseudonym = NewType("Pseudonym", str)
"""Lower-case hex of the first 16 bytes of SHA-256("p2prec/pseudonym/1" || pseudonym key)."""


def peer_id_of(identity_key: bytes) -> PeerId:
    """The id of an Ed25519 identity key of 32 bytes."""
    return PeerId(hashlib.sha256(b"p2prec/id/1" + identity_key).hexdigest())


@lru_cache(maxsize=1_024)  # every look at an advert asks for it
def pseudonym_of(pseudonym_key: bytes) -> Pseudonym:
    """The short name of an Ed25519 pseudonym key of 32 bytes."""
    return Pseudonym(hashlib.sha256(b"p2prec/pseudonym/1" + pseudonym_key).hexdigest()[:32])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """How a peer is reached; at least one way is set.

    Attributes:
        tcp: Addresses as ``(host, port)``, numeric IPv4 or IPv6; empty without a listener.
        mqtt_inbox: Random inbox name, 32 hex characters, or "" without a broker.
    """

    tcp: tuple[tuple[str, int], ...] = ()
    mqtt_inbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """A peer's public, signed introduction: a pseudonym, a coarse cell, and how to reach it.

    Attributes:
        realm: Digest of the catalogue, 32 bytes.
        pseudonym_key: Ed25519 public key, 32 bytes; signs the advert.
        prekey_id: 8 random bytes.
        prekey: Public HPKE key of the suite, 1,216 bytes for the hybrid one.
        cell_label: Keyed label of the coarse cell, base32; see ``peers.discovery.labels``.
        endpoints: Ways to reach the peer.
        not_before_s: UTC epoch seconds.
        expires_s: UTC epoch seconds.
        signature: Ed25519 over all of the above, 64 bytes.
    """

    realm: bytes
    pseudonym_key: bytes
    prekey_id: bytes
    prekey: bytes
    cell_label: str
    endpoints: Endpoints
    not_before_s: float
    expires_s: float
    signature: bytes
    pseudonym: Pseudonym = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pseudonym", pseudonym_of(self.pseudonym_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The sealed introduction: who stands behind the advert, and what it likes.

    Attributes:
        advert: The sender's current advert, so that the answer finds its way.
        binding: Pseudonym's signature over ``"p2prec/bind/1" || realm || identity key``; the
            identity signs the message that carries it, so that each vouches for the other.
        wants_reply: Whether the recipient should answer with its own hello.
        area: Fine cell of the activity centre (H3 token), noised once; "" without positions.
        sketch: Noisy category sketch, one byte (0 or 1) a bit; empty where the owner refuses.
        method: Collaboration method, such as ``"dclr"``.
        model: Model schema, such as ``"next_place/16"``; other methods than MAC need equal ones.
        accepts: Whether the sender counts the recipient among its neighbours.
    """

    advert: Advert
    binding: bytes
    wants_reply: bool
    area: str
    sketch: bytes
    method: str
    model: str
    accepts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffle:
    """Adverts of others, spread by gossip; the receiver verifies each."""

    adverts: tuple[Advert, ...]
    wants_reply: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A payload of a collaboration method."""

    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The sender leaves on purpose."""


Message = Hello | Shuffle | Share | Goodbye
