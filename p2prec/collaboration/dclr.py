"""DCLR: attentive aggregation of neighbours' updates, and mutual-information maximisation.

In the manner of Long et al., *Decentralized Collaborative Learning Framework for Next POI
Recommendation*, TOIS 2023 (arXiv 2204.06516). The paper's equations and code are not public; the
formulas used here are ours:

    a_ij = softmax_j((max(geo_ij, sem_ij) + cos(h_i, h_j)) / tau),   with the own model among the j
           at logit (1 + 1) / tau + self_bias
    theta_i <- a_ii theta_i + sum_j a_ij theta_j
    L_MI = -mean_x log softmax_y(<e_i(x), m_i(y)> / tau_mi)[x]

``h`` is the change of the rows that both peers know, flattened, or of the network where a model has
no embeddings; ``geo`` and ``sem`` are the similarities by which neighbours were chosen; ``m_i`` is
the attention-weighted mean of the neighbours' rows. ``L_MI`` (InfoNCE) keeps the own view of a
place recognisable to its neighbours; one gradient step of it is taken at every merge. There is none
without embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.method import Amount, Amounts, Listener
from p2prec.collaboration.parameters import AVERAGING, Mix, ParameterMethod
from p2prec.collaboration.payload import ModelUpdate
from p2prec.models.model import Model
from p2prec.models.stack import Stack
from p2prec.models.table import OTHERS
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import Received

_AMOUNTS: Final[Amounts] = {
    **AVERAGING,
    "temperature": Amount(1.0, least=0.01, most=1_000),
    "self_bias": Amount(0.0, least=-100, most=100),
    "mutual_information": Amount(0.02, least=0, most=1),
    "mi_temperature": Amount(0.5, least=0.01, most=1_000),
    "uniform": Amount(0.0, least=0, most=1),  # 1 switches attention off: the ablation
}
_MI_ROWS = 256  # places compared in one step; 256 x 256 similarities


class DCLR(ParameterMethod):
    """Attentive aggregation with mutual-information maximisation."""

    __slots__ = ()
    amounts: ClassVar[Amounts] = _AMOUNTS

    def mix(self, listener: Listener, updates: Mapping[str, ModelUpdate]) -> Mix:
        """Aggregate by attention, then one step of mutual-information maximisation."""
        knowledge = listener.knowledge
        stack = Stack(knowledge.table.shelf, np.array([knowledge.table.seat]))
        weights, own = self.attention(knowledge.model, stack, updates, listener.received)
        if not (self.options["mutual_information"] > 0 and _embeds(knowledge.model)):
            return Mix(weights=weights, own=own)
        rows, view = _mean_view(stack, updates, weights)  # of what was known before the mean
        if len(rows) <= 1:
            return Mix(weights=weights, own=own)
        step = partial(self.maximise_information, knowledge, rows, view)
        return Mix(weights=weights, own=own, then=step)

    def attention(
        self,
        model: Model,
        stack: Stack,
        updates: Mapping[str, ModelUpdate],
        received: Sequence[Received],
    ) -> tuple[dict[str, float], float]:
        """Weight of each sender, and the own one.

        Args:
            model: Of all.
            stack: Of the listener alone.
            updates: By sender, at least one.
            received: What they came in.
        """
        if self.options["uniform"] > 0:
            equal = Mix.equal(updates)
            return equal.weights, equal.own
        near = {r.sender: max(r.geographic, r.semantic) for r in received}
        agreement = _agreement if _embeds(model) else partial(_agreement_of_networks, model)
        logits = [near[s] + agreement(stack, u) for s, u in updates.items()]
        everything = np.array([2.0, *logits]) / self.options["temperature"]
        everything[0] += self.options["self_bias"]
        shares = np.exp(everything - everything.max())
        shares /= shares.sum()
        return dict(zip(updates, map(float, shares[1:]), strict=True)), float(shares[0])

    def maximise_information(
        self, knowledge: Knowledge, rows: NDArray[np.int64], views: NDArray[np.float32]
    ) -> None:
        """One gradient step of L_MI on the own rows; gradient written by hand."""
        slots = knowledge.table.touch(rows)
        own = knowledge.table.values[slots, :OTHERS]
        logits = own @ views.T / self.options["mi_temperature"]
        logits -= logits.max(1, keepdims=True)
        share = np.exp(logits)
        share /= share.sum(1, keepdims=True)
        share[np.arange(len(rows)), np.arange(len(rows))] -= 1.0
        gradient = share @ views / self.options["mi_temperature"]
        knowledge.table.values[slots, :OTHERS] -= self.options["mutual_information"] * gradient


def _agreement(stack: Stack, update: ModelUpdate) -> float:
    """Cosine of the changes of the rows that both know, 0 where there is none.

    Args:
        stack: Of the listener alone.
        update: Of its model.
    """
    rows = update.rows.astype(np.int64)
    at, common = _known(stack, rows)
    if not common.any():
        return 0.0
    initial = stack.shelf.initial.take(rows[common], axis=0)
    mine = (stack.shelf.rows_at(stack.slots.take(at)) - initial).ravel()
    theirs = (update.values[common] - initial).ravel()
    return _cosine(mine, theirs)


def _agreement_of_networks(model: Model, stack: Stack, update: ModelUpdate) -> float:
    """Cosine of the changes of the dense parameters, statistics left out.

    Args:
        model: Of both.
        stack: Of the listener alone.
        update: Of its model.
    """
    initial = model.initial_dense()
    mine, theirs = stack.dense[0] - initial, update.dense - initial
    mine[model.statistics] = 0.0
    return _cosine(mine, theirs)


def _embeds(model: Model) -> bool:
    """Whether the rows of a model hold more than popularity and bias."""
    return model.width + OTHERS > 0


def _cosine(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    length = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return float(mine @ theirs) / length if length > 0 else 0.0


def _mean_view(
    stack: Stack, updates: Mapping[str, ModelUpdate], weights: Mapping[str, float]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows known here and to neighbours, and the neighbours' weighted mean of each.

    Args:
        stack: Of the listener alone.
        updates: By sender.
        weights: By sender.
    """
    rows = np.unique(np.concatenate([u.rows for u in updates.values()])).astype(np.int64)
    at, known = _known(stack, rows)
    own = stack.shelf.evidence.take(stack.slots.take(at))
    first = np.argsort(-own, kind="stable")[:_MI_ROWS]
    best = rows[known][first]
    place = np.full(len(stack.keys), -1, np.int32)  # among the best, by position
    place[at[first]] = np.arange(len(best))
    total = np.zeros((len(best), stack.shelf.initial.shape[1] + OTHERS), np.float32)
    mass = np.zeros(len(best), np.float32)
    for sender, update in updates.items():
        held, used = stack.locate(update.rows.astype(np.int64))
        used[used] = place.take(held[used]) >= 0
        to = place.take(held[used])
        total[to] += weights[sender] * update.values[used, :OTHERS]
        mass[to] += weights[sender]
    total /= np.maximum(mass, np.float32(1e-9))[:, None]
    return best, total


def _known(stack: Stack, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positions of those rows that the listener has evidence of, and which of the rows they are."""
    at, known = stack.locate(rows)
    known[known] = stack.shelf.evidence.take(stack.slots.take(at[known])) > 0
    return at[known], known
