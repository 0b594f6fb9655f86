"""Trainings that diverged: what is no number any more goes back to its start.

A step that is too long makes the next one longer still, until rows and vectors are infinite or no
numbers at all. No mean and no further step brings them back, and nobody would take them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2prec.limits import LARGEST_VALUE
from p2prec.models.model import Model
from p2prec.models.stack import Stack

_LARGE: Final = 1e12  # a gradient of a million is none of a training that goes well


def set_back(
    stack: Stack, model: Model, *, accumulator: float, rows: bool
) -> NDArray[np.bool_] | None:
    """Let what has diverged begin anew; peers whose numbers are all finite stay as they are.

    All vectors of a peer that has anything else go back, since their Adagrad sums have grown too
    far for another step, and those rows that no other peer would take.

    Args:
        stack: Whose vectors have been stored.
        model: Of its peers.
        accumulator: Fresh one of a row.
        rows: Whether to look at the rows whatever the vectors are like. After a training this is
            not needed, and would cost as much as the training itself: on its way to infinity a row
            leaves large sums of squared gradients with the vectors.

    Returns:
        Shape ``(n_peers,)``, who has diverged; None where nobody has.
    """
    shelf, seats = stack.shelf, stack.seats
    vectors = (
        stack.dense,
        stack.private,
        shelf.dense_accumulator[seats],
        shelf.private_accumulator[seats],
    )
    finite = np.ones(len(stack), np.bool_)
    for part in vectors:
        finite &= np.isfinite(part).all(axis=1)
    large = any(sums.max(initial=0.0) > _LARGE for sums in vectors[2:])
    if finite.all() and not large and not rows:
        return None
    values, slots, peer = shelf.rows_at(stack.slots), stack.slots, stack.peer
    sums = np.stack([shelf.accumulator[slots], shelf.evidence[slots]], axis=1)
    known = np.isfinite(values).all(axis=1) & np.isfinite(sums).all(axis=1)
    diverged: NDArray[np.bool_] = ~finite | (np.bincount(peer[~known], minlength=len(stack)) > 0)
    if not diverged.any():
        return None
    # The comparison is false for NaN.
    lost = diverged[peer] & ~((np.abs(values) <= LARGEST_VALUE).all(axis=1) & known)
    _renew_rows(stack, slots[lost], accumulator)
    _renew_vectors(stack, model, seats[diverged], accumulator)
    return diverged


def _renew_rows(stack: Stack, slots: NDArray[np.int64], accumulator: float) -> None:
    shelf = stack.shelf
    shelf.values[slots] = shelf.initial[shelf.rows[slots]]
    shelf.others[slots] = np.nan_to_num(shelf.others[slots], nan=0.0, posinf=0.0, neginf=0.0)
    shelf.accumulator[slots] = accumulator
    # Nothing is known of them but that the owner was there: what others say counts in full.
    shelf.evidence[slots] = shelf.own[slots]


def _renew_vectors(
    stack: Stack, model: Model, seats: NDArray[np.int64], accumulator: float
) -> None:
    shelf = stack.shelf
    shelf.dense[seats] = model.initial_dense()
    shelf.dense_accumulator[seats] = model.dense_accumulator
    shelf.private[seats] = shelf.private_start[seats]
    shelf.private_accumulator[seats] = accumulator
