"""The common start of all peers of a realm, without a message."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 1_024  # rows drawn by one generator; fixed for ever, since it defines the values


@lru_cache(maxsize=8)
def initial_table(digest: bytes, name: str, n_rows: int, width: int) -> NDArray[np.float32]:
    """The realm's common starting point, shape ``(n_rows, width)``, read-only.

    Row *i* is a pure function of (digest, name, width, *i*), so that peers start from the same
    point without a message. The last two columns, popularity among others and a bias, start at
    zero; the rest is normal with a standard deviation of ``0.5 / sqrt(width - 2)``, so that
    embeddings have a length near 0.5.
    """
    table = np.empty((n_rows, width), np.float32)
    for start in range(0, n_rows, _BLOCK_ROWS):
        rng = labelled(b"p2prec/table/1" + digest + f"{name}/{width}/{start}".encode())
        block = rng.standard_normal((_BLOCK_ROWS, width))
        table[start : start + _BLOCK_ROWS] = block[: n_rows - start]
    table *= 0.5 / np.sqrt(max(width - 2, 1))
    table[:, -2:] = 0.0
    table.setflags(write=False)
    return table


def realm_generator(digest: bytes, name: str) -> np.random.Generator:
    """Draws that are the same in all peers of a realm; ``name`` says what for."""
    return labelled(b"p2prec/draws/1" + digest + name.encode())


def labelled(label: bytes) -> np.random.Generator:
    """Draws that are a function of what they are for."""
    seed = int.from_bytes(hashlib.sha256(label).digest(), "big")
    return np.random.Generator(np.random.Philox(seed=seed))
