"""A step of row-wise Adagrad: twin of ``p2prec.training.adagrad.stepped_rows``."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from p2prec.kernels.rows import ZERO


@njit(cache=True)
def step_rows(
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    accumulator: NDArray[np.float32],
    evidence: NDArray[np.float32],
    initial: NDArray[np.float32],
    slots: NDArray[np.int64],
    gradient: NDArray[np.float32],
    seen: NDArray[np.float32],
    reg: np.float32,
    rate: np.float32,
    shorter: bool,
) -> None:
    """Change rows in place; the gradient is used up.

    Args:
        rows: Column of the shelf.
        values: Likewise.
        accumulator: Likewise.
        evidence: Likewise.
        initial: The realm's initial rows.
        slots: Of the rows, unique.
        gradient: Shape ``(n, width)``.
        seen: How often each was a right answer.
        reg: Pull towards the initial values.
        rate: Of the step.
        shorter: Whether steps become shorter with what a row has moved.
    """
    width = values.shape[1]
    others = width - 2
    for number in range(len(slots)):
        slot = slots[number]
        item = rows[slot]
        squares = ZERO
        for d in range(width):
            step = gradient[number, d] + (values[slot, d] - initial[item, d]) * reg
            step = ZERO if d == others else step
            gradient[number, d] = step
            squares += step * step
        factor = rate
        if shorter:
            sum_ = accumulator[slot] + squares / np.float32(width)
            accumulator[slot] = sum_
            factor = rate / np.sqrt(sum_)
        for d in range(width):
            values[slot, d] -= gradient[number, d] * factor
        evidence[slot] += seen[number]
