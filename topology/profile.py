"""Category preferences: the owner's own, and the noisy sketch that others may see."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History

SKETCH_BITS = 64
TOP_CATEGORIES = 8
FLIP = 0.25  # share of bits that are drawn at random instead


def category_profile(catalogue: Catalogue, history: History) -> NDArray[np.float64]:
    """Laplace-smoothed shares of categories, shape ``(n_categories,)``; unknown ones left out."""
    category = catalogue.category[history.item]
    counts = np.bincount(category[category >= 0], minlength=len(catalogue.categories)) + 0.1
    return np.asarray(counts / counts.sum())


def sketch(
    catalogue: Catalogue, history: History, *, rng: np.random.Generator, flip: float = FLIP
) -> bytes:
    """One byte (0 or 1) a bit: which groups of categories the owner likes most, with noise.

    Categories hash to 64 groups; the groups of the ``TOP_CATEGORIES`` preferred ones are 1. Each
    bit is replaced by a fair coin with probability ``flip`` (randomised response, Warner 1965).
    To be drawn once and kept. One changed top category changes at most two bits:
    epsilon = 2 ln((1 - flip/2) / (flip/2)).
    """
    bits = np.zeros(SKETCH_BITS, np.uint8)
    if len(history) and catalogue.categories:
        profile = category_profile(catalogue, history)
        visited = np.unique(catalogue.category[history.item])
        liked = [c for c in np.argsort(-profile, kind="stable")[:TOP_CATEGORIES] if c in visited]
        bits[[_group(catalogue.categories[c]) for c in liked]] = 1
    random_bits = rng.integers(0, 2, SKETCH_BITS, dtype=np.uint8)
    return bytes(np.where(rng.random(SKETCH_BITS) < flip, random_bits, bits))


def _group(category: str) -> int:
    return hashlib.sha256(b"p2prec/category/1" + category.encode()).digest()[0] % SKETCH_BITS
