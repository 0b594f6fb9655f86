"""Matrix factorisation: twins of ``_gathered`` and ``_summed`` in ``p2prec.models.mf``.

``rate_pass`` is a whole pass over ratings, which need nothing but arithmetic: twin of what
``p2prec.training.epoch`` does step by step with them and with ``p2prec.training.adagrad``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from p2prec.kernels.rows import ONE, ZERO, fetch, place_of

_TWO = np.float32(2.0)
_FLOAT_BYTES = 4


@njit(cache=True)
def gather_scores(
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    others: NDArray[np.float32],
    own: NDArray[np.bool_],
    initial: NDArray[np.float32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    owner: NDArray[np.int64],
    items: NDArray[np.int32],
    private: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Slots of items, -1 where one is not held; what their scores are made of; what is own.

    Args:
        rows: Column of the shelf.
        values: Likewise.
        others: Likewise.
        own: Likewise.
        initial: The realm's initial rows.
        starts: Of the segment of each peer.
        lengths: Of it.
        owner: Shape ``(n,)``, the peer of each example.
        items: Shape ``(n, k)``.
        private: Shape ``(n_peers, n_private)``.

    Returns:
        Slots, shape ``(n, k)``; shape ``(3, n, k)``: the product with the taste, what is said of
        others, the bias; whether the owner has met the item.
    """
    n, k = items.shape
    size = values.shape[1] - 2
    slots = np.empty((n, k), np.int64)
    parts = np.empty((3, n, k), np.float32)
    met = np.zeros((n, k), np.bool_)
    for example in range(n):
        peer = owner[example]
        for number in range(k):
            item = items[example, number]
            if lengths[peer] == len(initial):  # all items are held
                slot = starts[peer] + item
            else:
                slot = place_of(rows, starts[peer], lengths[peer], item)
            slots[example, number] = slot
            taste = ZERO
            if slot >= 0:
                met[example, number] = own[slot]
                for d in range(size):
                    taste += values[slot, d] * private[peer, d]
                parts[1, example, number] = others[slot]
                parts[2, example, number] = values[slot, size + 1]
            else:
                for d in range(size):
                    taste += initial[item, d] * private[peer, d]
                parts[1, example, number] = initial[item, size]
                parts[2, example, number] = initial[item, size + 1]
            parts[0, example, number] = taste
    return slots, parts, met


@njit(cache=True)
def sum_errors(
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    evidence: NDArray[np.float32],
    initial: NDArray[np.float32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    owner: NDArray[np.int64],
    items: NDArray[np.int32],
    slots: NDArray[np.int64],
    errors: NDArray[np.float32],
    private: NDArray[np.float32],
    n_peers: int,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Gradients of private parameters and of the rows that change.

    Args:
        rows: Column of the shelf.
        values: Likewise.
        evidence: Likewise.
        initial: The realm's initial rows.
        starts: Of the segment of each peer.
        lengths: Of it.
        owner: Shape ``(n,)``, ascending.
        items: Shape ``(n, k)``, what was chosen first.
        slots: Of them, as of ``gather_scores``.
        errors: Derivatives by their scores.
        private: Shape ``(n_peers, n_private)``.
        n_peers: Of the step.

    Returns:
        Gradient of the private parameters; slots of the rows, their gradient, how often each was
        chosen, their keys.
    """
    n, k = items.shape
    size = values.shape[1] - 2
    by_private = np.zeros((n_peers, size + 1), np.float64)
    longest = lengths.max() if len(lengths) else 0
    number_of = np.full(longest, -1, np.int64)  # among the rows that change, by place
    changed, total, seen = np.empty(n * k, np.int64), np.empty(n * k), np.empty(n * k, np.float32)
    of = np.empty(n * k, np.int64)
    end, first, before = 0, 0, -1
    for example in range(n):
        peer = owner[example]
        if peer != before:
            for row in range(first, end):
                number_of[changed[row] - starts[before]] = -1
            first, before = end, peer
        for number in range(k):
            slot, error = slots[example, number], errors[example, number]
            for d in range(size):
                value = values[slot, d] if slot >= 0 else initial[items[example, number], d]
                by_private[peer, d] += np.float64(value * error)
            by_private[peer, size] += np.float64(error)
            if slot < 0 or (number > 0 and evidence[slot] <= ZERO):
                continue
            row = number_of[slot - starts[peer]]
            if row < 0:
                row = number_of[slot - starts[peer]] = end
                changed[end], total[end], seen[end], of[end] = slot, 0.0, ZERO, peer
                end += 1
            total[row] += np.float64(error)
            seen[row] += np.float32(number == 0)
    gradient, keys = np.empty((end, size + 2), np.float32), np.empty(end, np.int64)
    for row in range(end):
        sum_ = np.float32(total[row])
        for d in range(size):
            gradient[row, d] = private[of[row], d] * sum_
        gradient[row, size] = ZERO
        gradient[row, size + 1] = sum_
        keys[row] = of[row] * len(initial) + rows[changed[row]]
    return by_private.astype(np.float32), changed[:end], gradient, seen[:end], keys


@njit(cache=True)
def rate_pass(
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    accumulator: NDArray[np.float32],
    evidence: NDArray[np.float32],
    initial: NDArray[np.float32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    items: NDArray[np.int32],
    ratings: NDArray[np.float32],
    counts: NDArray[np.int64],
    batch_size: int,
    seats: NDArray[np.int64],
    dense: NDArray[np.float32],
    dense_accumulator: NDArray[np.float32],
    dense_start: NDArray[np.float32],
    dense_rates: NDArray[np.float32],
    private: NDArray[np.float32],
    private_accumulator: NDArray[np.float32],
    private_start: NDArray[np.float32],
    reg: np.float32,
    rate: np.float32,
    shorter: bool,
) -> NDArray[np.float64]:
    """Steps of all peers, one peer after the other; the summed loss of each.

    Args:
        rows: Column of the shelf.
        values: Likewise, changed in place.
        accumulator: Likewise.
        evidence: Likewise.
        initial: The realm's initial rows.
        starts: Of the segment of each peer; it holds all that its owner has rated.
        lengths: Of it.
        items: In the order in which they are learned, one peer after the other.
        ratings: Of them.
        counts: Of them, by peer.
        batch_size: Examples of a step.
        seats: Of the peers, in the accumulators and starts.
        dense: Of each peer, changed in place.
        dense_accumulator: By seat, likewise.
        dense_start: Before any training.
        dense_rates: Of each dense parameter.
        private: Of each peer, changed in place.
        private_accumulator: By seat, likewise.
        private_start: By seat, before any training.
        reg: Pull towards the start.
        rate: Of rows and private parameters.
        shorter: Whether steps of rows become shorter with what a row has moved.
    """
    size, width = values.shape[1] - 2, values.shape[1]
    loss = np.zeros(len(starts), np.float64)
    slots = np.empty(len(items), np.int64)  # of all examples
    changed = np.empty(batch_size, np.int64)  # slots of one step
    totals, seen = np.empty(batch_size, np.float64), np.empty(batch_size, np.float32)
    number_of = np.full(lengths.max() if len(lengths) else 0, -1, np.int64)  # by place
    by_private, gradient = np.empty(size + 1, np.float64), np.empty(width, np.float32)
    by_dense = np.zeros(dense.shape[1], np.float32)
    row_bytes = width * values.itemsize
    columns = (values.ctypes.data, accumulator.ctypes.data, evidence.ctypes.data, row_bytes)
    end = 0
    ahead = _find_slots(rows, len(initial), starts, lengths, items, counts, slots, 0, 0, columns)
    for peer in range(len(starts)):
        first, end, seat = end, end + counts[peer], seats[peer]
        own = private[peer]
        # While this peer learns, the rows of the next one come into the cache.
        ahead = _find_slots(
            rows, len(initial), starts, lengths, items, counts, slots, ahead, peer + 1, columns
        )
        for begin in range(first, end, batch_size):
            n = min(batch_size, end - begin)
            by_private[:] = 0.0
            step_loss, n_rows = 0.0, 0
            for number in range(n):
                slot = slots[begin + number]
                taste = ZERO
                for d in range(size):
                    taste += values[slot, d] * own[d]
                score = taste + values[slot, size + 1]
                error = score + (dense[peer, 0] + own[size]) - ratings[begin + number]
                step_loss += np.float64(error * error / _TWO)
                for d in range(size):
                    by_private[d] += np.float64(values[slot, d] * error)
                by_private[size] += np.float64(error)
                row = number_of[slot - starts[peer]]
                if row < 0:
                    row = number_of[slot - starts[peer]] = n_rows
                    changed[row], totals[row], seen[row] = slot, 0.0, ZERO
                    n_rows += 1
                totals[row] += np.float64(error)
                seen[row] += ONE
            loss[peer] += step_loss
            for row in range(n_rows):
                slot, sum_, squares = changed[row], np.float32(totals[row]), ZERO
                number_of[slot - starts[peer]] = -1
                item = rows[slot]
                for d in range(width):
                    step = own[d] * sum_ if d < size else (sum_ if d > size else ZERO)
                    step += (values[slot, d] - initial[item, d]) * reg
                    step = ZERO if d == size else step
                    gradient[d] = step
                    squares += step * step
                factor = rate
                if shorter:
                    squared = accumulator[slot] + squares / np.float32(width)
                    accumulator[slot] = squared
                    factor = rate / np.sqrt(squared)
                for d in range(width):
                    values[slot, d] -= gradient[d] * factor
                evidence[slot] += seen[row]
            by_dense[0] = np.float32(by_private[size])
            for d in range(len(by_dense)):
                step = by_dense[d] / np.float32(n) + reg * (dense[peer, d] - dense_start[d])
                dense_accumulator[seat, d] += step * step
                dense[peer, d] -= dense_rates[d] * step / np.sqrt(dense_accumulator[seat, d])
            for d in range(size + 1):
                step = np.float32(by_private[d]) / np.float32(n)
                step += reg * (own[d] - private_start[seat, d])
                private_accumulator[seat, d] += step * step
                own[d] -= rate * step / np.sqrt(private_accumulator[seat, d])
    return loss


@njit(cache=True)
def _find_slots(
    rows: Any,
    n_items: int,
    starts: Any,
    lengths: Any,
    items: Any,
    counts: Any,
    slots: Any,
    first: int,
    peer: int,
    columns: Any,
) -> int:
    """Note where the rows of a peer's examples lie, and ask for them; where the next one begins."""
    if peer >= len(starts):
        return first
    end = first + counts[peer]
    for number in range(first, end):
        item = items[number]
        if lengths[peer] == n_items:  # all items are held
            slot = starts[peer] + item
        else:
            slot = place_of(rows, starts[peer], lengths[peer], item)
        slots[number] = slot
        row = columns[0] + slot * columns[3]
        fetch(row)
        fetch(row + columns[3] - 1)
        fetch(columns[1] + slot * _FLOAT_BYTES)
        fetch(columns[2] + slot * _FLOAT_BYTES)
    return end
