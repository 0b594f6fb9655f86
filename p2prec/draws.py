"""Random numbers by counter: each is a function of a key and of its place, for many peers at once.

The generator is SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), which may be asked for any of its
outputs without the ones before. A key names one stream, such as "what peer 7 draws in the third
round of training", so that a peer draws the same alone and among thousands. It hides nothing: what
must not be guessed is not drawn here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_WORD = (1 << 64) - 1


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64, in place."""
    x ^= x >> np.uint64(30)
    x *= _FIRST
    x ^= x >> np.uint64(27)
    x *= _SECOND
    x ^= x >> np.uint64(31)
    return x


def bits(keys: NDArray[np.uint64], counters: NDArray[np.integer]) -> NDArray[np.uint64]:
    """64 random bits at each place of each stream; the arguments broadcast, at least to 1-d."""
    places = counters.astype(np.uint64)
    places += np.uint64(1)
    places *= _GAMMA
    return _mixed(np.atleast_1d(keys + places))


def stream(seeds: NDArray[np.uint64], *words: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    """Keys of the streams that seeds and words name, shape of ``seeds``.

    Args:
        seeds: Shape ``(n,)``.
        words: Not negative; one for all seeds, or shape ``(n,)``.
    """
    keys = bits(seeds, np.zeros(1, np.uint64))
    for word in words:
        keys = bits(keys, np.atleast_1d(np.asarray(word)))
    return keys


def word(seed: int) -> np.uint64:
    """The last 64 bits of a number of any length, to be a seed."""
    return np.uint64(seed & _WORD)


def integers(keys: NDArray[np.uint64], counters: NDArray[np.integer], n: int) -> NDArray[np.int32]:
    """Whole numbers from 0 to ``n - 1``, with a bias below ``n / 2**32``."""
    drawn = bits(keys, counters) >> np.uint64(32)
    drawn *= np.uint64(n)
    drawn >>= np.uint64(32)
    return drawn.astype(np.int32)


def uniforms(keys: NDArray[np.uint64], counters: NDArray[np.integer]) -> NDArray[np.float64]:
    """Numbers between 0 and 1, both excluded."""
    drawn: NDArray[np.float64] = (bits(keys, counters) >> np.uint64(12)).astype(np.float64)
    drawn += 0.5
    drawn *= 2.0**-52
    return drawn


def normals(keys: NDArray[np.uint64], counters: NDArray[np.integer]) -> NDArray[np.float64]:
    """Standard normal numbers (Box & Muller, 1958)."""
    places = counters.astype(np.uint64) * np.uint64(2)
    length = np.sqrt(-2.0 * np.log(uniforms(keys, places)))
    result: NDArray[np.float64] = length * np.cos(
        2.0 * np.pi * uniforms(keys, places + np.uint64(1))
    )
    return result


def generator(key: np.uint64) -> np.random.Generator:
    """NumPy's own generator for one stream, for what one peer draws by itself."""
    return np.random.Generator(np.random.Philox(key=int(key)))
