"""Segments of a shelf: rows that come in keep their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from p2prec.kernels.rows import ONE, ZERO, copy, equal, pointer

_FLOAT_BYTES = _ITEM_BYTES = 4


@njit(cache=True)
def missing_rows(
    rows: NDArray[np.int32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    firsts: NDArray[np.int64],
    addresses: NDArray[np.int64],
    counts: NDArray[np.int64],
    n_items: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Items that updates name and segments lack: twin of the search in ``Stack.hold``.

    Args:
        rows: Of the shelf.
        starts: Of the segment of each peer.
        lengths: Of it.
        firsts: Shape ``(n_peers + 1,)``, the first update of each peer.
        addresses: Of the rows of each update.
        counts: Of rows in each update.
        n_items: Of the realm.

    Returns:
        Items, peer after peer, ascending and unique within a peer; how many each peer lacks.
    """
    fresh = np.empty(counts.sum(), np.int32)
    lacking = np.zeros(len(starts), np.int64)
    end = 0
    for peer in range(len(starts)):
        begin = end
        if lengths[peer] == n_items:
            continue
        for update in range(firsts[peer], firsts[peer + 1]):
            named = carray(pointer(addresses[update]), (counts[update],), np.uint32)
            end = _unheld(rows, starts[peer], lengths[peer], named, n_items, fresh, end)
        if firsts[peer + 1] - firsts[peer] > 1 and end > begin:
            part = np.sort(fresh[begin:end])
            end = begin
            for at in range(len(part)):
                if at == 0 or part[at] != part[at - 1]:
                    fresh[end] = part[at]
                    end += 1
        lacking[peer] = end - begin
    return fresh[:end], lacking


@njit(cache=True)
def _unheld(
    rows: Any, start: int, length: int, named: Any, n_items: int, fresh: Any, end: int
) -> int:
    """Note the named items that a segment lacks; where the next one goes."""
    place = rows.ctypes.data + start * _ITEM_BYTES
    if length == len(named) and equal(place, named.ctypes.data, length * _ITEM_BYTES):
        return end
    at, stop = start, start + length
    for number in range(len(named)):
        item = np.int32(named[number])
        # No more items lie before its place than the segment lacks.
        at = max(at, start + item - (n_items - length))
        while at < stop and rows[at] < item:
            at += 1
        if at == stop or rows[at] != item:
            fresh[end] = item
            end += 1
    return end


@njit(cache=True)
def insert_rows(
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    others: NDArray[np.float32],
    accumulator: NDArray[np.float32],
    evidence: NDArray[np.float32],
    own: NDArray[np.bool_],
    initial: NDArray[np.float32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    extra: NDArray[np.int64],
    items: NDArray[np.int32],
    fresh_accumulator: np.float32,
    width: tuple[int, ...],
) -> None:
    """Merge new items into segments with enough room: twin of ``Shelf._merge_in``.

    Args:
        rows: With the next five the columns of the shelf, changed in place.
        values: Likewise.
        others: Likewise.
        accumulator: Likewise.
        evidence: Likewise.
        own: Likewise.
        initial: The realm's initial rows.
        starts: Of the segments that change.
        lengths: Of them, before.
        extra: How many items come to each.
        items: For one segment after the other, ascending.
        fresh_accumulator: Of the new rows.
        width: As of ``row_operation``.
    """
    to, source = values.ctypes.data, initial.ctypes.data
    row_bytes = len(width) * _FLOAT_BYTES
    end = 0
    for segment in range(len(starts)):
        first, end = end, end + extra[segment]
        start = starts[segment]
        old, new = start + lengths[segment] - 1, end - 1
        for at in range(start + lengths[segment] + extra[segment] - 1, start - 1, -1):
            if new < first:
                break  # what is left lies where it belongs
            if old >= start and rows[old] > items[new]:
                rows[at], accumulator[at] = rows[old], accumulator[old]
                evidence[at], own[at], others[at] = evidence[old], own[old], others[old]
                copy(width, (to + at * row_bytes, to + old * row_bytes), (ONE,))
                old -= 1
            else:
                rows[at], accumulator[at] = items[new], fresh_accumulator
                evidence[at], own[at], others[at] = ZERO, False, ZERO
                copy(width, (to + at * row_bytes, source + items[new] * row_bytes), (ONE,))
                new -= 1


@njit(cache=True)
def copy_rows(
    column: NDArray[np.generic],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    target: NDArray[np.generic],
    to: NDArray[np.int64],
) -> None:
    """Copy stretches of one column to where they do not overlap: twin of ``shelf.copied``."""
    source, goal = column.reshape(-1), target.reshape(-1)
    width = column.size // len(column) if len(column) else 1
    for segment in range(len(starts)):
        start, place = starts[segment] * width, to[segment] * width
        for at in range(lengths[segment] * width):
            goal[place + at] = source[start + at]
