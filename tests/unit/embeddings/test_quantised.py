"""Whole numbers for rows, held against those of a library that a device is too small for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from p2prec.embeddings.quantised import quantised, scales_of

OF_TORCH = {
    8: ("embedding_bag_byte_prepack", "embedding_bag_byte_unpack"),
    4: ("embedding_bag_4bit_prepack", "embedding_bag_4bit_unpack"),
}


def by_torch(rows: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Through the row-wise quantised embedding of torch: a scale and a zero point a row."""
    pack, unpack = (getattr(torch.ops.quantized, name) for name in OF_TORCH[bits])
    found: NDArray[np.float32] = unpack(pack(torch.from_numpy(rows))).numpy()
    return found


def by_ours(rows: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    n, width = rows.shape
    codes, scales = quantised(rows.ravel(), np.arange(n, dtype=np.int64) * width, bits)
    return codes.astype(np.float32).reshape(rows.shape) * scales_of(scales)[:, None]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("size", [1e-3, 0.1, 30.0])
def test_a_byte_of_scale_rounds_hardly_worse_than_the_library_with_eight(
    bits: int, size: float
) -> None:
    rng = np.random.default_rng(bits)
    rows = (size * rng.standard_normal((500, 32))).astype(np.float32)
    ours, theirs = (
        float(np.sqrt(np.mean((found - rows) ** 2)))
        for found in (by_ours(rows, bits), by_torch(rows, bits))
    )
    # Symmetric around 0 and rounded to the next scale: at most 1.35 times the step of theirs.
    assert 0 < ours < 1.35 * theirs
    coarser = by_ours(rows, bits - 1)
    assert ours < 0.7 * float(np.sqrt(np.mean((coarser - rows) ** 2)))
