"""Choosing and taking the rows of updates: twin of ``chosen_rows`` and ``taken_rows``.

Both are in ``p2prec.collaboration.updates``, where the draw is explained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from p2prec.collaboration import updates as twin
from p2prec.kernels.rows import ONE, ZERO, copy

_MOST = np.float32(twin.MAX_EVIDENCE)
_UNHEARD, _LEAST = np.float32(twin.UNHEARD), twin.UNHEARD
_LEAST_BIN, _BINS, _TRIES = twin.LEAST_BIN, twin.BINS, twin.TRIES
_MIDDLES = twin.MIDDLES
_WHOLE_BITS, _WHOLE, _WHOLE_FLOAT = twin.WHOLE_BITS, twin.WHOLE, np.float32(twin.WHOLE)
_OWN_SHARE, _HEARSAY = np.float32(twin.OWN_SHARE), np.float32(1.0 - twin.OWN_SHARE)
_FLOAT_BYTES = 4


@njit(cache=True)
def say_rows(
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    others: NDArray[np.float32],
    evidence: NDArray[np.float32],
    own: NDArray[np.bool_],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    max_rows: NDArray[np.int64],
    chance: NDArray[np.float64],
    said_rows: NDArray[np.uint32],
    said_values: NDArray[np.float32],
    said_evidence: NDArray[np.float32],
    width: tuple[int, ...],
) -> NDArray[np.int64]:
    """Which rows go into the update of each peer, and what is said there.

    Args:
        rows: Column of the shelf.
        values: Likewise.
        others: Likewise.
        evidence: Likewise.
        own: Likewise.
        starts: Of the segment of each peer.
        lengths: Of it.
        max_rows: Of each update.
        chance: Where each peer's draw begins, from 0 to 1.
        said_rows: Written: the items, one peer after the other, with room for all.
        said_values: Likewise, their values.
        said_evidence: Likewise, their evidence.
        width: As of ``row_operation``.

    Returns:
        How many rows each peer has.
    """
    counts, known_own = _count(evidence, own, starts, lengths)
    n_slots = 0
    for peer in range(len(starts)):
        if counts[peer] < lengths[peer] or counts[peer] > max_rows[peer]:
            n_slots += lengths[peer]
    slots = np.empty(n_slots, np.int64)  # of those who do not say all that they hold
    chances = np.empty(lengths.max() if len(lengths) else 0, np.float32)
    end = 0
    for peer in range(len(starts)):
        start, stop, most = starts[peer], starts[peer] + lengths[peer], max_rows[peer]
        if counts[peer] <= most and counts[peer] == lengths[peer]:
            continue
        begin = end
        if counts[peer] <= most:
            for slot in range(start, stop):
                if evidence[slot] > ZERO:
                    slots[end] = slot
                    end += 1
        else:
            fits = known_own[peer] <= most
            wanted = np.float64(most - known_own[peer] if fits else most)
            drawn = chances[: stop - start]
            _weigh(others[start:stop], evidence[start:stop], own[start:stop], fits, drawn)
            _to_chances(drawn, wanted)
            reached = np.int64(chance[peer] * _WHOLE)
            for at in range(stop - start):
                before = reached
                reached += np.int64(drawn[at] * _WHOLE_FLOAT)
                slot = start + at
                certain = fits & own[slot] & (evidence[slot] > ZERO)
                slots[end] = slot  # stays only where it is counted
                end += certain | ((reached >> _WHOLE_BITS) > (before >> _WHOLE_BITS))
        counts[peer] = end - begin
    said = (said_rows, said_values, said_evidence)
    _take(rows, values, others, evidence, own, starts, lengths, counts, slots, said, width)
    return counts


@njit(cache=True)
def said_popularity(visited: Any, others: Any) -> Any:
    """What is passed on about how many go to one place: twin of ``updates.said_popularity``."""
    return _OWN_SHARE * (ONE if visited else ZERO) + _HEARSAY * others


@njit(cache=True)
def all_known(
    evidence: NDArray[np.float32], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether a peer has evidence of every row that it holds, shape ``(n_peers,)``.

    Args:
        evidence: Column of the shelf.
        starts: Of the segment of each peer.
        lengths: Of it.
    """
    known = np.zeros(len(starts), np.bool_)
    for peer in range(len(starts)):
        n = 0
        for slot in range(starts[peer], starts[peer] + lengths[peer]):
            n += evidence[slot] > ZERO
        known[peer] = n == lengths[peer]
    return known


@njit(cache=True)
def _count(evidence: Any, own: Any, starts: Any, lengths: Any) -> Any:
    """How many rows each peer has evidence of, and how many of them are its owner's."""
    known, known_own = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    for peer in range(len(starts)):
        n, n_own = 0, 0
        for slot in range(starts[peer], starts[peer] + lengths[peer]):
            is_known = evidence[slot] > ZERO
            n += is_known
            n_own += is_known & own[slot]
        known[peer], known_own[peer] = n, n_own
    return known, known_own


@njit(cache=True)
def _weigh(others: Any, evidence: Any, own: Any, fits: bool, weights: Any) -> None:
    """Weights of the rows that are drawn from, 0 for the others."""
    if fits:
        for at in range(len(weights)):
            weight = min(max(others[at], ZERO), ONE) + _UNHEARD
            weights[at] = weight if (evidence[at] > ZERO) & (not own[at]) else ZERO
    else:
        for at in range(len(weights)):
            weights[at] = ONE if (evidence[at] > ZERO) & own[at] else ZERO


@njit(cache=True)
def _to_chances(weights: Any, wanted: Any) -> None:
    """Turn weights into chances, in place."""
    # Four by turns, since many weights in a row may fall into one bin.
    several = np.zeros((4, _BINS), np.int64)
    bits = weights.view(np.int32)
    for at in range(len(weights)):
        several[at & 3, max((bits[at] >> 20) - _LEAST_BIN, 0)] += 1
    counts, middles = np.empty(_BINS, np.float64), np.empty(_BINS, np.float64)
    n, total = 0, 0.0
    for number in range(1, _BINS):
        count = several[0, number] + several[1, number] + several[2, number] + several[3, number]
        if count:
            counts[n], middles[n] = count, _MIDDLES[number - 1]
            total += counts[n] * middles[n]
            n += 1
    pace = wanted / max(total, _LEAST)
    for _ in range(_TRIES):
        sum_, slope = 0.0, 0.0
        for number in range(n):
            middle = middles[number]
            beside = 1.0 / (1.0 + pace * middle)
            sum_ += counts[number] * (pace * middle * beside)
            slope += counts[number] * (middle * beside * beside)
        pace += max(wanted - sum_, 0.0) / max(slope, 1e-9)
    short_pace, line = np.float32(pace), 0
    for at in range(len(weights)):
        odds = weights[at] * short_pace
        chance = odds / (ONE + odds)
        weights[at] = chance
        line += np.int64(chance * _WHOLE_FLOAT)
    surplus = np.float32(max(line / (wanted * _WHOLE + 1.0), 1.0))
    for at in range(len(weights)):
        weights[at] /= surplus


@njit(cache=True)
def _take(
    rows: Any,
    values: Any,
    others: Any,
    evidence: Any,
    own: Any,
    starts: Any,
    lengths: Any,
    counts: Any,
    slots: Any,
    said: Any,
    width: Any,
) -> None:
    """Items, values and evidence as they are said; who says all it holds has no slots."""
    said_rows, said_values, said_evidence = said
    column, row_bytes = len(width) - 2, len(width) * _FLOAT_BYTES
    to, source = said_values.ctypes.data, values.ctypes.data
    end, used = 0, 0
    for peer in range(len(starts)):
        begin, end = end, end + counts[peer]
        if counts[peer] == lengths[peer]:
            start = starts[peer]
            for at in range(counts[peer]):
                said_rows[begin + at] = rows[start + at]
                said_evidence[begin + at] = min(evidence[start + at], _MOST)
            for at in range(counts[peer]):
                row, slot = begin + at, start + at
                copy(width, (to + row * row_bytes, source + slot * row_bytes), (ONE,))
                said_values[row, column] = said_popularity(own[slot], others[slot])
            continue
        for row in range(begin, end):
            slot = slots[used]
            used += 1
            said_rows[row] = rows[slot]
            said_evidence[row] = min(evidence[slot], _MOST)
            copy(width, (to + row * row_bytes, source + slot * row_bytes), (ONE,))
            said_values[row, column] = said_popularity(own[slot], others[slot])
