"""Random numbers of the simulated world: pure functions of what they are drawn for.

Nothing that is drawn depends on the order of events or on which process draws it, so that a run
is the same on any number of shards.
"""

from __future__ import annotations

import hashlib
import struct
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_PACK: Final = struct.Struct("<qqqq").pack
_SCALE: Final = 2.0**-64

LATENCY, LOSS, DUPLICATE, HELD_BACK, HELD_BACK_S, ASYMMETRY, SIDE = range(7)
DEVICE, SKEW, SESSION, CRASH, LATE, LEAVE, KEYS, BUCKET, ELSEWHERE, BANDWIDTH = range(7, 17)


def bits(seed: int, purpose: int, a: int, b: int = 0) -> int:
    """64 random bits."""
    digest = hashlib.blake2b(_PACK(seed, purpose, a, b), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniform(seed: int, purpose: int, a: int, b: int = 0) -> float:
    """Between 0 and 1, both excluded."""
    return (bits(seed, purpose, a, b) + 0.5) * _SCALE


def normal(seed: int, purpose: int, a: int, b: int = 0) -> float:
    """Standard normal."""
    # Beyond this the double nearest to 1 is 1 itself.
    return _NORMAL.inv_cdf(min(uniform(seed, purpose, a, b), 1.0 - 1e-15))
