"""Tables of codes of others over a restart: as named arrays, and back.

Who has just started would else have to do without each sender until that one's next whole table,
which a device that is switched on for a few rounds a day might never see.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.code_update import HeldTable
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.errors import StoreError
from p2prec.limits import LARGEST_VALUE, MAX_HELD_TABLES

_KINDS: Final[Mapping[str, type[np.generic]]] = {  # as they came, so that nothing is lost
    "held_senders": np.uint8,  # their names, a line each
    "held_counts": np.uint32,
    "held_words": np.float16,
    "held_items": np.uint32,
    "held_codes": np.uint8,
}


def stored_tables(
    held: Mapping[str, HeldTable], table: CompositionalCodes
) -> dict[str, NDArray[np.generic]]:
    """What ``held_tables`` takes; as many arrays whether there are tables or none."""
    now = list(held.items())  # read once: another thread may hear a table meanwhile
    tables = [t for _, t in now]
    shape = _shape(table)
    columns: tuple[Any, ...] = (
        np.frombuffer("\n".join(sender for sender, _ in now).encode(), np.uint8),
        [len(t.items) for t in tables],
        np.concatenate([np.empty((0, *shape), np.float32), *(t.words[None] for t in tables)]),
        np.concatenate([np.empty(0, np.int64), *(t.items for t in tables)]),
        np.concatenate([np.empty((0, shape[0]), np.uint8), *(t.codes for t in tables)]),
    )
    return {
        name: np.asarray(column, kind)
        for (name, kind), column in zip(_KINDS.items(), columns, strict=True)
    }


def held_tables(
    state: Mapping[str, NDArray[np.generic]], table: CompositionalCodes
) -> OrderedDict[str, HeldTable]:
    """The tables of ``stored_tables``, by sender in the same order; none where none were stored.

    Args:
        state: May hold other arrays too.
        table: Of the own model, which is that of all senders.

    Raises:
        StoreError: They are of a table of another size or of another catalogue, or damaged.
    """
    missing = _KINDS.keys() - state.keys()
    if missing == _KINDS.keys():
        return OrderedDict()
    if missing:
        raise StoreError(f"the stored tables of others lack {', '.join(sorted(missing))}")
    names, counts, words, items, codes = (np.asarray(state[n], k) for n, k in _KINDS.items())
    senders = _names(names)
    n_books, n_words, _ = shape = _shape(table)
    if words.shape[1:] != shape or codes.shape[1:] != (n_books,):
        raise StoreError("the stored tables of others have another size than the settings ask for")
    bounds = np.append(0, np.cumsum(counts, dtype=np.int64)).tolist()
    if (
        not counts.ndim == items.ndim == 1
        or not len(senders) == len(counts) == len(words)
        or not bounds[-1] == len(items) == len(codes)
        or codes.max(initial=0) >= n_words
        # The comparison is false for NaN.
        or not np.abs(words).max(initial=0.0) <= LARGEST_VALUE
    ):
        raise StoreError("the stored tables of others are damaged")
    result: OrderedDict[str, HeldTable] = OrderedDict()
    for sender, said, (start, end) in zip(senders, words, pairwise(bounds), strict=True):
        mine = items[start:end].astype(np.int64)
        if len(mine) and ((np.diff(mine) <= 0).any() or mine[-1] >= table.n_items):
            raise StoreError("the stored tables of others belong to another catalogue")
        result[sender] = HeldTable(
            words=said.astype(np.float32), items=mine, codes=codes[start:end].copy()
        )
        if len(result) > MAX_HELD_TABLES:
            result.popitem(last=False)
    return result


def _names(data: NDArray[np.uint8]) -> list[str]:
    try:
        names = data.tobytes().decode().split("\n") if len(data) else []
    except UnicodeDecodeError:
        names = []
    if len(set(names)) < len(names) or bool(names) != bool(len(data)):
        raise StoreError("the names of those whose tables are stored are damaged")
    return names


def _shape(table: CompositionalCodes) -> tuple[int, int, int]:
    """Of the words of a table."""
    return table.n_books, 1 << table.bits, table.size
