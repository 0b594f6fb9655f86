"""Dense layers of many peers at once, each with weights of its own; gradients by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.tabled import Floats
from p2prec.models.taste import by_peer


def rectified(x: Floats) -> Floats:
    """What is above zero."""
    positive: Floats = np.maximum(x, np.float32(0.0))
    return positive


def times(x: Floats, weights: Floats, owner: NDArray[np.int64]) -> Floats:
    """Products with the weights of each example's peer, shape ``(n, k, n_out)``.

    Args:
        x: Shape ``(n, k, n_in)``.
        weights: Shape ``(n_peers, n_out, n_in)``.
        owner: Shape ``(n,)``.
    """
    product: Floats = np.matmul(x, weights.transpose(0, 2, 1)[owner])
    return product


def times_back(
    x: Floats, weights: Floats, owner: NDArray[np.int64], by_product: Floats
) -> tuple[Floats, Floats]:
    """Gradients of ``times`` by ``x`` and by ``weights``; owners ascend.

    Args:
        x: As of ``times``.
        weights: As of ``times``.
        owner: As of ``times``.
        by_product: Shape ``(n, k, n_out)``.
    """
    by_x: Floats = np.matmul(by_product, weights[owner])
    by_weights: Floats = np.matmul(by_product.transpose(0, 2, 1), x)
    return by_x, by_peer(owner, by_weights, len(weights))


def he(rng: np.random.Generator, n_out: int, n_in: int) -> Floats:
    """Weights to start from before a rectifier (He et al., ICCV 2015), shape ``(n_out, n_in)``."""
    weights: Floats = rng.standard_normal((n_out, n_in), np.float32)
    weights *= np.float32(np.sqrt(2.0 / n_in))
    return weights
