"""Adverts: the signed introductions that everybody may read, and the identity's bond to them.

An advert is signed by a pseudonym and names no identity. The bond is mutual: the pseudonym signs
the identity key (``binding``), and the identity signs the sealed message that carries advert and
binding. With one half alone, a peer could pass off a stranger's advert as its own.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from p2prec.errors import RemoteProtocolError
from p2prec.limits import (
    MAX_ADVERT_BYTES,
    MAX_ADVERT_LIFETIME_S,
    MAX_CLOCK_SKEW_S,
    MAX_KNOWN_ADVERTS,
)
from peers.messages import Advert
from peers.wire import AdvertWire, advert_fields, decode_record

_DECODER: Final = msgspec.msgpack.Decoder(AdvertWire)
_ADVERT_LABEL: Final = b"p2prec/advert/1"
_BIND_LABEL: Final = b"p2prec/bind/1"
_MLKEM_BYTES: Final = 1_184
_NO_SIGNATURE: Final = b"\0" * 64
_PREKEYS_AT_HAND: Final = 32  # of those written to; some 10 KiB each once it is unpacked


class VerifiedAdverts:
    """Adverts whose signature was found right, so that each is verified once.

    The same advert arrives from brokers, responders, gossip and hellos. The whole record is the
    key: what differs in a single bit is verified. Bounded; the one that came longest ago goes.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[Advert, None] = OrderedDict()

    def holds(self, advert: Advert) -> bool:
        """Whether exactly this advert was verified."""
        if advert not in self._held:
            return False
        self._held.move_to_end(advert)
        return True

    def add(self, advert: Advert) -> None:
        """Remember a verified advert."""
        self._held[advert] = None
        while len(self._held) > MAX_KNOWN_ADVERTS:
            self._held.popitem(last=False)


def encode_advert(advert: Advert) -> bytes:
    """The bytes that travel."""
    return msgspec.msgpack.encode(advert_fields(advert))


def decode_advert(
    data: bytes, *, realm: bytes, now_s: float, verified: VerifiedAdverts | None = None
) -> Advert:
    """Read and check an advert.

    Raises:
        RemoteProtocolError: ``advert_too_long``, ``advert_malformed``, or see ``check_advert``.
    """
    if len(data) > MAX_ADVERT_BYTES:
        raise RemoteProtocolError("advert_too_long")
    advert = decode_record(data, _DECODER, reason="advert_malformed").to_advert()
    check_advert(advert, realm=realm, now_s=now_s, verified=verified)
    return advert


def check_advert(
    advert: Advert, *, realm: bytes, now_s: float, verified: VerifiedAdverts | None = None
) -> None:
    """The checks of ``decode_advert`` on an advert that is already decoded.

    Args:
        advert: The advert.
        realm: The own realm.
        now_s: UTC epoch seconds.
        verified: Signatures of what it holds are not verified again; None verifies always.

    Raises:
        RemoteProtocolError: ``advert_other_realm``, ``advert_expired``,
            ``advert_from_the_future``, ``advert_lives_too_long``, ``advert_bad_address`` or
            ``advert_bad_signature``.
    """
    if advert.realm != realm:
        raise RemoteProtocolError("advert_other_realm")
    check_times(advert, now_s)
    if advert.expires_s - advert.not_before_s > MAX_ADVERT_LIFETIME_S:
        raise RemoteProtocolError("advert_lives_too_long")
    if verified is not None and verified.holds(advert):
        return
    for host, _ in advert.endpoints.tcp:
        if not is_address(host):
            raise RemoteProtocolError("advert_bad_address", repr(host))
    verify(
        advert.pseudonym_key, advert.signature, advert_signed(advert), reason="advert_bad_signature"
    )
    if verified is not None:
        verified.add(advert)


def check_times(advert: Advert, now_s: float) -> None:
    """Check that an advert holds now, in UTC epoch seconds.

    Raises:
        RemoteProtocolError: ``advert_expired`` or ``advert_from_the_future``.
    """
    if advert.expires_s <= now_s:
        raise RemoteProtocolError("advert_expired")
    if advert.not_before_s > now_s + MAX_CLOCK_SKEW_S:
        raise RemoteProtocolError("advert_from_the_future")


def in_time(adverts: Iterable[Advert], now_s: float) -> tuple[tuple[Advert, ...], list[str]]:
    """The adverts of a shuffle that hold now, and why each of the others does not.

    One may have expired on its way, or been made by a clock that is ahead: whoever passes it on has
    no part in that, and the others are as good.
    """
    held, reasons = [], []
    for advert in adverts:
        try:
            check_times(advert, now_s)
        except RemoteProtocolError as error:
            reasons.append(error.reason)
        else:
            held.append(advert)
    return tuple(held), reasons


def is_address(host: str) -> bool:
    """Whether this is a numeric address of one host.

    A name would make every peer that reads the advert ask a name server of a stranger's choice.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host and not (address.is_unspecified or address.is_multicast)


def advert_signed(advert: Advert) -> bytes:
    """The bytes that an advert's signature is over."""
    unsigned = dataclasses.replace(advert, signature=_NO_SIGNATURE)
    return _ADVERT_LABEL + encode_advert(unsigned)


def binding_signed(*, realm: bytes, identity_key: bytes) -> bytes:
    """The bytes that a pseudonym signs to say whose it is."""
    return _BIND_LABEL + realm + identity_key


def verify_binding(advert: Advert, binding: bytes, identity_key: bytes) -> None:
    """Check that an advert's pseudonym belongs to an identity.

    Raises:
        RemoteProtocolError: ``bad_binding``.
    """
    signed = binding_signed(realm=advert.realm, identity_key=identity_key)
    verify(advert.pseudonym_key, binding, signed, reason="bad_binding")


@lru_cache(maxsize=_PREKEYS_AT_HAND)
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
    """Check an Ed25519 signature (RFC 8032).

    Raises:
        RemoteProtocolError: With ``reason``, where key or signature do not fit.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise RemoteProtocolError(reason) from None
