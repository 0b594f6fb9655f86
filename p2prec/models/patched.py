"""Matrix factorisation with a patch that is the owner's own (MetaPatch of DCCL).

    taste = <p_u, f(v_i)>,    f(v) = v + B(theta_u) relu(A v),    B(theta) = sum_k theta_k G_k

Yao et al., KDD 2021 (DCCL), section 3.1: on each device a small residual
adapter is put into a shared backbone; a few private numbers ``theta`` generate its weights from a
shared basis. That its weights are linear in ``theta`` is known from notes on the paper only, as is
the rest of the form.

Ours: the backbone is the embedding table, full or compact; it, ``A`` and ``G`` are learned on all
devices and averaged by gossip, where the paper's server learns them. ``theta`` and ``p_u`` are
private: no payload is made of them, and whoever asks about a sequence that is not the owner's
gets the backbone's answer. At the start ``theta`` is zero and the patch does nothing. The paper's
second half, MoMoDistill, is the distillation of neighbours' soft decisions: the collaboration
method ``mac`` does it for any family, this one too. Proxy patches for newcomers need a server, and
are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from p2prec.models.embedded import EmbeddedModel
from p2prec.models.moments import Moment
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts

_PRIVATE = 4  # length of theta
_INNER = 8  # rows of A


class PatchedFactorisation(EmbeddedModel):
    """The private vector is the user's own and then theta."""

    family = "metapatch"

    def user_size(self, size: int) -> int:
        """``p_u`` and ``theta``."""
        return size + _PRIVATE

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """``A`` and ``G``."""
        return {"inward": (_INNER, size), "basis": (_PRIVATE, size, _INNER)}

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """So that a ``theta`` of length one changes a vector by about its own length."""
        inward = rng.normal(0.0, (2.0 / _INNER) ** 0.5, (_INNER, self.size))
        basis = rng.normal(0.0, 1.0 / np.sqrt(self.size), (_PRIVATE, self.size, _INNER))
        return np.concatenate([inward.ravel(), basis.ravel()]).astype(np.float32)

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """The product with the vector, and with what the patch adds to it."""
        user, theta = self._split(batch.user)
        taste: Floats = np.einsum("nd,nkd->nk", user, batch.vectors)
        if theta is None:
            return taste, None
        inward, basis = self._own(batch)
        reached = np.einsum("nkd,nhd->nkh", batch.vectors, inward)
        asked = np.einsum("nd,npdh->nph", user, basis)  # what the user asks of each part of G
        wanted = np.einsum("np,nph->nh", theta, asked)
        taste += np.einsum("nkh,nh->nk", np.maximum(reached, 0.0), wanted)
        return taste, (inward, basis, reached, asked, wanted)

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """By hand, from the end to the start."""
        user, theta = self._split(batch.user)
        by_vectors = errors[:, :, None] * user[:, None, :]
        by_user = np.einsum("nk,nkd->nd", errors, batch.vectors)
        by_dense = np.zeros_like(batch.dense)
        if theta is None:
            return Parts(vectors=by_vectors, user=by_user, dense=by_dense)
        inward, basis, reached, asked, wanted = tape
        by_wanted = np.einsum("nk,nkh->nh", errors, np.maximum(reached, 0.0))
        by_reached = errors[:, :, None] * wanted[:, None, :] * (reached > 0)
        by_vectors += np.einsum("nkh,nhd->nkd", by_reached, inward)
        by_theta = np.einsum("nh,nph->np", by_wanted, asked)
        by_asked = theta[:, :, None] * by_wanted[:, None, :]
        by_user += np.einsum("nph,npdh->nd", by_asked, basis)
        by_inward = np.einsum("nkh,nkd->nhd", by_reached, batch.vectors)
        by_basis = np.einsum("nd,nph->npdh", user, by_asked)
        by_own = np.hstack([by_inward.reshape(len(user), -1), by_basis.reshape(len(user), -1)])
        np.add.at(by_dense, batch.owner, by_own)
        return Parts(vectors=by_vectors, user=np.hstack([by_user, by_theta]), dense=by_dense)

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """Block by block; what the user wants of the patch once."""
        del moment
        user, theta = self._split(asked.user)
        if theta is None:
            return source.dots(user[0])
        inward, basis = (part[0] for part in self._own(asked))
        wanted = theta[0] @ np.einsum("d,pdh->ph", user[0], basis)
        found = np.empty(n, np.float32)
        for items, vectors in source.in_blocks():
            reached = vectors @ inward.T
            np.maximum(reached, np.float32(0.0), out=reached)
            found[items] = vectors @ user[0] + reached @ wanted
        return found

    def _split(self, user: Floats) -> tuple[Floats, Floats | None]:
        """``p_u`` and ``theta``; a folded-in user, who is not the owner, has none."""
        return user[:, : self.size], user[:, self.size :] if user.shape[1] > self.size else None

    def _own(self, batch: Batch) -> tuple[Floats, Floats]:
        """``A`` and ``G`` of the owner of each situation."""
        dense = batch.dense[batch.owner]
        inward, basis = (
            dense[:, self.own_layout.part(name)].reshape(len(dense), *shape)
            for name, shape in self.shapes(self.size).items()
        )
        return inward, basis
