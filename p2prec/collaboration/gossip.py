"""Gossip averaging of model parameters.

``epidemic``: the mean of the own model and of all that came, each with the same weight (Epidemic
Learning, EL-Local: De Vos et al., NeurIPS 2023, algorithm 1).
``metropolis_hastings``: ``w_ij = 1 / (1 + max(deg_i, deg_j))`` and the rest for the own model
(Xiao & Boyd, 2004), which keeps the mean over a network with two-way links.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from p2prec.collaboration.averaging import Average, average_together
from p2prec.collaboration.method import Listener, Options, Sends, Speaker, read_options
from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.collaboration.updates import make_updates, newest_updates
from p2prec.models.explored import Explored
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport


class Epidemic:
    """Equal weights for all models in sight.

    Attributes:
        degree: Followers of the peer, when it last spoke.
        max_rows: Of an update.
        dilution: As of ``Average``.
    """

    __slots__ = ("degree", "dilution", "max_rows")
    teaches = False
    sends: Sends = "parameters"

    def __init__(self, options: Options) -> None:
        read = read_options(options, {"max_rows": 512.0, "dilution": 0.5})
        self.max_rows, self.dilution = int(read["max_rows"]), read["dilution"]
        self.degree = 1

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Known rows and dense parameters."""
        for method, speaker in zip(methods, speakers, strict=True):
            method.degree = speaker.degree
        updates = make_updates(speakers, max_rows=[method.max_rows for method in methods])
        return [(update,) for update in updates]

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Weighted mean of own and received models."""
        averages, reports = [], []
        for method, listener in zip(methods, listeners, strict=True):
            updates, rejected = newest_updates(listener.knowledge, listener.received)
            weights = {s: method.weight(u, len(updates)) for s, u in updates.items()}
            averages.append(
                Average(
                    knowledge=listener.knowledge,
                    updates=list(updates.values()),
                    weights=list(weights.values()),
                    own_weight=1.0 - sum(weights.values()),
                    dilution=method.dilution,
                )
            )
            reports.append(MergeReport(weights=weights, rejected=rejected))
        average_together(averages)
        return reports

    def lessons(self, knowledge: Knowledge, *, rng: np.random.Generator) -> Sequence[Explored]:
        """None."""
        del knowledge, rng
        return ()

    def weight(self, update: ModelUpdate, n: int) -> float:
        """Mixing weight of one of ``n`` updates."""
        del update
        return 1.0 / (n + 1)


class MetropolisHastings(Epidemic):
    """Weights from the degrees of both ends of a link."""

    __slots__ = ()

    def weight(self, update: ModelUpdate, n: int) -> float:
        """By the larger degree."""
        # A sender that understates its degree must not gain weight beyond an equal share.
        return 1.0 / (1 + max(self.degree, update.degree, n))
