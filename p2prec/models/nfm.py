"""Neural factorisation machine over any item table.

    taste = sum_f w_f + o . relu(A B + a),     B = sum_(a < b) x_a * x_b

over the fields user, item and context (``p2prec.models.bi_interaction``). He & Chua, SIGIR 2017,
equation 9 with one hidden layer. Ours: the layer has two units an element and starts as ``A = [1,
-1]``, ``o = [1, -1]``, so that the model starts as the factorisation machine of these fields, in
all peers alike: a few hundred steps on a device do not find that from random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from p2prec.models.bi_interaction import FieldModel
from p2prec.models.layers import rectified, times, times_back
from p2prec.models.moments import Moment
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts, by_peer

_NOISE = 0.05  # units of one kind are not to stay mirror images of each other


class NeuralFactorisationMachine(FieldModel):
    """A small network over what is common to user, item and context, two by two."""

    family = "nfm"

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """Of the fields, and of the layers."""
        more = {"A": (2 * size, size), "a": (2 * size,), "o": (2 * size,)}
        return {**super().shapes(size), **more}

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """As a factorisation machine."""
        own, size = super().initial_own(rng), self.size
        signs = np.repeat(np.array([1, -1], np.float32), size)
        first = self.own_layout.view(own, "A")
        first[...] = _NOISE * rng.standard_normal(first.shape) / np.sqrt(size)
        first += np.tile(np.eye(size, dtype=np.float32), (2, 1)) * signs[:, None]
        self.own_layout.view(own, "o")[...] = signs
        return own

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """The layer over all interactions."""
        pooled, owner = self.pooled(batch), batch.owner
        weights = self.own_layout.views(batch.dense, "A")
        bias = self.own_layout.views(batch.dense, "a")[owner]
        hidden = rectified(times(pooled.interactions, weights, owner) + bias[:, None])
        out = self.own_layout.views(batch.dense, "o")[owner]
        return np.einsum("nkd,nd->nk", hidden, out) + pooled.linear, (pooled, hidden)

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Back through the layer."""
        (pooled, hidden), owner, n_peers = tape, batch.owner, len(batch.dense)
        out = self.own_layout.views(batch.dense, "o")[owner]
        by_hidden = errors[:, :, None] * out[:, None] * (hidden > 0)
        weights = self.own_layout.views(batch.dense, "A")
        by_interactions, by_weights = times_back(pooled.interactions, weights, owner, by_hidden)
        vectors, user, dense = self.pooled_back(batch, pooled, errors, by_interactions)
        by_out = by_peer(owner, np.einsum("nk,nkd->nd", errors, hidden), n_peers)
        dense[:, self.own_layout.part("A")] = by_weights.reshape(n_peers, -1)
        dense[:, self.own_layout.part("a")] = by_peer(owner, by_hidden.sum(1), n_peers)
        dense[:, self.own_layout.part("o")] = by_out
        return Parts(vectors=vectors, user=user, dense=dense)

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """The layer, block by block."""
        dense, found = asked.dense[0], np.empty(n, np.float32)
        weights, bias, out = (self.own_layout.view(dense, name) for name in ("A", "a", "o"))
        for items, interactions, linear in self.all_pooled(asked, source, moment):
            hidden = interactions @ weights.T
            hidden += bias
            np.maximum(hidden, np.float32(0.0), out=hidden)
            found[items] = hidden @ out + linear
        return found
