"""Payloads to records of the wire and back; every array is checked against the realm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import (
    DirectedUpdate,
    ModelUpdate,
    Payload,
    ReferenceSequence,
    ReferenceSet,
    SessionSet,
    SoftPredictions,
    TableUpdate,
)
from p2prec.embeddings.code_update import DIGEST_BYTES, Mode
from p2prec.embeddings.packed import bits_of, bytes_of_bits, codes_of
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from p2prec.limits import LARGEST_VALUE
from p2prec.models.sessions import Sessions, are_sessions, sessions_of
from peers import wire


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeShape:
    """What a table of codes is made of.

    Attributes:
        n_books: Codes of an item.
        bits: Of a code.
        n_groups: Words of groups.
        size: Of a word.
    """

    n_books: int
    bits: int
    n_groups: int
    size: int

    @property
    def n_pieces(self) -> int:
        """Shared values of such a table; one more than there are in words."""
        return (self.n_groups + (self.n_books << self.bits)) * self.size + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSchema:
    """What payloads of this realm look like.

    Attributes:
        n_items: Items of the catalogue.
        models: By model name: columns of a row, and number of dense parameters.
        tables: By model name, of those whose table is one of codes.
        directions: By model name, how many dense parameters have a direction.
    """

    n_items: int
    models: Mapping[str, tuple[int, int]]
    tables: Mapping[str, CodeShape] = field(default_factory=dict)
    directions: Mapping[str, int] = field(default_factory=dict)


def payload_record(payload: Payload) -> wire.PayloadWire:
    """The encoded form.

    Raises:
        LocalProtocolError: A number is not finite or too large.
    """
    match payload:
        case DirectedUpdate() as update:
            return wire.DirectedWire(*_update_fields(update), _raw(update.direction, "<f2"))
        case ModelUpdate() as update:
            return wire.UpdateWire(*_update_fields(update))
        case TableUpdate() as update:
            return _table_wire(update)
        case ReferenceSet() as references:
            return wire.ReferencesWire(
                int(references.round),
                tuple(
                    wire.SequenceWire(
                        s.items.astype("<u4").tobytes(), s.timestamp_s.astype("<i8").tobytes()
                    )
                    for s in references.sequences
                ),
            )
        case SoftPredictions() as soft:
            return wire.SoftWire(
                int(soft.round),
                b"".join(soft.references),
                soft.items.shape[1] if soft.items.ndim == 2 else 0,
                soft.items.astype("<u4").tobytes(),
                _raw(soft.log_probabilities, "<f2"),
            )
        case SessionSet() as sessions:
            both = Sessions(sessions.sessions)
            return wire.SessionsWire(
                int(sessions.round),
                *_short(both.items),
                both.lengths.astype(np.uint8).tobytes(),
            )


def payload_of(record: wire.PayloadWire, schema: PayloadSchema) -> Payload:
    """The decoded form.

    Raises:
        RemoteProtocolError: As of ``peers.codec.decode_message``.
    """
    match record:
        case wire.DirectedWire():
            said = _update(record, schema)
            if len(record.direction) != 2 * schema.directions.get(record.model, 0):
                raise RemoteProtocolError("wrong_shape", f"direction of {record.model}")
            return DirectedUpdate(**said, direction=_floats(record.direction, "<f2"))
        case wire.UpdateWire():
            return ModelUpdate(**_update(record, schema))
        case wire.TableWire():
            return _table(record, schema)
        case wire.ReferencesWire():
            sequences = tuple(_sequence(s, schema) for s in record.sequences)
            return ReferenceSet(round=record.round, sequences=sequences)
        case wire.SoftWire():
            return _soft(record, schema)
        case wire.SessionsWire():
            return _sessions(record, schema)


def _update_fields(
    update: ModelUpdate,
) -> tuple[int, str, bool, bytes, bytes, bytes, bytes, int]:
    """What the records of all updates begin with."""
    return (
        int(update.round),
        update.model,
        *_short(update.rows),
        _raw(update.values, "<f2"),
        _raw(update.evidence, "<f2"),
        _raw(update.dense, "<f2"),
        int(update.degree),
    )


def _update(record: wire.UpdateWire, schema: PayloadSchema) -> dict[str, Any]:
    """Fields of an update, checked."""
    if record.model not in schema.models:
        raise RemoteProtocolError("unknown_model", record.model)
    width, n_dense = schema.models[record.model]
    rows = _ascending(_items_of(record.wide, record.rows, schema))
    if (
        len(record.values) != 2 * len(rows) * width
        or len(record.evidence) != 2 * len(rows)
        or len(record.dense) != 2 * n_dense
    ):
        raise RemoteProtocolError("wrong_shape", f"update of {record.model}")
    return {
        "round": record.round,
        "model": record.model,
        "rows": rows,
        "values": _floats(record.values, "<f2").reshape(len(rows), width),
        "evidence": _evidence(record.evidence),
        "dense": _floats(record.dense, "<f2"),
        "degree": record.degree,
    }


def _table_wire(update: TableUpdate) -> wire.TableWire:
    return wire.TableWire(
        int(update.round),
        update.model,
        update.base,
        wire.MODES.index(update.mode),
        *_short(update.rows),
        _raw(update.columns, "<f2"),
        _raw(update.evidence, "<f2"),
        bits_of(update.changed.astype(np.uint8), 1).tobytes(),
        bits_of(update.codes, update.bits).tobytes(),
        _raw(update.words, "<f2"),
        _raw(update.dense, "<f2"),
        int(update.degree),
    )


def _table(record: wire.TableWire, schema: PayloadSchema) -> TableUpdate:
    shape = schema.tables.get(record.model)
    if shape is None:
        raise RemoteProtocolError("unknown_model", record.model)
    rows = _ascending(_items_of(record.wide, record.rows, schema))
    mode = wire.MODES[record.mode]
    changed = _coded(record.changed, 1, len(rows)).astype(np.bool_)
    n_books, n_words = shape.n_books, 1 << shape.bits
    codes = _coded(record.codes, shape.bits, int(changed.sum()) * n_books)
    n_new, rest = divmod(len(record.words), 2 * n_books * shape.size)
    whole = mode is Mode.WHOLE
    if (
        rest
        or not (n_new == n_words if whole else 1 <= n_new <= n_words)
        or len(record.base) != (0 if whole else DIGEST_BYTES)
        or (whole and not changed.all())
        or len(record.columns) != 4 * len(rows)
        or len(record.evidence) != 2 * len(rows)
        or len(record.dense) != 2 * (schema.models[record.model][1] - shape.n_pieces + 1)
    ):
        raise RemoteProtocolError("wrong_shape", f"table update of {record.model}")
    return TableUpdate(
        round=record.round,
        model=record.model,
        base=record.base,
        mode=mode,
        rows=rows,
        columns=_floats(record.columns, "<f2").reshape(-1, 2),
        evidence=_evidence(record.evidence),
        changed=changed,
        codes=codes.astype(np.uint8).reshape(-1, n_books),
        bits=shape.bits,
        words=_floats(record.words, "<f2").reshape(n_books, n_new, shape.size),
        dense=_floats(record.dense, "<f2"),
        degree=record.degree,
    )


def _coded(data: bytes, width: int, n: int) -> NDArray[np.int64]:
    """Numbers of so many bits; what fills the last byte is zero."""
    if len(data) != bytes_of_bits(n * width):
        raise RemoteProtocolError("wrong_shape", "bits")
    codes = codes_of(np.frombuffer(data, np.uint8), width, n)
    if n * width % 8 and data[-1] >> n * width % 8:
        raise RemoteProtocolError("malformed", "bits that mean nothing")
    return codes


def _ascending(rows: NDArray[np.uint32]) -> NDArray[np.uint32]:
    if (np.diff(rows.astype(np.int64)) <= 0).any():
        raise RemoteProtocolError("wrong_shape", "rows are not strictly increasing")
    return rows


def _evidence(data: bytes) -> NDArray[np.float32]:
    evidence = _floats(data, "<f2")
    if (evidence < 0).any():
        raise RemoteProtocolError("wrong_shape", "negative evidence")
    return evidence


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


def _sessions(record: wire.SessionsWire, schema: PayloadSchema) -> SessionSet:
    items = _items_of(record.wide, record.items, schema)
    lengths = np.frombuffer(record.lengths, np.uint8)
    if not len(lengths) or not are_sessions(items, lengths, schema.n_items):
        raise RemoteProtocolError("wrong_shape", "sessions")
    told = sessions_of(items.astype("<u4").tobytes(), lengths)
    if len(set(told)) < len(told):  # said twice, it would count twice
        raise RemoteProtocolError("wrong_shape", "a session occurs twice")
    return SessionSet(round=record.round, sessions=tuple(told))


def _short(items: NDArray[np.integer]) -> tuple[bool, bytes]:
    """Whether items need more than two bytes each, and their bytes."""
    wide = _is_wide(items)
    return wide, items.astype("<u4" if wide else "<u2").tobytes()


def _is_wide(items: NDArray[np.integer]) -> bool:
    return bool(items.max(initial=0) > np.iinfo(np.uint16).max)


def _items_of(wide: bool, data: bytes, schema: PayloadSchema) -> NDArray[np.uint32]:  # noqa: FBT001
    """The items of ``_short``."""
    items = _items(data, schema, size=4 if wide else 2)
    # One form for one set, so that nobody tells by it who has encoded it.
    if wide != _is_wide(items):
        raise RemoteProtocolError("wrong_shape", "items in more bytes than they need")
    return items


def _items(data: bytes, schema: PayloadSchema, *, size: int = 4) -> NDArray[np.uint32]:
    if len(data) % size:
        raise RemoteProtocolError("wrong_shape", "item rows")
    rows = np.frombuffer(data, f"<u{size}").astype(np.uint32)
    if len(rows) and rows.max() >= schema.n_items:
        raise RemoteProtocolError("unknown_item", str(rows.max()))
    return rows


def _floats(data: bytes, dtype: str) -> NDArray[np.float32]:
    values = np.frombuffer(data, dtype).astype(np.float32)
    if not np.isfinite(values).all():
        raise RemoteProtocolError("not_finite")
    if (np.abs(values) > LARGEST_VALUE).any():
        raise RemoteProtocolError("out_of_range")
    return values


def _raw(values: NDArray[np.float32], dtype: str) -> bytes:
    # The largest value keeps NaN; the comparison is then false.
    if not np.abs(values).max(initial=0.0) <= LARGEST_VALUE:
        raise LocalProtocolError("a number to send is not finite or too large")
    return values.astype(dtype).tobytes()
