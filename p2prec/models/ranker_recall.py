"""Attention over an owner's newest visits: what counts as a similar situation is learned.

    a_hv = softmax_v(theta_h . f_v),    share_hj = sum of a_hv over the visits v to place j

``f_v`` says how visit ``v`` is like the present situation (``recall.py``); ``h`` is one of a few
heads. Each share goes into the network as a feature of place ``j``, as a logarithm, and of each
head how much the past is like the present at all, ``log mean_v exp(theta_h . f_v)``, as a feature
of the situation. What is attended to are places, not embeddings of them, as in pointer networks
(Vinyals et al., NeurIPS 2015, section 2.3), and what is given to one place is summed, as in the
attention sum reader (Kadlec et al., ACL 2016, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RECALL_HEADS = 4
_LEAST = np.float32(0.01)  # share of a place that no head looks at
_USUAL, _SPREAD = np.float32(-3.0), np.float32(1.5)  # of its logarithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """The newest visits of several situations, those of one situation together.

    Attributes:
        features: Shape ``(len(VISIT_FEATURES), n_visits)``, normalised.
        starts: Shape ``(n,)``, where those of each situation begin; each has one at least.
        of: Shape ``(n_visits,)``, the situation of each.
        place: Shape ``(n_visits,)``, its place among the known ones of all situations; empty where
            these are not asked about.
    """

    features: Floats
    starts: NDArray[np.int64]
    of: NDArray[np.int64]
    place: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What attention makes of visits.

    Attributes:
        visits: Which.
        attention: Shape ``(RECALL_HEADS, n_visits)``, sums to 1 over those of one situation.
        share: Shape ``(RECALL_HEADS, n_known)``, of each place.
        resemblance: Shape ``(RECALL_HEADS, n)``.
    """

    visits: Visits
    attention: Floats
    share: Floats
    resemblance: Floats

    @classmethod
    def of(cls, heads: Floats, visits: Visits, n_known: int) -> Recalled:
        """Look at visits with ``heads``, shape ``(len(VISIT_FEATURES), RECALL_HEADS)``."""
        attention = heads.T @ visits.features
        peak = np.maximum.reduceat(attention, visits.starts, axis=1)
        attention -= peak.take(visits.of, axis=1)
        np.exp(attention, out=attention)
        total = np.add.reduceat(attention, visits.starts, axis=1)
        attention /= total.take(visits.of, axis=1)
        lengths = np.diff(visits.starts, append=len(visits.of)).astype(np.float32)
        return cls(
            visits=visits,
            attention=attention,
            share=_by_place(attention, visits.place, n_known),
            resemblance=peak + np.log(total / lengths),
        )

    def of_places(self) -> Floats:
        """Features of known places, shape ``(RECALL_HEADS, n_known)``."""
        features: Floats = np.log(self.share + _LEAST)
        features -= _USUAL
        features /= _SPREAD
        return features

    def back(self, by_places: Floats, by_resemblance: Floats) -> Floats:
        """The derivative by the heads' weights.

        Args:
            by_places: That by ``of_places``, shape ``(RECALL_HEADS, n_known)``.
            by_resemblance: That by ``resemblance``, shape ``(RECALL_HEADS, n)``.

        Returns:
            Shape ``(len(VISIT_FEATURES), RECALL_HEADS)``.
        """
        visits, by_logit = self.visits, by_resemblance.take(self.visits.of, axis=1)
        if len(visits.place):
            by_visit = (by_places / (_SPREAD * (self.share + _LEAST))).take(visits.place, axis=1)
            mean = np.add.reduceat(self.attention * by_visit, visits.starts, axis=1)
            by_logit += by_visit - mean.take(visits.of, axis=1)
        by_logit *= self.attention
        by_heads: Floats = visits.features @ by_logit.T
        return by_heads


def _by_place(attention: Floats, place: NDArray[np.int64], n_known: int) -> Floats:
    if not len(place):
        return np.empty((len(attention), 0), np.float32)
    shares = [np.bincount(place, head, n_known) for head in attention]
    return np.stack(shares).astype(np.float32)
