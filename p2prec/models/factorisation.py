"""Matrix factorisation over any item table: ``taste = <p_u, v_i>``.

Koren, Bell & Volinsky (IEEE Computer, 2009). Over a full table it is ``p2prec.models.mf``, which
computes the same in fewer steps; tests hold them together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from p2prec.models.embedded import EmbeddedModel
from p2prec.models.moments import Moment
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts


class Factorisation(EmbeddedModel):
    """The product of the user's vector with the item's."""

    family = "mf"

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Products."""
        return np.einsum("nd,nkd->nk", batch.user, batch.vectors), None

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Linear in each factor."""
        del tape
        return Parts(
            vectors=errors[:, :, None] * batch.user[:, None, :],
            user=np.einsum("nk,nkd->nd", errors, batch.vectors),
            dense=np.zeros_like(batch.dense),
        )

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """One product for all."""
        del moment, n
        return source.dots(asked.user[0])
