"""Averaging of rows: twin of ``p2prec.collaboration.averaging.average_rows``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from p2prec.collaboration.updates import MAX_EVIDENCE
from p2prec.kernels.rows import (
    ONE,
    TINY,
    ZERO,
    add_scaled,
    blend,
    finish,
    mix,
    pointer,
    scale,
)
from p2prec.kernels.updates import said_popularity

_MOST = np.float32(MAX_EVIDENCE)
_FLOAT_BYTES = 4
_ROWS, _VALUES, _EVIDENCE, _OTHERS, _OWN = range(5)  # of addresses


@njit(cache=True)
def average_rows(
    tables: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    initial: NDArray[np.float32],
    firsts: NDArray[np.int64],
    addresses: NDArray[np.int64],
    counts: NDArray[np.int64],
    weights: NDArray[np.float32],
    own_weight: NDArray[np.float32],
    dilution: NDArray[np.float32],
    listened: NDArray[np.float32],
    all_held: bool,
    width: tuple[int, ...],
) -> None:
    """Average the updates of each peer into its segment.

    Args:
        tables: Shape ``(n_peers, 5)``, as of ``Stack.addresses``; what is there is changed.
        lengths: Of the segments.
        order: Peers that average, one after the other.
        initial: The realm's initial rows.
        firsts: Shape ``(n_peers + 1,)``, the first update of each peer.
        addresses: Shape ``(n_updates, 5)``, of the columns of each update, as of
            ``averaging.Heard``.
        counts: Of rows in each update.
        weights: Of each update.
        own_weight: By peer.
        dilution: By peer.
        listened: By peer, the weight of all senders; with its own at most 1.
        all_held: Whether the segments hold all rows that are named; else the others are passed by.
        width: As of ``row_operation``.
    """
    longest = lengths.max() if len(lengths) else 0
    mass, present = np.empty(longest, np.float32), np.empty(longest, np.float32)
    before, most = np.empty(longest, np.float32), np.empty(longest, np.float32)
    for peer in order:
        n, own = lengths[peer], own_weight[peer]
        evidence = carray(pointer(tables[peer, _EVIDENCE]), (n,), np.float32)
        heard = carray(pointer(tables[peer, _OTHERS]), (n,), np.float32)
        first, stop = firsts[peer], firsts[peer + 1]
        quiet = ONE - listened[peer]
        for at in range(n):
            known = evidence[at]
            before[at] = mass[at] = own * known
            present[at] = own if known > ZERO else ZERO
            most[at] = known
            heard[at] *= quiet
        whole = all_held  # every update names every row
        for update in range(first, stop):
            whole = whole and counts[update] == n
        arguments = (
            tables[peer, _VALUES],
            initial.ctypes.data,
            carray(pointer(tables[peer, _ROWS]), (n,), np.int32),
            evidence,
            (heard, before, mass, present, most),
            (addresses[first:stop], counts[first:stop], weights[first:stop]),
            dilution[peer],
            width,
        )
        if whole:
            _average_whole(*arguments)
        else:
            _average_part(*arguments, len(initial))


@njit(cache=True)
def _popularity(columns: Any, n: int, width: Any) -> Any:
    """How to read what an update says of popularity: whether it is a table, and its columns.

    A table keeps it beside its values, by others and whether its owner goes there; it is said as
    by ``updates.said_popularity``.
    """
    in_table = columns[_OTHERS] != 0
    values = carray(pointer(columns[_VALUES]), (n, len(width)), np.float32)
    others = carray(pointer(columns[_OTHERS]), (n if in_table else 0,), np.float32)
    own = carray(pointer(columns[_OWN]), (n if in_table else 0,), np.bool_)
    return in_table, values, others, own


@njit(cache=True)
def _told(popularity: Any, at: int, column: int) -> Any:
    """A share, whatever a stranger or its noise says."""
    in_table, values, others, own = popularity
    told = said_popularity(own[at], others[at]) if in_table else values[at, column]
    return min(max(told, ZERO), ONE)


@njit(cache=True)
def _average_whole(
    values: int,
    initial: int,
    rows: Any,
    evidence: Any,
    sums: Any,
    updates: Any,
    dilution: Any,
    width: Any,
) -> None:
    """Average updates each of which names each row of a segment."""
    heard, before, mass, present, most = sums
    addresses, _, weights = updates
    n, last, row_bytes = len(rows), len(weights) - 1, len(width) * _FLOAT_BYTES
    for update in range(last + 1):
        weight = weights[update]
        known_there = carray(pointer(addresses[update, _EVIDENCE]), (n,), np.float32)
        for at in range(n):
            known = min(known_there[at], _MOST)
            mass[at] += weight * known
            present[at] += weight
            most[at] = max(most[at], known)
    thin = False
    for at in range(n):
        present[at], mass[at] = _shares(present[at], mass[at], dilution)
        thin = thin or present[at] < ONE
        evidence[at] = min(most[at], _MOST)
    for update in range(last + 1):
        weight = weights[update]
        its_evidence = carray(pointer(addresses[update, _EVIDENCE]), (n,), np.float32)
        popularity = _popularity(addresses[update], n, width)
        for at in range(n):
            heard[at] += weight * _told(popularity, at, len(width) - 2)
            weighted = weight * min(its_evidence[at], _MOST)
            pair = (values + at * row_bytes, addresses[update, _VALUES] + at * row_bytes)
            if update == 0 and last == 0:
                mix(width, pair, (before[at], weighted, mass[at]))
            elif update == 0:
                blend(width, pair, (before[at], weighted))
            elif update < last:
                add_scaled(width, pair, (weighted,))
            else:
                finish(width, pair, (weighted, mass[at]))
    if thin:
        for at in range(n):
            if present[at] < ONE:
                pair = (values + at * row_bytes, initial + rows[at] * row_bytes)
                add_scaled(width, pair, (ONE - present[at],))


@njit(cache=True)
def _average_part(
    values: int,
    initial: int,
    rows: Any,
    evidence: Any,
    sums: Any,
    updates: Any,
    dilution: Any,
    width: Any,
    n_items: Any,
) -> None:
    """Average updates that name some of the rows of a segment; others are passed by."""
    heard, before, mass, present, most = sums
    addresses, counts, weights = updates
    n, row_bytes = len(rows), len(width) * _FLOAT_BYTES
    named = np.zeros(n, np.bool_)
    for update in range(len(weights)):
        m, weight = counts[update], weights[update]
        its_rows = carray(pointer(addresses[update, _ROWS]), (m,), np.uint32)
        its_evidence = carray(pointer(addresses[update, _EVIDENCE]), (m,), np.float32)
        popularity = _popularity(addresses[update], m, width)
        at = 0
        for number in range(m):
            item = np.int32(its_rows[number])
            # No more items lie before its place than the segment lacks.
            at = max(at, item - (n_items - n))
            while at < n and rows[at] < item:
                at += 1
            if at == n:
                break
            if rows[at] != item:
                continue
            heard[at] += weight * _told(popularity, number, len(width) - 2)
            known = min(its_evidence[number], _MOST)
            weighted = weight * known
            pair = (values + at * row_bytes, addresses[update, _VALUES] + number * row_bytes)
            if named[at]:
                add_scaled(width, pair, (weighted,))
            else:
                blend(width, pair, (before[at], weighted))
            named[at] = True
            mass[at] += weighted
            present[at] += weight
            most[at] = max(most[at], known)
    for at in range(n):
        if named[at]:
            share, factor = _shares(present[at], mass[at], dilution)
            to = values + at * row_bytes
            scale(width, (to,), (factor,))
            if share < ONE:
                add_scaled(width, (to, initial + rows[at] * row_bytes), (ONE - share,))
            evidence[at] = min(most[at], _MOST)


@njit(cache=True)
def _shares(present: Any, mass: Any, dilution: Any) -> Any:
    """How much of a row's weight is heard, and by what its weighted sum is multiplied."""
    whole = present + dilution * (ONE - present)
    share = ZERO if mass <= ZERO else present / max(whole, TINY)
    return share, share / max(mass, TINY)
