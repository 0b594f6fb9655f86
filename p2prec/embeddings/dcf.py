"""Discrete collaborative filtering: balanced, uncorrelated bits by closed-form coordinate steps.

    b_k <- sgn( (M x)_k - a_k sum_(l != k) M_kl a_l b_l  + beta y_k ),        v = a * b

Zhang et al., SIGIR 2016 (DCF), section 4.2: an item's bits are solved one
after the other from ``M = sum_u u u^T`` and ``sum_u s u`` over those who rated it, drawn by
``beta`` to the nearest balanced and uncorrelated delegate ``Y = sqrt(n) P Q^T`` (section 4.3, from
the singular vectors of the centred codes); a bit whose argument is zero stays.

Ours: no peer may add up over all users. A real row ``x`` stands for the relaxed solution, for which
``sum_u s u = M x``: it is trained through the bits (straight-through, with the task's own loss, so
that ranking and clicks are learned from sampled items) and averaged by gossip. ``M`` is learned
from the directions of the gradients, which are the users' vectors up to a factor, and averaged too,
of trace ``r``: like the rows of any factorisation, which move along the owner's vector, it tells a
receiver the direction of that vector until others are mixed in. Delegates are solved over the items
that the device holds. A row whose bit was turned changes its sign there.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.binary import BinaryRows, passed_on, signs_of
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_BETA = 0.02
_SWEEPS = 5  # of the bits of an item, at most
_GRAM_PACE = 0.05  # of the learned M, per step of training
_RIDGE = 0.3  # of the identity that M never goes below
_REACH = 3.0  # times the scale: how far out a row is moved


class DiscreteFiltering(BinaryRows):
    """Scales and ``M`` in the pieces."""

    name: ClassVar[str] = "dcf"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.n_pieces = self.n_bits + self.n_bits**2

    def initial_pieces(self) -> Floats:
        """``M`` is the identity: no direction matters more."""
        return np.concatenate([self.first_scales(), np.eye(self.n_bits, dtype=np.float32).ravel()])

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Signs."""
        scales = stored.pieces[stored.owner, : self.n_bits]
        bits = signs_of(stored.rows)
        return self.widened(scales * bits), (stored, scales, bits)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """To rows that are not far beyond zero already; and ``M`` a step towards what is seen."""
        stored, scales, bits = tape
        by_codes = by_vectors[:, : self.n_bits]
        by_rows = passed_on(stored.rows, by_codes, _REACH * np.abs(scales))
        by_pieces = np.zeros_like(stored.pieces)
        np.add.at(by_pieces[:, : self.n_bits], stored.owner, bits * by_codes)
        r = self.n_bits
        for peer in np.unique(stored.owner):
            seen = by_codes[stored.owner == peer]
            outer = seen.T @ seen
            trace = float(np.trace(outer))
            if trace > 0:
                apart = stored.pieces[peer, r:] - (outer * (r / trace)).ravel()
                by_pieces[peer, r:] = _GRAM_PACE * apart
        return by_rows, by_pieces

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """Coordinate steps of the bits of all held items, alternating with their delegates."""
        del round_, quality
        if len(device.items) <= self.n_bits:
            return None
        scales = device.pieces[: self.n_bits]
        gram = device.pieces[self.n_bits :].reshape(self.n_bits, self.n_bits)
        gram = 0.5 * (gram + gram.T) + _RIDGE * np.eye(self.n_bits, dtype=np.float32)
        bits = solved_bits(device.rows, scales, gram)
        turned = bits != signs_of(device.rows)
        if not turned.any():
            return None
        rows = np.where(turned, -device.rows, device.rows)
        # Zero counts as 1: a row of zero cannot be turned by its sign alone.
        rows[turned & (device.rows == 0)] = -np.finfo(np.float32).tiny
        return Device(items=device.items, rows=rows, others=device.others, pieces=device.pieces)


def solved_bits(rows: Floats, scales: Floats, gram: Floats) -> Floats:
    """Bits that follow real rows best, in the metric of ``gram``, and are drawn to be balanced.

    Args:
        rows: Shape ``(n, n_bits)``.
        scales: Shape ``(n_bits,)``.
        gram: Shape ``(n_bits, n_bits)``, symmetric, positive on the diagonal.

    Returns:
        -1 and 1, shape ``(n, n_bits)``.
    """
    bits = signs_of(rows)
    wanted = rows @ gram
    drawn = (_BETA * np.abs(scales).mean()) * delegates(bits)
    for _ in range(_SWEEPS):
        before = bits.copy()
        for k in range(bits.shape[1]):
            others = (bits * scales) @ gram[:, k] - bits[:, k] * (scales[k] * gram[k, k])
            argument = np.sign(scales[k]) * (wanted[:, k] - others) + drawn[:, k]
            bits[:, k] = np.where(argument == 0, bits[:, k], signs_of(argument))
        if np.array_equal(before, bits):
            break
    return bits


def delegates(bits: Floats) -> Floats:
    """The nearest balanced and uncorrelated real codes, shape ``(n, n_bits)``.

    Columns of zero mean, orthogonal, of length ``sqrt(n)``; directions in which the codes do not
    vary at all stay zero, where the paper fills them in at random.
    """
    centred = bits - bits.mean(0)
    left, strength, right = np.linalg.svd(centred, full_matrices=False)
    varies: NDArray[np.bool_] = strength > 1e-3 * max(float(strength[0]), 1e-6)
    found: Floats = np.sqrt(np.float32(len(bits))) * (left[:, varies] @ right[varies])
    return found
