"""Values of a simulation to bytes and back: exact, typed, and never pickle.

MessagePack of a tree in which everything but plain numbers, text and bytes is an array that begins
with a small number for its kind. Only classes that are named beforehand are ever built, so that a
file can change no more than values. Records that many others hold, such as adverts, are written
once and are shared again by those who held them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

_PLAIN: Final = frozenset({type(None), bool, float, str, bytes})
_LARGEST_INT: Final = 1 << 63
(_TUPLE, _LIST, _SET, _DICT, _ORDERED, _COUNTER, _INT, _ARRAY, _NUMBER, _RNG, _SHARED,
 _FIRST_RECORD) = range(12)  # fmt: skip
_MAPPINGS: Final[Mapping[type[Any], int]] = {dict: _DICT, OrderedDict: _ORDERED, Counter: _COUNTER}
_SEQUENCES: Final[Mapping[type[Any], int]] = {tuple: _TUPLE, list: _LIST, set: _SET}


class Records:
    """Writes and reads values that are made of plain ones, collections, arrays and some records.

    Args:
        kinds: Classes of records: dataclasses, named tuples, enumerations, and others that hold
            nothing but attributes. Their order is part of the format.
        shared: Those of ``kinds`` of which one object may be held by many.
    """

    def __init__(self, kinds: Iterable[type[Any]], *, shared: Iterable[type[Any]]) -> None:
        self._kinds = tuple(kinds)
        self._shared = frozenset(shared)
        self._tags = {kind: tag for tag, kind in enumerate(self._kinds, _FIRST_RECORD)}
        self._parts = [_parts(kind) for kind in self._kinds]
        self._builders = [_builder(kind) for kind in self._kinds]

    def pack(self, value: object) -> bytes:
        """The bytes of a value.

        Raises:
            TypeError: It holds an object of a class that has no form here.
        """
        writer = _Writer(self._tags, self._parts, self._shared)
        with no_collection():
            body = writer.tree(value)
            # Adverts that are not really sealed are full of zeros.
            once = zlib.compress(msgspec.msgpack.encode(writer.once), 1)
            return msgspec.msgpack.encode((once, body))

    def unpack(self, data: bytes, *, known: dict[Any, Any] | None = None) -> Any:
        """The inverse of ``pack``.

        Args:
            data: The bytes.
            known: Shared records that can be hashed, by themselves: equal ones become one object,
                over several calls too.

        Raises:
            ValueError: The bytes are not those of a value.
        """
        try:
            with no_collection():
                once, body = msgspec.msgpack.decode(data, type=tuple[bytes, Any])
                reader = _Reader(self._builders, {} if known is None else known)
                for tree in msgspec.msgpack.decode(zlib.decompress(once), type=list[Any]):
                    reader.share(reader.value(tree))
                return reader.value(body)
        except (msgspec.MsgspecError, zlib.error, RecursionError) as error:
            raise ValueError(str(error)) from None
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"no value: {error!r}") from None


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Trees hold millions of lists and no circle: looking for one would take most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Writer:
    """Makes trees of values, and notes what is shared."""

    def __init__(
        self,
        tags: Mapping[type[Any], int],
        parts: list[Callable[[Any], Iterable[object]]],
        shared: frozenset[type[Any]],
    ) -> None:
        self._tags, self._parts, self._shared = tags, parts, shared
        self._numbers: dict[int, int] = {}
        self.once: list[Any] = []

    def tree(self, value: Any) -> Any:  # noqa: C901, PLR0911 - one visible table of all kinds
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is int:
            if -_LARGEST_INT <= value < _LARGEST_INT:
                return value
            return _INT, str(value)
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], *map(self.tree, value)]
        if kind in _MAPPINGS:
            return [_MAPPINGS[kind], *map(self.tree, itertools.chain(*value.items()))]
        if kind is np.ndarray:
            return _ARRAY, value.dtype.str, value.shape, value.tobytes()
        if isinstance(value, np.generic):
            return _NUMBER, value.dtype.str, value.tobytes()
        if kind is np.random.Generator:
            return _RNG, self.tree(value.bit_generator.state)
        if kind not in self._tags:
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} has no form in a file")
        if kind not in self._shared:
            return self._record(kind, value)
        number = self._numbers.get(id(value))
        if number is None:
            record = self._record(kind, value)
            number = self._numbers[id(value)] = len(self.once)
            self.once.append(record)
        return _SHARED, number

    def _record(self, kind: type[Any], value: Any) -> list[Any]:
        tag = self._tags[kind]
        return [tag, *map(self.tree, self._parts[tag - _FIRST_RECORD](value))]


class _Reader:
    """Makes values of trees."""

    def __init__(self, builders: list[Callable[..., Any]], known: dict[Any, Any]) -> None:
        self._builders, self._known = builders, known
        self._once: list[Any] = []
        self._makers: Mapping[int, Callable[[list[Any]], Any]] = {
            _TUPLE: lambda parts: tuple(map(self.value, parts)),
            _LIST: lambda parts: list(map(self.value, parts)),
            _SET: lambda parts: set(map(self.value, parts)),
            _DICT: lambda parts: dict(self._pairs(parts)),
            _ORDERED: lambda parts: OrderedDict(self._pairs(parts)),
            _COUNTER: lambda parts: Counter(dict(self._pairs(parts))),
            _INT: lambda parts: int(parts[0]),
            _ARRAY: lambda parts: _array(parts[0], parts[2]).reshape(parts[1]).copy(),
            _NUMBER: lambda parts: _array(parts[0], parts[1])[0],
            _RNG: lambda parts: _generator(self.value(parts[0])),
            _SHARED: lambda parts: self._once[parts[0]],
        }

    def share(self, value: Any) -> None:
        try:
            self._once.append(self._known.setdefault(value, value))
        except TypeError:  # a record of arrays has no hash
            self._once.append(value)

    def value(self, tree: Any) -> Any:
        if type(tree) is not list:
            return tree
        tag, *parts = tree
        if tag >= _FIRST_RECORD:
            return self._builders[tag - _FIRST_RECORD](*map(self.value, parts))
        return self._makers[tag](parts)

    def _pairs(self, parts: list[Any]) -> Iterable[tuple[Any, Any]]:
        return zip(map(self.value, parts[::2]), map(self.value, parts[1::2]), strict=True)


def _array(dtype: str, data: bytes) -> NDArray[np.generic]:
    return np.frombuffer(data, np.dtype(dtype))


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    if state["bit_generator"] != "PCG64":
        raise ValueError(f"no generator {state['bit_generator']!r}")
    bits: Any = np.random.PCG64(0)
    bits.state = dict(state)
    return np.random.Generator(bits)


def _parts(kind: type[Any]) -> Callable[[Any], Iterable[object]]:
    """What a record is made of, in the order in which ``_builder`` takes it."""
    if issubclass(kind, Enum):
        return lambda value: (value.value,)
    if dataclasses.is_dataclass(kind):
        names = _given(kind)
        return lambda value: [getattr(value, name) for name in names]
    if issubclass(kind, msgspec.Struct):
        return msgspec.structs.astuple
    if issubclass(kind, tuple):
        return iter
    return lambda value: (vars(value),)


def _given(kind: Any) -> list[str]:
    """The fields of a dataclass but for those that follow from the others, or of a struct."""
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    return [field.name for field in dataclasses.fields(kind) if field.init]


def _builder(kind: type[Any]) -> Callable[..., Any]:
    if issubclass(kind, Enum | tuple):
        return kind
    if dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct):
        names = _given(kind)
        return lambda *parts: kind(**dict(zip(names, parts, strict=True)))
    return lambda attributes: _with_attributes(kind, attributes)


def _with_attributes(kind: type[Any], attributes: Mapping[str, Any]) -> Any:
    value: Any = object.__new__(kind)
    vars(value).update(attributes)
    return value
