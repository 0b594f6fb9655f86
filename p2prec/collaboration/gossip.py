"""Gossip averaging of model parameters.

``epidemic``: the mean of the own model and of all that came, each with the same weight (Epidemic
Learning, EL-Local: De Vos et al., NeurIPS 2023, algorithm 1).
``metropolis_hastings``: ``w_ij = 1 / (1 + max(deg_i, deg_j))`` and the rest for the own model
(Xiao & Boyd, 2004), which keeps the mean over a network with two-way links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from p2prec.collaboration.method import Listener, Options, Speaker
from p2prec.collaboration.parameters import Mix, ParameterMethod
from p2prec.collaboration.payload import ModelUpdate, Payload


class Epidemic(ParameterMethod):
    """Equal weights for all models in sight."""

    __slots__ = ()


class MetropolisHastings(ParameterMethod):
    """Weights from the degrees of both ends of a link.

    Attributes:
        degree: Followers of the peer, when it last spoke.
    """

    __slots__ = ("degree",)

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.degree = 1

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """Known rows and dense parameters."""
        for method, speaker in zip(methods, speakers, strict=True):
            method.degree = speaker.degree
        return super().publish_together(methods, speakers)

    def mix(self, listener: Listener, updates: Mapping[str, ModelUpdate]) -> Mix:
        """By the larger degree; the rest is the own model's."""
        del listener
        # A sender that understates its degree must not gain weight beyond an equal share.
        weights = {
            sender: 1.0 / (1 + max(self.degree, update.degree, len(updates)))
            for sender, update in updates.items()
        }
        return Mix(weights=weights, own=1.0 - sum(weights.values()))
