"""Gossip averaging of model parameters.

``epidemic``: the mean of the own model and of all that came, each with the same weight (Epidemic
Learning, EL-Local: De Vos et al., NeurIPS 2023, algorithm 1).
``metropolis_hastings``: ``w_ij = 1 / (1 + max(deg_i, deg_j))`` and the rest for the own model
(Xiao & Boyd, 2004), which keeps the mean over a network with two-way links.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2prec.collaboration.method import Options, Shown, read_options
from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.updates import average_into, make_update, newest_updates
from p2prec.models.explored import Explored
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport, Received


class Epidemic:
    """Equal weights for all models in sight."""

    def __init__(self, options: Options) -> None:
        read = read_options(options, {"max_rows": 512.0, "dilution": 0.5})
        self._max_rows, self._dilution = int(read["max_rows"]), read["dilution"]
        self._degree = 1

    def publish(
        self,
        knowledge: Knowledge,
        *,
        round_: int,
        degree: int,
        shown: Shown,
        rng: np.random.Generator,
    ) -> Sequence[Payload]:
        """Known rows and dense parameters."""
        self._degree = degree
        del shown  # rows are protected when the whole update is
        return (
            make_update(knowledge, round_=round_, degree=degree, max_rows=self._max_rows, rng=rng),
        )

    def merge(
        self, knowledge: Knowledge, *, round_: int, received: Sequence[Received]
    ) -> MergeReport:
        """Weighted mean of own and received models."""
        del round_
        updates, rejected = newest_updates(knowledge, received)
        weights = {sender: self._weight(u, len(updates)) for sender, u in updates.items()}
        own = 1.0 - sum(weights.values())
        average_into(knowledge, updates, weights, own_weight=own, dilution=self._dilution)
        return MergeReport(weights=weights, rejected=rejected)

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """None."""
        del knowledge, rng
        return ()

    def _weight(self, update: ModelUpdate, n: int) -> float:
        del update
        return 1.0 / (n + 1)


class MetropolisHastings(Epidemic):
    """Weights from the degrees of both ends of a link."""

    def _weight(self, update: ModelUpdate, n: int) -> float:
        # A sender that understates its degree must not gain weight beyond an equal share.
        return 1.0 / (1 + max(self._degree, update.degree, n))
