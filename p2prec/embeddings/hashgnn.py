"""HashGNN's binary codes over a plain table: signs with a gradient, and guidance that ends.

    z = tanh(k x),    v = a * ((1 - Q) z + Q sign(z)),    dv/dz = a           Q = [draw_x < beta]

Tan et al., WWW 2020 (HashGNN), sections 3.2 and 3.3: hash codes by a straight-through estimator,
guided by the continuous vector of a random share ``1 - beta`` of the rows, a share that falls while
training goes on. Its losses are those of the task here: ranking (their ``L_rank``) or the cross
entropy of links (``L_cross``, a click's log loss). Ours: a plain row takes the place of the graph
encoder, for a peer has no graph but its own links; a scale ``a`` for each bit; ``beta`` reaches 1
after a fixed number of rounds; the draw of a row comes from the realm, so that all peers hash the
same rows at the same time and a merge joins like with like.

A merge is a mean of ``x``: a vote on each bit, weighted by how sure the voters are.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.arrangement import random_order
from p2prec.embeddings.binary import BinaryRows, passed_on, signs_of
from p2prec.embeddings.table import Device, Floats, Quality, Stored

_HARD_AFTER = 3  # rounds
_REACH = 3.0  # of k x: how far out a row is moved


class GuidedHash(BinaryRows):
    """Scales and ``beta`` in the pieces."""

    name: ClassVar[str] = "hashgnn"

    def __init__(self, catalogue: Catalogue, size: int, compression: int) -> None:
        super().__init__(catalogue, size, compression)
        self.n_pieces = self.n_bits + 1
        self.draws = (random_order(catalogue, "hashgnn") / self.n_items).astype(np.float32)
        # Continuous vectors are, at the start and near zero, the rows themselves.
        self.steepness = np.float32(np.sqrt(self.n_bits))

    def initial_pieces(self) -> Floats:
        """No row is hashed yet."""
        return np.concatenate([2.0 * self.first_scales(), np.zeros(1, np.float32)])

    def piece_rates(self) -> Floats:
        """``beta`` follows the rounds."""
        rates = np.ones(self.n_pieces, np.float32)
        rates[-1] = 0.0
        return rates

    def compose(self, stored: Stored) -> tuple[Floats, Any]:
        """Codes of hashed rows, their continuous form of the others."""
        scales = stored.pieces[stored.owner, :-1]
        hashed = self.draws[stored.items] < stored.pieces[stored.owner, -1]
        z = np.tanh(self.steepness * stored.rows)
        guided = np.where(hashed[:, None], signs_of(stored.rows), z)
        return self.widened(scales * guided), (stored, scales, guided)

    def backward(self, tape: Any, by_vectors: Floats) -> tuple[Floats, Floats]:
        """As if rows were read as they are: ``tanh`` would hold fast those that are sure."""
        stored, scales, guided = tape
        by_codes = by_vectors[:, : self.n_bits]
        by_rows = passed_on(
            stored.rows, scales * self.steepness * by_codes, _REACH / self.steepness
        )
        by_pieces = np.zeros_like(stored.pieces)
        np.add.at(by_pieces[:, :-1], stored.owner, guided * by_codes)
        return by_rows, by_pieces

    def searched(self, device: Device, round_: int, quality: Quality) -> Device | None:
        """More rows are hashed."""
        del quality
        pieces = device.pieces.copy()
        pieces[-1] = min(1.0, (round_ + 1) / _HARD_AFTER)
        return Device(items=device.items, rows=device.rows, others=device.others, pieces=pieces)
