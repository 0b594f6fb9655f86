"""The few highest of many scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIPES = 128


def highest(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Where the ``k`` highest scores stand, highest first; of equal ones the first is the higher.

    Scores are laid in stripes, and the highest of each column is looked at: ``k`` columns have one
    that reaches the ``k``-th highest of these, so that nothing below it is among the ``k`` highest.
    Partitioning a hundred thousand scores takes twenty times as long.

    Args:
        scores: Shape ``(n,)``.
        k: At least 1; all are given where there are fewer.
    """
    width = len(scores) // _STRIPES
    at = np.arange(len(scores))
    if width > k:
        tops = scores[: width * _STRIPES].reshape(_STRIPES, width).max(0)
        reaching = np.flatnonzero(scores >= np.partition(tops, width - k)[width - k])
        if len(reaching) >= k:  # else some are no numbers
            at = reaching
    found: NDArray[np.int64] = at[np.argsort(-scores[at], kind="stable")[:k]]
    return found
