"""Which words a setting may be: one sentence for all that are none of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from p2prec.errors import ConfigError
from p2prec.text import closest, printable


def check_words(settings: object, *, where: str) -> None:
    """Refuse a setting that is none of the words of its type; a type checker is not always there.

    Args:
        settings: Of some dataclass.
        where: Before the names of its fields, for the sentence.

    Raises:
        ConfigError: As of ``check_word``.
    """
    for name, words in words_of(type(settings)).items():
        check_word(f"{where}{name}", getattr(settings, name), words)


def check_word(name: str, value: object, words: tuple[object, ...]) -> None:
    """Refuse what is none of some words.

    Raises:
        ConfigError: Names the setting, all words that it may be, and the nearest one.
    """
    if value in words:
        return
    known = [str(word) for word in words]
    near = closest(str(value), known)
    hint = "" if near is None else f"; did you mean {near!r}?"
    said = printable(repr(value))[:80]
    raise ConfigError(f"{name} = {said} is unknown; it must be one of {', '.join(known)}{hint}")


def words_of(kind: type[Any]) -> Mapping[str, tuple[object, ...]]:
    """By name of the field, the words of each field of a dataclass that is a choice of some."""
    key: Any = kind  # which mypy does not take for something that can be looked up
    return _words_of(key)


@lru_cache(maxsize=64)
def _words_of(kind: Any) -> Mapping[str, tuple[object, ...]]:
    hints = get_type_hints(kind)
    found = {field.name: _words(hints[field.name]) for field in dataclasses.fields(kind)}
    return {name: words for name, words in found.items() if words}


def _words(hint: Any) -> tuple[object, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return tuple(word.value for word in hint)
    return ()
