"""Bodies: what survives the way there and back, and everything that is refused."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import msgpack
import numpy as np
import pytest
from cast import (
    ALICE,
    BOB,
    CODES,
    NOW,
    REALM,
    SCHEMA,
    advert_of,
    hello,
    messages,
    opener,
    soft,
    table_update,
    update,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from p2prec import limits
from p2prec.collaboration.payload import (
    DirectedUpdate,
    ModelUpdate,
    ReferenceSequence,
    ReferenceSet,
    SessionSet,
    SoftPredictions,
    TableUpdate,
)
from p2prec.embeddings.code_update import Mode
from p2prec.errors import LocalProtocolError, RemoteProtocolError
from p2prec.models.sessions import session_of
from peers.adverts import decode_advert, encode_advert
from peers.codec import decode_message, encode_message
from peers.messages import Endpoints, Goodbye, Hello, Message, Share, Shuffle

N_ITEMS = SCHEMA.n_items
HALVES = st.floats(-1_000, 1_000, width=16)
ROUNDS = st.integers(0, 2**31 - 1)
NAMES = st.text("abcz09_./-", max_size=64)


def rows(max_size: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    return st.sets(st.integers(0, N_ITEMS - 1), max_size=max_size).map(
        lambda chosen: np.array(sorted(chosen), np.uint32)
    )


@st.composite
def updates(draw: st.DrawFn) -> ModelUpdate:
    chosen = draw(rows(8))
    return update(
        round=draw(ROUNDS),
        rows=chosen,
        values=draw(hnp.arrays(np.float32, (len(chosen), 4), elements=HALVES)),
        evidence=np.abs(draw(hnp.arrays(np.float32, len(chosen), elements=HALVES))),
        dense=draw(hnp.arrays(np.float32, 5, elements=HALVES)),
        degree=draw(st.integers(0, 10_000)),
    )


@st.composite
def directed_updates(draw: st.DrawFn) -> DirectedUpdate:
    plain = draw(updates())
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    return DirectedUpdate(**fields, direction=draw(hnp.arrays(np.float32, 3, elements=HALVES)))


@st.composite
def table_updates(draw: st.DrawFn) -> TableUpdate:
    chosen, mode = draw(rows(8)), draw(st.sampled_from(list(Mode)))
    n, whole, n_words = len(chosen), mode is Mode.WHOLE, 1 << CODES.bits
    changed = np.ones(n, np.bool_) if whole else draw(hnp.arrays(np.bool_, n))
    n_new = n_words if whole else draw(st.integers(1, n_words))
    codes = st.integers(0, n_words - 1)
    return table_update(
        round=draw(ROUNDS),
        base=b"" if whole else draw(st.binary(min_size=8, max_size=8)),
        mode=mode,
        rows=chosen,
        columns=draw(hnp.arrays(np.float32, (n, 2), elements=HALVES)),
        evidence=np.abs(draw(hnp.arrays(np.float32, n, elements=HALVES))),
        changed=changed,
        codes=draw(hnp.arrays(np.uint8, (int(changed.sum()), CODES.n_books), elements=codes)),
        words=draw(hnp.arrays(np.float32, (CODES.n_books, n_new, CODES.size), elements=HALVES)),
        dense=draw(hnp.arrays(np.float32, 5, elements=HALVES)),
        degree=draw(st.integers(0, 10_000)),
    )


@st.composite
def soft_predictions(draw: st.DrawFn) -> SoftPredictions:
    width = draw(st.integers(0, 5))
    names = draw(st.sets(st.binary(min_size=8, max_size=8), max_size=4))
    chosen = [
        draw(st.sets(st.integers(0, N_ITEMS - 1), min_size=width, max_size=width)) for _ in names
    ]
    logs = st.floats(-14, -1.75, width=16)  # five of them stay below one
    return soft(
        round=draw(ROUNDS),
        references=tuple(names),
        items=np.array([sorted(c) for c in chosen], np.uint32).reshape(len(names), width),
        log_probabilities=draw(hnp.arrays(np.float32, (len(names), width), elements=logs)),
    )


@st.composite
def reference_sets(draw: st.DrawFn) -> ReferenceSet:
    sequence = st.lists(
        st.tuples(st.integers(0, N_ITEMS - 1), st.integers(0, 1 << 40)),
        min_size=1,
        max_size=limits.MAX_REFERENCE_LENGTH,
    ).map(
        lambda pairs: ReferenceSequence(
            items=np.array([p[0] for p in pairs], np.uint32),
            timestamp_s=np.sort(np.array([p[1] for p in pairs], np.int64)),
        )
    )
    return ReferenceSet(round=draw(ROUNDS), sequences=tuple(draw(st.lists(sequence, max_size=4))))


@st.composite
def session_sets(draw: st.DrawFn) -> SessionSet:
    session = st.sets(
        st.integers(0, N_ITEMS - 1), min_size=1, max_size=limits.MAX_SESSION_ITEMS
    ).map(lambda items: session_of(np.array(list(items))))
    sessions = draw(st.lists(session, min_size=1, max_size=6, unique=True))
    return SessionSet(round=draw(ROUNDS), sessions=tuple(sessions))


@st.composite
def adverts(draw: st.DrawFn) -> Any:
    hosts = st.ip_addresses().map(str)
    return advert_of(
        BOB,
        endpoints=Endpoints(
            tcp=tuple(draw(st.lists(st.tuples(hosts, st.integers(1, 65_535)), max_size=4))),
            mqtt_inbox=draw(st.sampled_from(["", "0123456789abcdef" * 2])),
        ),
        cell_label=draw(st.text("abcxyz27", max_size=32)),
        now_s=draw(st.floats(0, 1e11)),
    )


HELLOS = st.builds(
    hello,
    advert=adverts(),
    binding=st.binary(min_size=64, max_size=64),
    wants_reply=st.booleans(),
    area=st.text("0123456789abcdef", max_size=16),
    sketch=st.lists(st.integers(0, 1), max_size=limits.MAX_PROFILE_BITS).map(bytes),
    method=NAMES,
    model=NAMES,
    accepts=st.booleans(),
)
SHUFFLES = st.builds(
    Shuffle,
    adverts=st.lists(adverts(), max_size=limits.MAX_ADVERTS_PER_SHUFFLE).map(tuple),
    wants_reply=st.booleans(),
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    HELLOS,
    SHUFFLES,
    st.just(Goodbye()),
    st.one_of(
        updates(),
        directed_updates(),
        table_updates(),
        soft_predictions(),
        reference_sets(),
        session_sets(),
    ).map(lambda p: Share(payload=p)),
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    return bool(a == b)


@given(MESSAGES)
@settings(max_examples=150, deadline=None)
def test_messages_survive_the_way_there_and_back(message: Message) -> None:
    body = encode_message(message)
    assert same(decode_message(body, schema=SCHEMA), message)
    assert msgpack.packb(msgpack.unpackb(body)) == body  # an independent reader and writer


def test_the_comparison_of_messages_sees_differences() -> None:
    assert not same(update(), update(degree=5))
    assert not same(update(), update(values=np.zeros((3, 4), np.float32)))
    assert not same(hello(), hello(area=""))


@given(st.floats(-1_000, 1_000, width=32))
def test_values_are_rounded_to_half_precision(value: float) -> None:
    body = encode_message(Share(payload=update(values=np.full((3, 4), value, np.float32))))
    decoded = decode_message(body, schema=SCHEMA)
    assert isinstance(decoded, Share)
    assert isinstance(decoded.payload, ModelUpdate)
    assert decoded.payload.values[0, 0] == np.float32(np.float16(value))


VALID = [encode_message(m) for m in messages().values()] + [encode_advert(advert_of(BOB))]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Valid bytes after a few cuts, insertions, changes and repetitions."""
    data = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        until = draw(st.integers(at, min(len(data), at + 8)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[until:]
    return data


NESTED = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.binary(),
              st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)  # fmt: skip
TAGGED = st.tuples(st.integers(0, 10), st.lists(NESTED, max_size=9)).map(
    lambda pair: msgpack.packb([pair[0], *pair[1]])
)


@given(st.one_of(st.binary(max_size=300), damaged(), NESTED.map(msgpack.packb), TAGGED))
@settings(max_examples=600, deadline=None)
def test_any_bytes_are_a_message_or_a_counted_error(data: bytes) -> None:
    for read in (
        lambda: encode_message(decode_message(data, schema=SCHEMA)),
        lambda: encode_advert(decode_advert(data, realm=REALM, now_s=NOW)),
    ):
        with contextlib.suppress(RemoteProtocolError):
            assert read() == data  # what is accepted has one encoding
    with pytest.raises(RemoteProtocolError):
        opener().open(data, now_s=NOW)


def refused(body: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_message(body, schema=SCHEMA)
    return caught.value.reason


def changed(name: str, at: int, value: object) -> bytes:
    """A recorded kind of body with one field replaced, as a careless or evil peer sends it."""
    fields = msgpack.unpackb(encode_message(messages()[name]))
    fields[at] = value
    return msgpack.packb(fields)  # type: ignore[no-any-return]


WIDE, TOO_MANY_ITEMS = True, 4 * limits.MAX_SESSIONS * limits.MAX_SESSION_ITEMS + 4
HALF_NAN, HALF_INF, HALF_2000 = (np.float16(x).tobytes() for x in (np.nan, np.inf, 2_000))
UPDATE = msgpack.unpackb(encode_message(messages()["model_update"]))
WIDE_ROWS = np.frombuffer(UPDATE[4], "<u2").astype("<u4").tobytes()
TABLE = msgpack.unpackb(encode_message(messages()["table_update"]))
WIDE_TABLE_ROWS = np.frombuffer(TABLE[6], "<u2").astype("<u4").tobytes()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        # No row needs four bytes.
        (msgpack.packb([3, *UPDATE[1:3], WIDE, WIDE_ROWS, *UPDATE[5:]]), "wrong_shape"),
        (changed("model_update", 4, b"\0\0"), "wrong_shape"),
        (changed("model_update", 4, b"\1\0" * 3), "wrong_shape"),
        (changed("model_update", 4, b"\5\0\1\0\6\0"), "wrong_shape"),
        (changed("model_update", 4, b"\5\0\6\0\7"), "wrong_shape"),
        (changed("model_update", 4, b"\1\0\2\0\x64\0"), "unknown_item"),
        (changed("model_update", 5, bytes(22)), "wrong_shape"),
        (changed("model_update", 5, bytes(26)), "wrong_shape"),
        (changed("model_update", 5, bytes(22) + HALF_NAN), "not_finite"),
        (changed("model_update", 5, HALF_INF + bytes(22)), "not_finite"),
        (changed("model_update", 5, HALF_2000 + bytes(22)), "out_of_range"),
        (changed("model_update", 6, b"\0\xbc" * 3), "wrong_shape"),  # -1
        (changed("model_update", 6, HALF_NAN * 3), "not_finite"),
        (changed("model_update", 7, HALF_NAN * 5), "not_finite"),
        (changed("model_update", 7, bytes(12)), "wrong_shape"),
        (changed("model_update", 7, bytes(20)), "wrong_shape"),  # as of single precision
        (changed("model_update", 2, "mf/3"), "unknown_model"),
        (changed("model_update", 2, "next_place/3\n"), "malformed"),
        (changed("model_update", 1, -1), "malformed"),
        (changed("model_update", 1, 2**31), "malformed"),
        (changed("model_update", 8, 10_001), "malformed"),
        (changed("model_update", 4, bytes(4 * limits.MAX_UPDATE_ROWS + 4)), "malformed"),
        (changed("directed_update", 2, "mf/3"), "unknown_model"),
        (changed("directed_update", 7, bytes(12)), "wrong_shape"),
        (changed("directed_update", 9, b""), "wrong_shape"),
        (changed("directed_update", 9, bytes(8)), "wrong_shape"),
        (changed("directed_update", 9, HALF_NAN * 3), "not_finite"),
        (changed("directed_update", 9, HALF_2000 * 3), "out_of_range"),
        (changed("directed_update", 9, bytes(2 * limits.MAX_DENSE_VALUES + 2)), "malformed"),
        (changed("soft_predictions", 2, b"1234567"), "wrong_shape"),
        (changed("soft_predictions", 2, b"12345678" * 2), "wrong_shape"),
        (changed("soft_predictions", 3, 2), "wrong_shape"),
        (changed("soft_predictions", 4, bytes(24)), "wrong_shape"),
        (changed("soft_predictions", 5, bytes(12)), "wrong_shape"),  # three certainties
        (changed("soft_predictions", 5, b"\0\x3c" * 6), "wrong_shape"),  # more than certain
        (changed("soft_predictions", 3, -1), "malformed"),
        (changed("soft_predictions", 3, limits.MAX_SOFT_ITEMS + 1), "malformed"),
        (msgpack.packb([8, 0, WIDE, b"\1\0\0\0\2\0\0\0", b"\2"]), "wrong_shape"),  # no need
        (changed("session_set", 3, bytes(6)), "wrong_shape"),  # fewer items than promised
        (changed("session_set", 3, bytes(8)), "wrong_shape"),  # the same ones
        (changed("session_set", 3, bytes(7)), "wrong_shape"),
        (changed("session_set", 3, b"\xff" * 8), "unknown_item"),
        (changed("session_set", 4, b""), "wrong_shape"),
        (changed("session_set", 4, b"\x04\0"), "wrong_shape"),  # an empty one
        (changed("session_set", 4, b"\x02\x02"), "wrong_shape"),  # not ascending
        (changed("session_set", 4, bytes(limits.MAX_SESSIONS + 1)), "malformed"),
        (msgpack.packb([8, 0, not WIDE, b"\1\0\1\0", b"\1\1"]), "wrong_shape"),  # said twice
        (
            changed("session_set", 3, bytes(TOO_MANY_ITEMS)),
            "malformed",
        ),
        (changed("reference_set", 2, [[b"", b""]]), "wrong_shape"),
        (changed("reference_set", 2, [[bytes(4), bytes(4)]]), "wrong_shape"),
        (changed("reference_set", 2, [[bytes(4), b"\xff" * 8]]), "wrong_shape"),
        (changed("reference_set", 2, [[b"\xff" * 4, bytes(8)]]), "unknown_item"),
        (changed("reference_set", 2, [[bytes(260), bytes(520)]]), "malformed"),
        (changed("table_update", 2, "next_place/3"), "unknown_model"),  # without codes
        (changed("table_update", 3, b""), "wrong_shape"),
        (changed("table_update", 3, bytes(9)), "malformed"),
        (changed("table_update", 4, 0), "wrong_shape"),  # a whole table with two words
        (changed("table_update", 4, 3), "malformed"),
        (msgpack.packb([7, *TABLE[1:5], WIDE, WIDE_TABLE_ROWS, *TABLE[7:]]), "wrong_shape"),
        (changed("table_update", 6, b"\5\0\1\0\6\0"), "wrong_shape"),
        (changed("table_update", 6, b"\1\0\2\0\x64\0"), "unknown_item"),
        (changed("table_update", 7, bytes(10)), "wrong_shape"),
        (changed("table_update", 8, b"\0\xbc" * 3), "wrong_shape"),
        (changed("table_update", 9, b""), "wrong_shape"),
        (changed("table_update", 9, b"\7"), "wrong_shape"),  # of three items, codes of two
        (changed("table_update", 9, b"\x0d"), "malformed"),  # the fourth of three
        (changed("table_update", 10, bytes(1)), "wrong_shape"),
        (changed("table_update", 10, b"\0\xf0"), "malformed"),
        (changed("table_update", 11, b""), "wrong_shape"),
        (changed("table_update", 11, bytes(15)), "wrong_shape"),
        (changed("table_update", 11, bytes(8 * 9)), "wrong_shape"),  # more words than a book
        (changed("table_update", 11, HALF_NAN * 8), "not_finite"),
        (changed("table_update", 12, bytes(8)), "wrong_shape"),
        (changed("table_update", 12, HALF_NAN * 5), "not_finite"),
        (changed("table_update", 13, 10_001), "malformed"),
        (
            changed("table_update", 10, bytes(limits.MAX_BOOKS * limits.MAX_UPDATE_ROWS + 1)),
            "malformed",
        ),
        (changed("hello", 2, bytes(63)), "malformed"),
        (changed("hello", 4, "862a1072fffffff\n"), "malformed"),
        (changed("hello", 5, b"\2"), "malformed"),
        (changed("hello", 5, bytes(65)), "malformed"),
        (changed("hello", 6, "\x1b[31m"), "malformed"),
        (changed("shuffle", 1, [[]]), "malformed"),
        (msgpack.packb([10]), "unknown_kind"),
        (msgpack.packb([0, 1, 2]), "unknown_kind"),
        (msgpack.packb({"kind": 6}), "malformed"),
        (msgpack.packb([6, 0]), "malformed"),
        (msgpack.packb([6]) + b"\0", "malformed"),
        (b"", "malformed"),
        (bytes(limits.MAX_BODY_BYTES + 1), "too_long"),
        (b"\x91" * 100_000 + b"\0", "malformed"),
        (b"\xdd\xff\xff\xff\xff\x06", "malformed"),  # promises four billion elements
        (b"\x98\x03\x00\xa0\xc6\xff\xff\xff\xff", "malformed"),  # promises four gigabytes
    ],
)
def test_bodies_that_do_not_fit(body: bytes, reason: str) -> None:
    assert refused(body) == reason


def test_truncated_bodies_are_refused() -> None:
    for message in messages().values():
        body = encode_message(message)
        for n in range(len(body)):
            assert refused(body[:n]) in {"malformed", "unknown_kind"}


def test_what_others_would_refuse_is_not_sent() -> None:
    for bad in (np.nan, np.inf, 1e30, 1_001.0):
        with pytest.raises(LocalProtocolError, match="not finite or too large"):
            encode_message(Share(payload=update(values=np.full((3, 4), bad, np.float32))))
        with pytest.raises(LocalProtocolError, match="not finite or too large"):
            encode_message(Share(payload=update(dense=np.full(5, bad, np.float32))))
    n = limits.MAX_BODY_BYTES // 8
    with pytest.raises(LocalProtocolError, match="too long"):
        encode_message(
            Share(payload=update(rows=np.arange(n, dtype=np.uint32), values=np.zeros((n, 4))))
        )


def test_a_hello_of_another_peer_keeps_its_fields() -> None:
    body = encode_message(hello(ALICE))
    decoded = decode_message(body, schema=SCHEMA)
    assert isinstance(decoded, Hello)
    assert decoded.advert.pseudonym == ALICE.face.pseudonym


@pytest.mark.parametrize("items", [[0, 65_535], [0, 65_536]])
def test_items_of_sessions_take_two_bytes_where_that_is_enough(items: list[int]) -> None:
    large = dataclasses.replace(SCHEMA, n_items=100_000)
    message = Share(payload=SessionSet(round=1, sessions=(session_of(np.array(items)),)))
    body = encode_message(message)
    assert same(decode_message(body, schema=large), message)
    assert len(body) < 20 + 2 * len(items) * (1 + (items[1] > 65_535))


@pytest.mark.parametrize("last", [65_535, 65_536])
def test_rows_take_two_bytes_where_that_is_enough(last: int) -> None:
    large = dataclasses.replace(SCHEMA, n_items=100_000)
    message = Share(payload=update(rows=np.array([0, 7, last], np.uint32)))
    body = encode_message(message)
    assert same(decode_message(body, schema=large), message)
    assert len(body) - len(encode_message(Share(payload=update()))) == 6 * (last > 65_535)
