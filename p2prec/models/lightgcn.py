"""LightGCN over any item table, on the part of the graph that a device sees.

    e_u = 1 / (K + 1)  sum_(k = 0..K)  u^(k)
    u^(k+1) = sum_(i in N) i^(k) / sqrt(|N| d_i),     i^(k+1) = u^(k) / sqrt(|N| d_i)
    taste = s <e_u, v_j>

He, Deng, Wang, Li, Zhang & Wang, SIGIR 2020, section 3.1: embeddings pass along the edges of the
graph of users and items, normalised by both degrees, nothing else; the mean of the layers is
multiplied. The whole graph is nobody's here. What stands in its place, all of it ours:

* The graph is the owner's *ego graph*: the owner and the newest 32 items that came before (a
  bounded sample of neighbours, as Hamilton, Ying & Leskovec, NeurIPS 2017, take). The item that is
  to be found is not among them, so that no edge gives the answer away.
* Degrees of items: ``d_i = 1 + share_i / 0.03``, from the share of others that knows the item,
  which gossip counts: as many as know it of 33 people, and the owner.
* What other users' vectors would bring to an item never comes, since they are private. Their part
  is in the item's own vector ``v_j``: every owner moves it along that owner's ``e_u``, and gossip
  averages over all who know the item. A candidate is looked at without edges, known or not.

With one user in the graph the layers are closed: with ``t = sum_(i in N) 1 / (|N| d_i)``,
``u^(2) = t u^(0)`` and ``u^(3) = t u^(1)``, so that ``e_u = (1 + t) / 4 (p_u + sum_i v_i /
sqrt(|N| d_i))`` at K = 3. ``s`` is learned: a device's degrees are small, and a product of means
would be too. A sequence of a stranger has no ``p_u``, which counts as zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from p2prec.models.embedded import EmbeddedModel
from p2prec.models.moments import Moment
from p2prec.models.popularity import RARE
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts, by_peer

_LAYERS = 3  # K
_SCALE = 8.0  # of s: takes the mean over the layers back, and more since degrees are small


class LightGCN(EmbeddedModel):
    """Vectors that pass along the edges between the owner and the recent items."""

    family = "lightgcn"
    reads_past = True

    def user_size(self, size: int) -> int:
        """A user has a vector beside the recent items."""
        return size

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """The scale."""
        del size
        return {"scale": (1,)}

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """Of the order of the number of layers."""
        del rng
        return np.full(1, _SCALE, np.float32)

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Products with what has come along the edges."""
        passed, gain = self._passed(batch)
        user = gain[:, None] * (batch.user + passed)
        scaled = batch.dense[batch.owner] * user
        return np.einsum("nd,nkd->nk", scaled, batch.vectors), (user, gain)

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Back along the edges."""
        user, gain = tape
        scale = batch.dense[batch.owner]
        by_scaled = np.einsum("nk,nkd->nd", errors, batch.vectors)
        by_user = gain[:, None] * scale * by_scaled
        by_scale = (by_scaled * user).sum(1, keepdims=True)
        return Parts(
            vectors=errors[:, :, None] * (scale * user)[:, None],
            user=by_user,
            dense=by_peer(batch.owner, by_scale, len(batch.dense)),
            past=_edges(batch)[:, :, None] * by_user[:, None],
        )

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """One product for all."""
        del moment, n
        passed, gain = self._passed(asked)
        return source.dots(asked.dense[0] * gain[0] * (asked.user + passed)[0])

    def _passed(self, batch: Batch) -> tuple[Floats, Floats]:
        """``u^(1)``, shape ``(n, size)``, and what the mean of all layers multiplies it with."""
        edges = _edges(batch)
        # u^(k) alternate between p_u and u^(1), each two layers times t.
        gain = np.float32(1.0 / (_LAYERS + 1)) * (1.0 + np.square(edges).sum(1))
        return np.einsum("nl,nld->nd", edges, batch.past), gain.astype(np.float32)


def _edges(batch: Batch) -> Floats:
    """``1 / sqrt(|N| d_i)`` of each recent item, 0 where there is none; shape ``(n, length)``."""
    degrees = np.maximum(batch.held.sum(1, keepdims=True), 1) * (
        1.0 + batch.shares / np.float32(RARE)
    )
    edges: Floats = (batch.held / np.sqrt(degrees)).astype(np.float32)
    return edges
