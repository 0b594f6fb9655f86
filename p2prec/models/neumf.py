"""NeuMF over any item table: a product and a small network, each on one half of the vectors.

    taste = h . (p_g * q_g)  +  o . relu(B relu(A [p_m, q_m] + a) + b)

He, Liao, Zhang, Nie, Hu & Chua, WWW 2017 (neural collaborative filtering), section 3.4: GMF and an
MLP with embeddings of their own, joined by the last layer. ``p = [p_g, p_m]`` is the user's private
vector, ``q = [q_g, q_m]`` the item's. ``h, A, a, B, b, o`` are shared dense parameters. Ours: all
peers of a realm start from the same network, so that the mean of several is a network near all of
them; ``h`` starts at one, as plain factorisation, and ``o`` small. What the paper adds to the
network beyond one tower of two layers is left out: a device has a hundred examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from p2prec.models.embedded import EmbeddedModel
from p2prec.models.layers import he, rectified, times, times_back
from p2prec.models.moments import Moment
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts, by_peer

_SMALL = 0.1


class NeuMF(EmbeddedModel):
    """A product of halves of the vectors, and a small network over the other halves."""

    family = "neumf"
    own_rate = 0.3  # a network that runs ahead of the vectors is of no use to them

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """The last layer, and the tower; its first layer in two parts, for users and items."""
        half = size // 2
        return {
            "h": (half,),
            "A_user": (size, half),
            "A_item": (size, half),
            "a": (size,),
            "B": (half, size),
            "b": (half,),
            "o": (half,),
        }

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """He's start for layers before a rectifier."""
        own = np.zeros(self.own_layout.size, np.float32)
        half = self.size // 2
        first = he(rng, self.size, self.size)
        for name, values in (
            ("h", np.ones(half, np.float32)),
            ("A_user", first[:, :half]),
            ("A_item", first[:, half:]),
            ("B", he(rng, half, self.size)),
            ("o", _SMALL * rng.standard_normal(half).astype(np.float32)),
        ):
            self.own_layout.view(own, name)[...] = values
        return own

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Both towers."""
        half, owner = self.size // 2, batch.owner
        weights = {
            name: self.own_layout.views(batch.dense, name) for name in self.shapes(self.size)
        }
        one, other = batch.user[:, :half], batch.user[:, half:, None]
        item = np.ascontiguousarray(batch.vectors[:, :, half:])
        product = np.einsum("nd,nkd->nk", weights["h"][owner] * one, batch.vectors[:, :, :half])
        from_user = np.matmul(weights["A_user"][owner], other)[:, :, 0] + weights["a"][owner]
        first = rectified(times(item, weights["A_item"], owner) + from_user[:, None])
        second = rectified(times(first, weights["B"], owner) + weights["b"][owner][:, None])
        tower = np.einsum("nd,nkd->nk", weights["o"][owner], second)
        return product + tower, (weights, item, first, second)

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Backwards through both."""
        weights, item, first, second = tape
        half, owner, n_peers = self.size // 2, batch.owner, len(batch.dense)
        one, other = batch.user[:, :half], batch.user[:, half:]
        by_dense = np.zeros_like(batch.dense)

        def add(name: str, gradient: Floats) -> None:
            by_dense[:, self.own_layout.part(name)] += gradient.reshape(n_peers, -1)

        weighted = np.einsum("nk,nkd->nd", errors, batch.vectors[:, :, :half])
        add("h", by_peer(owner, one * weighted, n_peers))
        add("o", by_peer(owner, np.einsum("nk,nkd->nd", errors, second), n_peers))
        by_second = errors[:, :, None] * weights["o"][owner][:, None] * (second > 0)
        add("b", by_peer(owner, by_second.sum(1), n_peers))
        by_first, by_weights = times_back(first, weights["B"], owner, by_second)
        add("B", by_weights)
        by_first *= first > 0
        by_item, by_weights = times_back(item, weights["A_item"], owner, by_first)
        add("A_item", by_weights)
        summed = by_first.sum(1)
        add("a", by_peer(owner, summed, n_peers))
        add("A_user", by_peer(owner, summed[:, :, None] * other[:, None], n_peers))
        h = weights["h"][owner]
        by_other = np.matmul(summed[:, None], weights["A_user"][owner])[:, 0]
        return Parts(
            vectors=np.concatenate([errors[:, :, None] * (h * one)[:, None], by_item], axis=2),
            user=np.concatenate([h * weighted, by_other], axis=1),
            dense=by_dense,
        )

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """Both towers, block by block; the user's part once."""
        del moment
        half, dense, found = self.size // 2, asked.dense[0], np.empty(n, np.float32)
        weights = {name: self.own_layout.view(dense, name) for name in self.shapes(self.size)}
        product = weights["h"] * asked.user[0, :half]
        base = weights["A_user"] @ asked.user[0, half:] + weights["a"]
        for items, vectors in source.in_blocks():
            first = vectors[:, half:] @ weights["A_item"].T
            first += base
            np.maximum(first, np.float32(0.0), out=first)
            second = first @ weights["B"].T
            second += weights["b"]
            np.maximum(second, np.float32(0.0), out=second)
            found[items] = vectors[:, :half] @ product + second @ weights["o"]
        return found
