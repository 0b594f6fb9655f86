"""What is saved comes back as it was, shared where it was shared; bytes build nothing else."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.simulator.records import Records


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    name: str
    value: float


class Pair(NamedTuple):
    one: object
    other: object


class Open:
    def __init__(self) -> None:
        self._held = {1: "one"}


RECORDS = Records((Colour, Leaf, Pair, Open), shared=(Leaf,))
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.just(Colour.RED)
    | st.builds(Leaf, name=st.text(), value=st.floats(allow_nan=False))
)
keys = st.integers() | st.text() | st.tuples(st.text(), st.integers())
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(keys, inner).map(OrderedDict)
        | st.dictionaries(keys, st.integers()).map(Counter)
        | st.frozensets(keys).map(set)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=20,
)


def alike(one: Any, other: Any) -> bool:
    """Equal and of the same types, orders of keys included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        pairs = list(one.items()), list(other.items())
        return len(one) == len(other) and alike(*pairs)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


@given(value=values)
def test_values_come_back_as_they_were(value: object) -> None:
    assert alike(RECORDS.unpack(RECORDS.pack(value)), value)


def test_arrays_numbers_and_generators_come_back_bit_for_bit() -> None:
    rng = np.random.default_rng(3)
    rng.random(dtype=np.float32)  # half of a word is kept for the next one
    arrays = [
        rng.random((3, 4)).astype(np.float32),
        np.array([np.nan, -0.0, np.inf]),
        np.zeros((0, 5), np.uint32),
        np.arange(6)[::2],
    ]
    found = RECORDS.unpack(RECORDS.pack({"arrays": arrays, "rng": rng, "n": np.float32(0.1)}))
    for one, other in zip(arrays, found["arrays"], strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
        assert other.flags.writeable
    assert isinstance(found["n"], np.float32)
    assert found["rng"].random(7, dtype=np.float32).tolist() == (
        rng.random(7, dtype=np.float32).tolist()
    )


def test_what_many_hold_is_written_once_and_shared_again() -> None:
    leaf = Leaf(name="a" * 10_000, value=1.0)
    data = RECORDS.pack([leaf, Pair(leaf, leaf), Leaf(name="b", value=1.0)])
    assert len(data) < 1_000  # it is compressed, too
    known: dict[Any, Any] = {}
    first, pair, other = RECORDS.unpack(data, known=known)
    assert first is pair.one is pair.other
    assert first is not other
    assert RECORDS.unpack(data, known=known)[0] is first
    assert RECORDS.unpack(data)[0] is not first


def test_objects_keep_their_attributes_and_others_are_refused() -> None:
    assert vars(RECORDS.unpack(RECORDS.pack(Open()))) == {"_held": {1: "one"}}
    for stranger in (object(), print, lambda: None, np.random.default_rng, {1: object()}):
        with pytest.raises(TypeError, match="has no form in a file"):
            RECORDS.pack(stranger)


@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        RECORDS.unpack(data)
    except ValueError:
        return
    msgspec.msgpack.decode(data)


@given(tree=st.recursive(st.integers(-2, 40) | st.text(max_size=3), st.lists, max_leaves=12))
def test_any_tree_is_a_value_or_refused(tree: object) -> None:
    once = RECORDS.pack(None)
    data = msgspec.msgpack.encode((msgspec.msgpack.decode(once)[0], tree))
    try:
        RECORDS.unpack(data)
    except ValueError:
        return
