"""Factorisation machine over any item table.

    taste = sum_f w_f + sum_(a < b) <x_a, x_b>

over the fields user, item and context (``p2prec.models.bi_interaction``). Rendle, ICDM 2010,
equation 1; the linear terms of user and item are ``b_u`` and ``b_i``. Without context it is matrix
factorisation. Ours: the user's vector is private, those of classes of the context are shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from p2prec.models.bi_interaction import FieldModel
from p2prec.models.moments import Moment
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch, Parts


class FactorisationMachine(FieldModel):
    """Products of user, item, hour, weekday, distance and categories, two by two."""

    family = "fm"

    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Summed elements of the interactions."""
        pooled = self.pooled(batch)
        return pooled.interactions.sum(2) + pooled.linear, pooled

    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """The same of each element."""
        each = np.broadcast_to(errors[:, :, None], batch.vectors.shape)
        vectors, user, dense = self.pooled_back(batch, tape, errors, each)
        return Parts(vectors=vectors, user=user, dense=dense)

    def tastes(self, asked: Batch, source: Vectors, moment: Moment | None, n: int) -> Floats:
        """By combinations of classes."""
        found = np.empty(n, np.float32)
        for items, interactions, linear in self.all_pooled(asked, source, moment):
            found[items] = interactions.sum(1) + linear
        return found
