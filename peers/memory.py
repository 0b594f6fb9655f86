"""Memory that is free goes back to the system, where the C library can do that."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=1)
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library than glibc
        return None
    return trim


def give_back() -> None:
    """Return free pages inside the heap; 0.3 ms, and 1 MiB a peer after a round of training."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
