"""The typed records that travel: MessagePack arrays with bounds on every field, in one encoding."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from p2prec import limits
from p2prec.embeddings.code_update import DIGEST_BYTES, Mode
from p2prec.errors import RemoteProtocolError
from peers.messages import Advert, Endpoints

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
# \Z, not $: the latter lets a line break through. No control characters: names reach logs.
Name = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[a-z0-9_./-]*\Z")]
Round = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
Port = Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e12)]


MODES = (Mode.WHOLE, Mode.QUEUE, Mode.STACK)
_ENCODER = msgspec.msgpack.Encoder()
R = TypeVar("R")


def decode_record(data: bytes, decoder: msgspec.msgpack.Decoder[R], *, reason: str) -> R:
    """Read a record, which has one encoding only: signatures and hashes are over its bytes.

    Raises:
        RemoteProtocolError: With ``reason``: the bytes are no such record, a field is out of
            bounds, or the same could be said in other bytes.
    """
    try:
        record = decoder.decode(data)
    # Arrays within arrays without end raise RecursionError.
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise RemoteProtocolError(reason, str(error)[:200]) from None
    if _ENCODER.encode(record) != data:
        raise RemoteProtocolError(reason, "not in the shortest form")
    return record


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all records: no keys on the wire, no unknown fields."""


class Address(_Wire, frozen=True):
    """A TCP address."""

    host: Annotated[str, msgspec.Meta(min_length=2, max_length=45)]
    port: Port


class AdvertWire(_Wire, frozen=True):
    """``peers.messages.Advert``."""

    realm: Key
    pseudonym_key: Key
    prekey_id: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    prekey: Annotated[bytes, msgspec.Meta(min_length=1216, max_length=1216)]
    cell_label: Annotated[str, msgspec.Meta(max_length=32, pattern=r"\A[a-z2-7]*\Z")]
    tcp: Annotated[tuple[Address, ...], msgspec.Meta(max_length=4)]
    mqtt_inbox: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{32})?\Z")]
    not_before_s: Seconds
    expires_s: Seconds
    signature: Signature

    def to_advert(self) -> Advert:
        """The decoded form."""
        return Advert(
            realm=self.realm,
            pseudonym_key=self.pseudonym_key,
            prekey_id=self.prekey_id,
            prekey=self.prekey,
            cell_label=self.cell_label,
            endpoints=Endpoints(
                tcp=tuple((a.host, a.port) for a in self.tcp), mqtt_inbox=self.mqtt_inbox
            ),
            not_before_s=self.not_before_s,
            expires_s=self.expires_s,
            signature=self.signature,
        )


def advert_fields(advert: Advert) -> AdvertWire:
    """The encoded form."""
    return AdvertWire(
        advert.realm,
        advert.pseudonym_key,
        advert.prekey_id,
        advert.prekey,
        advert.cell_label,
        tuple(Address(host, port) for host, port in advert.endpoints.tcp),
        advert.endpoints.mqtt_inbox,
        float(advert.not_before_s),
        float(advert.expires_s),
        advert.signature,
    )


class HelloWire(_Wire, frozen=True, tag=1):
    """``peers.messages.Hello``."""

    advert: AdvertWire
    binding: Signature
    wants_reply: bool
    area: Annotated[str, msgspec.Meta(max_length=16, pattern=r"\A[0-9a-f]*\Z")]
    sketch: Annotated[bytes, msgspec.Meta(max_length=limits.MAX_PROFILE_BITS)]
    method: Name
    model: Name
    accepts: bool


class ShuffleWire(_Wire, frozen=True, tag=2):
    """``peers.messages.Shuffle``."""

    adverts: Annotated[
        tuple[AdvertWire, ...], msgspec.Meta(max_length=limits.MAX_ADVERTS_PER_SHUFFLE)
    ]
    wants_reply: bool


class UpdateWire(_Wire, frozen=True, tag=3):
    """``p2prec.collaboration.payload.ModelUpdate``; arrays are raw little-endian bytes."""

    round: Round
    model: Name
    wide: bool  # rows are of 4 bytes, since one of them needs more than 2
    rows: Annotated[bytes, msgspec.Meta(max_length=4 * limits.MAX_UPDATE_ROWS)]  # u32 or u16
    values: Annotated[bytes, msgspec.Meta(max_length=limits.MAX_BODY_BYTES)]  # float16
    evidence: Annotated[bytes, msgspec.Meta(max_length=2 * limits.MAX_UPDATE_ROWS)]  # float16
    dense: Annotated[bytes, msgspec.Meta(max_length=2 * limits.MAX_DENSE_VALUES)]  # float16
    degree: Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class SequenceWire(_Wire, frozen=True):
    """One reference sequence."""

    items: Annotated[bytes, msgspec.Meta(max_length=4 * limits.MAX_REFERENCE_LENGTH)]  # u32
    times: Annotated[bytes, msgspec.Meta(max_length=8 * limits.MAX_REFERENCE_LENGTH)]  # i64


class ReferencesWire(_Wire, frozen=True, tag=4):
    """``p2prec.collaboration.payload.ReferenceSet``."""

    round: Round
    sequences: Annotated[tuple[SequenceWire, ...], msgspec.Meta(max_length=limits.MAX_REFERENCES)]


class SoftWire(_Wire, frozen=True, tag=5):
    """``p2prec.collaboration.payload.SoftPredictions``."""

    round: Round
    references: Annotated[bytes, msgspec.Meta(max_length=8 * limits.MAX_REFERENCES)]
    width: Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_SOFT_ITEMS)]
    items: Annotated[
        bytes, msgspec.Meta(max_length=4 * limits.MAX_REFERENCES * limits.MAX_SOFT_ITEMS)
    ]  # u32
    log_probabilities: Annotated[
        bytes, msgspec.Meta(max_length=2 * limits.MAX_REFERENCES * limits.MAX_SOFT_ITEMS)
    ]  # float16


class GoodbyeWire(_Wire, frozen=True, tag=6):
    """``peers.messages.Goodbye``."""


class TableWire(_Wire, frozen=True, tag=7):
    """``p2prec.collaboration.payload.TableUpdate``; arrays are raw little-endian bytes."""

    round: Round
    model: Name
    base: Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
    mode: Annotated[int, msgspec.Meta(ge=0, lt=len(MODES))]
    wide: bool  # as of an update
    rows: Annotated[bytes, msgspec.Meta(max_length=4 * limits.MAX_UPDATE_ROWS)]  # u32 or u16
    columns: Annotated[bytes, msgspec.Meta(max_length=4 * limits.MAX_UPDATE_ROWS)]  # float16
    evidence: Annotated[bytes, msgspec.Meta(max_length=2 * limits.MAX_UPDATE_ROWS)]  # float16
    changed: Annotated[bytes, msgspec.Meta(max_length=limits.MAX_UPDATE_ROWS // 8)]  # a bit each
    codes: Annotated[bytes, msgspec.Meta(max_length=limits.MAX_BOOKS * limits.MAX_UPDATE_ROWS)]
    words: Annotated[bytes, msgspec.Meta(max_length=2 * limits.MAX_DENSE_VALUES)]  # float16
    dense: Annotated[bytes, msgspec.Meta(max_length=2 * limits.MAX_DENSE_VALUES)]  # float16
    degree: Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class SessionsWire(_Wire, frozen=True, tag=8):
    """``p2prec.collaboration.payload.SessionSet``; arrays are raw little-endian bytes."""

    round: Round
    wide: bool  # items are of 4 bytes, since one of them needs more than 2
    items: Annotated[
        bytes, msgspec.Meta(max_length=4 * limits.MAX_SESSIONS * limits.MAX_SESSION_ITEMS)
    ]  # u32 or u16
    lengths: Annotated[bytes, msgspec.Meta(max_length=limits.MAX_SESSIONS)]  # u8


class DirectedWire(UpdateWire, frozen=True, tag=9):
    """``p2prec.collaboration.payload.DirectedUpdate``; arrays are raw little-endian bytes."""

    direction: Annotated[bytes, msgspec.Meta(max_length=2 * limits.MAX_DENSE_VALUES)]  # float16


KINDS = frozenset(range(1, 10))
PayloadWire = UpdateWire | ReferencesWire | SoftWire | TableWire | SessionsWire | DirectedWire
MessageWire = HelloWire | ShuffleWire | GoodbyeWire | PayloadWire


class SealedWire(_Wire, frozen=True):
    """What an envelope holds once it is open; the signature covers all other fields."""

    sender_key: Key
    recipient: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]  # pseudonym
    realm: Key
    prekey_id: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    message_id: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    created_s: Seconds
    expires_s: Seconds
    chunk: Annotated[int, msgspec.Meta(ge=0, lt=limits.MAX_CHUNKS)]
    chunks: Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_CHUNKS)]
    digest: Key
    body: Annotated[bytes, msgspec.Meta(max_length=limits.MAX_CHUNK_BYTES)]
    signature: Signature
