"""PEPPER: gossip averaging weighted by how well each model does on the own data.

Belal et al., *PEPPER: Empowering User-Centric Recommender Systems over Gossip Learning*, IMWUT 2022
(arXiv 2208.05320): a peer tries every model that comes on its own validation data, and merges by
performance,

    p_j      HR@20 x NDCG@20 of model j on the own newest interactions
    theta_i  <- (p_i theta_i + sum_j p_j theta_j) / (p_i + sum_j p_j)

and by the plain mean where it has fewer than two interactions to try, or where all fail. Ours: all
models of a round are merged at once, and the interactions that are tried are the newest of the
history, which the own model was trained on as well, since a peer cannot spare any; it is favoured
by that. PEPPER's choice of neighbours by past performance is not made here: whom with is another
axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Amount, Amounts, Listener
from p2prec.collaboration.parameters import AVERAGING, Mix, ParameterMethod
from p2prec.collaboration.payload import ModelUpdate
from p2prec.evaluation.metrics import hit_rate_at_k, ndcg_at_k, rank_of
from p2prec.models.model import Parameters
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Knowledge

_AMOUNTS: Final[Amounts] = {**AVERAGING, "validation": Amount(8.0, least=0, most=1_000)}
_CUT = 20
_FEWEST = 2  # interactions without which there is nothing to compare


class Pepper(ParameterMethod):
    """Mixing weights by performance on the own newest interactions."""

    __slots__ = ()
    amounts: ClassVar[Amounts] = _AMOUNTS

    def mix(self, listener: Listener, updates: Mapping[str, ModelUpdate]) -> Mix:
        """Try each model, then average by what it is worth."""
        knowledge = listener.knowledge
        n = len(knowledge.timeline)
        first = max(1, knowledge.model.first, n - int(self.options["validation"]))
        at = np.arange(first, n)
        if len(at) < _FEWEST:
            return Mix.equal(updates)
        own = knowledge.parameters()
        worth = np.array(
            [
                _worth(knowledge, own, at),
                *(_worth(knowledge, _as_sent(knowledge, own, u), at) for u in updates.values()),
            ]
        )
        if not worth.any():
            return Mix.equal(updates)
        worth /= worth.sum()
        weights = dict(zip(updates, map(float, worth[1:]), strict=True))
        return Mix(weights=weights, own=float(worth[0]))


def _worth(knowledge: Knowledge, parameters: Parameters, at: NDArray[np.int64]) -> float:
    """HR@20 x NDCG@20 on these interactions."""
    observe, timeline = knowledge.model.observer(), knowledge.timeline
    ranks = np.array(
        [
            rank_of(observe(parameters, timeline.before(i)).scores(), int(timeline.item[i]))
            for i in at.tolist()
        ]
    )
    return hit_rate_at_k(ranks, _CUT) * ndcg_at_k(ranks, _CUT)


def _as_sent(knowledge: Knowledge, own: Parameters, update: ModelUpdate) -> Parameters:
    """The sender's model with what is this owner's alone: private parameters and own bents."""
    model = knowledge.model
    table = knowledge.table.initial.copy()
    table[update.rows] = update.values
    dense = (model.own_bent * own.dense + (1.0 - model.own_bent) * update.dense).astype(np.float32)
    # Counts and shares, whatever a stranger says, as where they are averaged.
    table[:, OTHERS] = np.clip(table[:, OTHERS], 0.0, 1.0)
    dense[model.statistics] = np.maximum(dense[model.statistics], 0.0)
    return Parameters(table=table, dense=dense, private=own.private)
