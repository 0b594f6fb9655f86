"""Messages to bytes and back; every array is checked against the realm before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from p2prec import limits
from p2prec.collaboration.payload import (
    ModelUpdate,
    ReferenceSequence,
    ReferenceSet,
    SoftPredictions,
)
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from peers import wire
from peers.messages import Goodbye, Hello, Message, Share, Shuffle

_DECODER: msgspec.msgpack.Decoder[wire.MessageWire] = msgspec.msgpack.Decoder(wire.MessageWire)
_ENCODER = msgspec.msgpack.Encoder()
_LARGEST_VALUE = 1_000.0  # no sane parameter is larger; float16 would still carry 65,504


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSchema:
    """What payloads of this realm look like.

    Attributes:
        n_items: Items of the catalogue.
        models: By model name: columns of a row, and number of dense parameters.
    """

    n_items: int
    models: Mapping[str, tuple[int, int]]


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
        case Share(payload=ModelUpdate() as update):
            return wire.UpdateWire(
                int(update.round),
                update.model,
                update.rows.astype("<u4").tobytes(),
                _raw(update.values, "<f2"),
                _raw(update.evidence, "<f2"),
                _raw(update.dense, "<f4"),
                int(update.degree),
            )
        case Share(payload=ReferenceSet() as references):
            return wire.ReferencesWire(
                int(references.round),
                tuple(
                    wire.SequenceWire(
                        s.items.astype("<u4").tobytes(), s.timestamp_s.astype("<i8").tobytes()
                    )
                    for s in references.sequences
                ),
            )
        case Share(payload=SoftPredictions() as soft):
            return wire.SoftWire(
                int(soft.round),
                b"".join(soft.references),
                soft.items.shape[1] if soft.items.ndim == 2 else 0,
                soft.items.astype("<u4").tobytes(),
                _raw(soft.log_probabilities, "<f2"),
            )
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
        case wire.UpdateWire():
            return Share(payload=_update(record, schema))
        case wire.ReferencesWire():
            return Share(
                payload=ReferenceSet(
                    round=record.round,
                    sequences=tuple(_sequence(s, schema) for s in record.sequences),
                )
            )
        case wire.SoftWire():
            return Share(payload=_soft(record, schema))


def _bits(sketch: bytes) -> bytes:
    if any(bit > 1 for bit in sketch):
        raise RemoteProtocolError("malformed", "a sketch holds bits only")
    return sketch


def _update(record: wire.UpdateWire, schema: PayloadSchema) -> ModelUpdate:
    if record.model not in schema.models:
        raise RemoteProtocolError("unknown_model", record.model)
    width, n_dense = schema.models[record.model]
    rows = _items(record.rows, schema)
    if (
        len(record.values) != 2 * len(rows) * width
        or len(record.evidence) != 2 * len(rows)
        or len(record.dense) != 4 * n_dense
    ):
        raise RemoteProtocolError("wrong_shape", f"update of {record.model}")
    if (np.diff(rows.astype(np.int64)) <= 0).any():
        raise RemoteProtocolError("wrong_shape", "rows are not strictly increasing")
    evidence = _floats(record.evidence, "<f2")
    if (evidence < 0).any():
        raise RemoteProtocolError("wrong_shape", "negative evidence")
    return ModelUpdate(
        round=record.round,
        model=record.model,
        rows=rows,
        values=_floats(record.values, "<f2").reshape(len(rows), width),
        evidence=evidence,
        dense=_floats(record.dense, "<f4"),
        degree=record.degree,
    )


def _sequence(record: wire.SequenceWire, schema: PayloadSchema) -> ReferenceSequence:
    items = _items(record.items, schema)
    if not len(items) or len(record.times) != 8 * len(items):
        raise RemoteProtocolError("wrong_shape", "reference sequence")
    times = np.frombuffer(record.times, "<i8").astype(np.int64)
    if (np.diff(times) < 0).any() or times[0] < 0 or times[-1] > 1 << 40:
        raise RemoteProtocolError("wrong_shape", "times of a reference sequence")
    return ReferenceSequence(items=items, timestamp_s=times)


def _soft(record: wire.SoftWire, schema: PayloadSchema) -> SoftPredictions:
    if len(record.references) % 8:
        raise RemoteProtocolError("wrong_shape", "reference hashes")
    n = len(record.references) // 8
    names = tuple(record.references[8 * i : 8 * i + 8] for i in range(n))
    if len(set(names)) < n:  # said twice, it would count twice
        raise RemoteProtocolError("wrong_shape", "a reference occurs twice")
    items = _items(record.items, schema)
    if len(items) != n * record.width or len(record.log_probabilities) != 2 * len(items):
        raise RemoteProtocolError("wrong_shape", "soft predictions")
    logs = _floats(record.log_probabilities, "<f2").reshape(n, record.width)
    items = items.reshape(n, record.width)
    if (logs > 0).any() or (np.exp(logs).sum(axis=1) > 1.02).any():
        raise RemoteProtocolError("wrong_shape", "no probabilities")
    if (np.diff(items.astype(np.int64), axis=1) <= 0).any():
        raise RemoteProtocolError("wrong_shape", "items are not strictly increasing")
    return SoftPredictions(
        round=record.round,
        references=names,
        items=items,
        log_probabilities=logs,
    )


def _items(data: bytes, schema: PayloadSchema) -> NDArray[np.uint32]:
    if len(data) % 4:
        raise RemoteProtocolError("wrong_shape", "item rows")
    rows = np.frombuffer(data, "<u4").astype(np.uint32)
    if len(rows) and rows.max() >= schema.n_items:
        raise RemoteProtocolError("unknown_item", str(rows.max()))
    return rows


def _floats(data: bytes, dtype: str) -> NDArray[np.float32]:
    values = np.frombuffer(data, dtype).astype(np.float32)
    if not np.isfinite(values).all():
        raise RemoteProtocolError("not_finite")
    if (np.abs(values) > _LARGEST_VALUE).any():
        raise RemoteProtocolError("out_of_range")
    return values


def _raw(values: NDArray[np.float32], dtype: str) -> bytes:
    # The largest value keeps NaN; the comparison is then false.
    if not np.abs(values).max(initial=0.0) <= _LARGEST_VALUE:
        raise LocalProtocolError("a number to send is not finite or too large")
    return values.astype(dtype).tobytes()
