"""Messages to bytes and back; every array is checked against the realm before it is used."""

from __future__ import annotations

import msgspec

from p2prec import limits
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from peers import wire
from peers.messages import Goodbye, Hello, Message, Share, Shuffle
from peers.payload_codec import PayloadSchema, payload_of, payload_record

_DECODER: msgspec.msgpack.Decoder[wire.MessageWire] = msgspec.msgpack.Decoder(wire.MessageWire)
_ENCODER = msgspec.msgpack.Encoder()


def encode_message(message: Message) -> bytes:
    """The body of a sealed message.

    Raises:
        LocalProtocolError: The message is beyond a bound that others enforce: too long, or a
            number that is not finite or too large, as after a training that diverged.
    """
    body = _ENCODER.encode(_to_wire(message))
    if len(body) > limits.MAX_BODY_BYTES:
        raise LocalProtocolError(f"a message of {len(body)} bytes is too long to send")
    return body


def decode_message(data: bytes, *, schema: PayloadSchema) -> Message:
    """Read a body.

    Raises:
        RemoteProtocolError: With the reason ``too_long``, ``unknown_kind``, ``malformed``,
            ``wrong_shape``, ``not_finite``, ``out_of_range``, ``unknown_item`` or
            ``unknown_model``.
    """
    if len(data) > limits.MAX_BODY_BYTES:
        raise RemoteProtocolError("too_long")
    # A small array, then a small tag: another tag comes from a version that knows more.
    if len(data) > 1 and data[0] >> 4 == 9 and data[1] < 128 and data[1] not in wire.KINDS:
        raise RemoteProtocolError("unknown_kind", str(data[1]))
    return _from_wire(wire.decode_record(data, _DECODER, reason="malformed"), schema)


def _to_wire(message: Message) -> wire.MessageWire:
    match message:
        case Hello():
            return wire.HelloWire(
                wire.advert_fields(message.advert),
                message.binding,
                message.wants_reply,
                message.area,
                message.sketch,
                message.method,
                message.model,
                message.accepts,
            )
        case Shuffle():
            adverts = tuple(wire.advert_fields(a) for a in message.adverts)
            return wire.ShuffleWire(adverts, message.wants_reply)
        case Goodbye():
            return wire.GoodbyeWire()
        case Share():
            return payload_record(message.payload)
    raise LocalProtocolError(f"no encoding for {type(message).__name__}")


def _from_wire(record: wire.MessageWire, schema: PayloadSchema) -> Message:
    match record:
        case wire.HelloWire():
            return Hello(
                advert=record.advert.to_advert(),
                binding=record.binding,
                wants_reply=record.wants_reply,
                area=record.area,
                sketch=_bits(record.sketch),
                method=record.method,
                model=record.model,
                accepts=record.accepts,
            )
        case wire.ShuffleWire():
            return Shuffle(
                adverts=tuple(a.to_advert() for a in record.adverts),
                wants_reply=record.wants_reply,
            )
        case wire.GoodbyeWire():
            return Goodbye()
    return Share(payload=payload_of(record, schema))


def _bits(sketch: bytes) -> bytes:
    if any(bit > 1 for bit in sketch):
        raise RemoteProtocolError("malformed", "a sketch holds bits only")
    return sketch
