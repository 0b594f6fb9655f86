"""Next-place recommendation: repeat or explore, with spatio-temporal attention.

A mixture in the form of RepeatNet (Ren et al., AAAI 2019, section 3): a gate decides between a
*repeat* decoder over the places the owner knows and an *explore* decoder over all others,

    P(j) = (1 - g) softmax_own(w . returning_j)[j]      for a known place j
    P(j) = g softmax_new(x_j)[j]                        for a place new to the owner.

The explore decoder attends over the recent sequence, one candidate at a time, with additive
interval biases, as the attention matching layer of STAN (Luo, Liu, Liu, WWW 2021, section 4.4):

    x_j = v . explore_j + b_j + s sum_l a_jl <e_j, e_l>
    a_jl = softmax_l(<e_j, e_l> + u_gap log(hours_l) - u_dist log(km_jl))

Three of the explore features rest on what others do: the share of them that knows a place, and the
categories and hours of their first visits. These are statistics that peers average by gossip; they
are not trained. What differs from the papers: one attention
layer instead of STAN's two (a device has a hundred check-ins, not a million), a linear repeat
decoder over features of the
owner's own history, and hand-set initial weights, equal in all peers. The loss is the negative
log-likelihood of the mixture; the explore softmax is over the target and sampled places (with one
sampled place it is the BPR loss, Rendle et al., UAI 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.table import ItemTable
from p2prec.models.explored import Together
from p2prec.models.kinds import KINDS_OF_OTHERS, Kinds, Usual, tried_shares
from p2prec.models.layout import DenseLayout
from p2prec.models.moments import (
    GATE_FEATURES,
    HOUR_BLOCKS,
    Moment,
    Timeline,
    category_columns,
)
from p2prec.models.next_place_features import (
    EXPLORE_FEATURES,
    View,
    explore_features,
)
from p2prec.models.popularity import popularity, popularity_of
from p2prec.models.recommender import Task
from p2prec.models.returns import RETURN_FEATURES
from p2prec.models.softmax import log_softmax
from p2prec.models.table import BIAS, OTHERS
from p2prec.models.tabled import Ready, Tabled, in_stretches

if TYPE_CHECKING:
    import torch

_NEVER = -1e9  # logit of what is masked out

# Reasonable habits to start from, before the first example: order of the *_FEATURES names.
_RETURNING = (0.2, 0.2, 0.2, 0.4, 0.2, 0.3, 0.4, 0.3, -0.5, 0.2, 0.1, 0.0, 0.2)
_EXPLORE = (0.2, 1.35, 0.65, 0.5, 0.6, 0.7, 1.1)
_GATE = (-1.0, -0.3, 1.5, 0.5, 0.0, -0.3)
_ATTENTION = (2.0, -0.1, 0.1)
# How keen owners are on new places, and by what habits they return, differs more than what they
# look for in a new place: the gate is an owner's own, habits are mostly so.
_OWN_BENT = {"gate": 1.0, "returning": 0.7}


def dense_layout(n_categories: int, n_pieces: int) -> DenseLayout:
    """Where each shared dense parameter lies; what an item table shares comes last."""
    return DenseLayout(
        returning=(len(RETURN_FEATURES),),
        explore=(len(EXPLORE_FEATURES),),
        gate=(len(GATE_FEATURES),),
        attention=(3,),
        # A statistic, first visits of others; the last category stands for unknown.
        tried=(n_categories + 1, HOUR_BLOCKS),
        pieces=(n_pieces,),
    )


class NextPlace(Tabled):
    """The model's formulas, for one realm; it holds no parameter.

    Where they speak of *plain* rows, these are an item's vector, as the table composes it, and
    the two columns behind it.
    """

    family = "next_place"

    def __init__(self, catalogue: Catalogue, table: ItemTable) -> None:
        layout = dense_layout(len(catalogue.categories), table.n_pieces)
        super().__init__(catalogue, table, Task.RANKING, layout)
        self.n_dense = self.layout.size
        self.statistics = self.layout.part("tried")
        self.own_bent = np.zeros(self.n_dense, np.float32)
        for name, share in _OWN_BENT.items():
            self.layout.view(self.own_bent, name)[...] = share
        self._column = category_columns(catalogue)
        self._kinds = Kinds(catalogue)

    def initial_dense(self) -> NDArray[np.float32]:
        """Shared dense parameters before any training, shape ``(n_dense,)``."""
        dense = np.zeros(self.n_dense, np.float32)
        for name, values in (
            ("returning", _RETURNING),
            ("explore", _EXPLORE),
            ("gate", _GATE),
            ("attention", _ATTENTION),
        ):
            self.layout.view(dense, name)[:] = values
        dense[self.layout.part("pieces")] = self.table.initial_pieces()
        return dense

    def own_statistics(self, timeline: Timeline) -> NDArray[np.float32]:
        """What one owner adds to the statistics, flat; not negative, with a sum of at most 1."""
        return tried_shares(self.catalogue, timeline.tried).ravel()

    # --- learning ------------------------------------------------------------------------

    def return_loss(
        self, dense: torch.Tensor, moments: Sequence[Moment], items: NDArray[np.int32]
    ) -> torch.Tensor:
        """Loss of gate and repeat decoder, shape ``(n,)``.

        Args:
            dense: Shape ``(n, n_dense)``, the parameters of each example's peer.
            moments: ``n`` situations.
            items: Shape ``(n,)``, what the owner did next.
        """
        import torch
        from torch.nn import functional

        longest = max(len(m.own) for m in moments)
        features = np.zeros((len(moments), longest, len(RETURN_FEATURES)), np.float32)
        held = np.zeros((len(moments), longest), bool)
        slot = np.full(len(moments), -1)
        for row, (moment, item) in enumerate(zip(moments, items, strict=True)):
            n = len(moment.own)
            features[row, :n] = moment.returning
            held[row, :n] = True
            at = int(np.searchsorted(moment.own, item))
            if at < n and moment.own[at] == item:
                slot[row] = at
        gate_features = torch.from_numpy(np.stack([m.gate for m in moments]))
        gate = (gate_features * self.layout.tensor(dense, "gate")).sum(1)
        loss = functional.binary_cross_entropy_with_logits(
            gate, torch.from_numpy((slot < 0).astype(np.float32)), reduction="none"
        )
        known = np.flatnonzero(slot >= 0)
        if len(known):
            weights = self.layout.tensor(dense, "returning")[known]
            logits = (torch.from_numpy(features[known]) * weights[:, None, :]).sum(2)
            logits = logits.masked_fill(torch.from_numpy(~held[known]), _NEVER)
            returned = functional.cross_entropy(
                logits, torch.from_numpy(slot[known]), reduction="none"
            )
            loss = loss.index_add(0, torch.from_numpy(known), returned)
        return loss

    def explore_loss(
        self,
        rows: torch.Tensor,
        dense: torch.Tensor,
        several: Together,
    ) -> torch.Tensor:
        """Weighted cross entropy of the explore decoder against the targets, shape ``(n,)``.

        Args:
            rows: Shape ``(n_rows, size + 2)``, plain rows of ``several.keys``.
            dense: Shape ``(n, n_dense)``, the parameters of each example's peer; of the table's
                pieces nothing is read.
            several: ``n`` examples.
        """
        import torch

        examples, index, offset = several.examples, several.keys, several.offset
        moments, candidates = examples.moments, examples.candidates
        sequence = np.stack([m.sequence for m in moments])
        held = sequence >= 0
        features, closeness = explore_features(self.catalogue, moments, candidates)
        at = torch.from_numpy(np.searchsorted(index, candidates + offset))
        met = np.where(held, sequence + offset, index[0])
        past = torch.from_numpy(np.searchsorted(index, met))
        own = rows[at]
        likeness = torch.einsum("nkd,nld->nkl", own[:, :, :OTHERS], rows[past][:, :, :OTHERS])
        gaps = torch.from_numpy(np.stack([m.gaps for m in moments]))
        scale, by_gap, by_distance = self.layout.tensor(dense, "attention").unbind(1)
        attention = (
            likeness
            + by_gap[:, None, None] * gaps[:, None, :]
            + by_distance[:, None, None] * torch.from_numpy(closeness)
        ).masked_fill(torch.from_numpy(~held)[:, None, :], _NEVER)
        matched = (attention.softmax(2) * likeness).sum(2)
        heard = self.layout.tensor(dense, "tried").detach().numpy()
        which = np.arange(len(moments))[:, None]
        kinds = self._kinds.features(Usual.of(heard), moments)[: len(KINDS_OF_OTHERS)]
        of_others = kinds[:, which, self._column[candidates]]
        listened = heard.sum((1, 2))[:, None]
        others = popularity(own[:, :, OTHERS].detach().numpy(), listened)
        everything = np.concatenate(
            [features, np.moveaxis(of_others, 0, -1), others[:, :, None]], axis=2
        )
        weights = self.layout.tensor(dense, "explore")
        logits = (
            (torch.from_numpy(everything) * weights[:, None, :]).sum(2)
            + own[:, :, BIAS]
            + scale[:, None] * matched
        ).masked_fill(torch.from_numpy(~examples.allowed), _NEVER)
        cross = -(torch.from_numpy(examples.target) * logits.log_softmax(1)).sum(1)
        return cross * torch.from_numpy(examples.weight)

    # --- scoring -------------------------------------------------------------------------

    def explore_logits(self, ready: Ready, moment: Moment, view: View) -> NDArray[np.float32]:
        """Explore logits of all items, shape ``(n_items,)``; the twin of ``explore_loss``.

        Args:
            ready: Of the peer.
            moment: The situation.
            view: How all items lie to the places of its sequence.
        """
        dense = ready.dense
        weights, heard = self.layout.view(dense, "explore"), self.layout.view(dense, "tried")
        kinds = self._kinds.features(Usual.of(heard[None]), [moment])[: len(KINDS_OF_OTHERS), 0]
        logits: NDArray[np.float32] = (weights[3:6] @ kinds).take(self._column)
        logits += view.near * (weights[0] + weights[1] * moment.just_moved)
        logits += weights[2] * view.around
        logits += weights[6] * popularity_of(ready.shares)
        logits += ready.bias
        self._add_matched(logits, ready, moment, view)
        return logits

    def _add_matched(
        self, logits: NDArray[np.float32], ready: Ready, moment: Moment, view: View
    ) -> None:
        """Add what attention to the sequence says, block by block."""
        scale, by_gap, by_distance = self.layout.view(ready.dense, "attention")
        # A place that stands in the sequence several times is looked at once: its visits add up,
        # by their logarithm: what strangers say of a weight must not make it infinite.
        visits = np.full(len(view.places), -np.inf)
        gaps = moment.gaps[moment.sequence >= 0]
        np.logaddexp.at(visits, view.of_held, (by_gap * gaps).astype(np.float64))
        said = visits.astype(np.float32)[:, None]
        past = ready.source.vectors(view.places)
        for block, vectors in in_stretches(ready.source, len(logits)):
            likeness = past @ vectors.T
            attention = np.empty_like(likeness)
            for row, closeness in zip(attention, view.closeness, strict=True):
                np.multiply(closeness[block], by_distance, out=row)
            attention += likeness
            attention += said
            attention -= attention.max(axis=0)
            np.exp(attention, out=attention)
            shares = attention.sum(0)
            attention *= likeness
            logits[block] += scale * (attention.sum(0) / shares)

    def explore_log_probabilities(
        self, ready: Ready, moment: Moment, view: View
    ) -> NDArray[np.float32]:
        """Logarithm of the explore softmax, shape ``(n_items,)``; known places have none of it."""
        logits = self.explore_logits(ready, moment, view)
        logits[moment.own] = _NEVER
        return log_softmax(logits)

    def scores(self, ready: Ready, moment: Moment, view: View) -> NDArray[np.float32]:
        """Log-probabilities of all items under the mixture, shape ``(n_items,)``."""
        dense = ready.dense
        gate = float(moment.gate @ self.layout.view(dense, "gate"))
        scores = self.explore_log_probabilities(ready, moment, view)
        scores -= np.float32(np.logaddexp(0.0, -gate))
        repeat = moment.returning @ self.layout.view(dense, "returning")
        scores[moment.own] = log_softmax(repeat) - np.float32(np.logaddexp(0.0, gate))
        return scores
