"""Matrix factorisation, for ranking, clicks and ratings.

Biased matrix factorisation in the form of Koren, Bell & Volinsky (IEEE Computer, 2009):

    s(u, i) = mu + b_u + b_i + <p_u, q_i>

with one loss a task, over items ``j`` sampled among those that the owner has not met:

    ranking   mean_j -log sigmoid(s(u, i) - s(u, j))           BPR: Rendle et al., UAI 2009
    click     softplus(-s(u, i)) + sum_j softplus(s(u, j))     log loss
    rating    (s(u, i) - r_ui)^2 / 2

The row of an item holds ``q_i`` and ``b_i``, and ``mu`` is a dense parameter: peers share them.
``p_u`` and ``b_u`` are private. All peers start with the realm's ``q_i``, so that rows of peers
that never met can be averaged, with ``p_u = 0``, and with ``b_u`` at the owner's mean rating.
Ours: where ranks or clicks are learned, the score has one more term, ``w log(1 + share_i / 0.03)``,
with the share of others that met the item, counted by gossip: one owner's history cannot tell what
is popular. ``mu`` and ``b_u`` cancel in BPR.

A sequence that is not the owner's is *folded in*, in the form of FISM (Kabbur, Ning & Karypis,
KDD 2013, alpha = 1/2) with one table in both roles: ``p_X = c |X|^(-1/2) sum_(i in X) q_i``. The
softmax of the scores of all items outside ``X`` is the soft decision after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.kernels import compiled
from p2prec.models.biased import (
    FOLD,
    FRESH_ACCUMULATOR,
    LISTENED,
    MU,
    N_BASE,
    WEIGHT,
    Biased,
)
from p2prec.models.explored import Together, together
from p2prec.models.losses import errors_of
from p2prec.models.model import (
    EMBEDDING_SIZES,
    Gradients,
    Looking,
    Observer,
    Outlook,
    Parameters,
    RowGradient,
    Snapshot,
    Step,
)
from p2prec.models.moments import Moment
from p2prec.models.popularity import popularity
from p2prec.models.recommender import Task
from p2prec.models.softmax import log_softmax
from p2prec.models.stack import Stack, dotted
from p2prec.models.table import BIAS, OTHERS
from p2prec.training.config import TrainingConfig

_NEVER = np.float32(-1e9)  # logit of what is masked out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """What the scores of some items are made of; all of the shape of the items.

    Attributes:
        slots: Where in the shelf's columns their rows lie, -1 where one is not held.
        taste: ``<p_u, q_i>``.
        others: Share of others that met the item.
        bias: ``b_i``.
        met: Whether the owner has met the item.
    """

    slots: NDArray[np.int64]
    taste: NDArray[np.float32]
    others: NDArray[np.float32]
    bias: NDArray[np.float32]
    met: NDArray[np.bool_]


class MatrixFactorisation(Biased):
    """Matrix factorisation with private user factors; gradients by hand on gathered rows."""

    family = "mf"
    tasks = frozenset(Task)
    sizes = EMBEDDING_SIZES
    n_dense = N_BASE
    own_bent = np.zeros(N_BASE, np.float32)  # what differs between owners is private
    of_moments = False
    heeds_biases = 0.125
    dense_accumulator = FRESH_ACCUMULATOR

    def __init__(self, catalogue: Catalogue, embedding_size: int, task: Task) -> None:
        self.task = task
        self.name = f"mf/{embedding_size}" + ("" if task is Task.RANKING else f"/{task}")
        self.width = embedding_size + 2
        self.n_private = embedding_size + 1  # p_u, then b_u
        self.n_items = len(catalogue)

    def initial_dense(self) -> NDArray[np.float32]:
        """The base alone."""
        return self.initial_base()

    def dense_rates(self, *, explore_rate: float) -> NDArray[np.float32]:
        """Those of the base."""
        return self.base_rates(explore_rate=explore_rate)

    def rows_of_example(self, negatives: int) -> int:
        """What was chosen, and what it is compared with."""
        return 1 if self.task is Task.RATING else 1 + negatives

    # --- learning ------------------------------------------------------------------------

    def whole_pass(
        self,
        stack: Stack,
        config: TrainingConfig,
        items: NDArray[np.int32],
        ratings: NDArray[np.float32],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float64] | None:
        """As of ``WholePass``: ratings only, which are compared with nothing."""
        kernels, shelf = compiled(), stack.shelf
        if kernels is None or self.task is not Task.RATING:
            return None
        rates = np.float32(config.dense_learning_rate) * self.dense_rates(
            explore_rate=config.explore_rate
        )
        loss: NDArray[np.float64] = kernels.rate_pass(
            shelf.rows,
            shelf.values,
            shelf.accumulator,
            shelf.evidence,
            shelf.initial,
            stack.starts,
            stack.lengths,
            items,
            ratings,
            counts,
            config.batch_size,
            stack.seats,
            stack.dense,
            shelf.dense_accumulator,
            self.initial_dense(),
            rates,
            stack.private,
            shelf.private_accumulator,
            shelf.private_start,
            np.float32(config.reg),
            np.float32(config.learning_rate * self.row_rate),
            config.row_optimizer == "adagrad",
        )
        return loss

    def gradients(self, stack: Stack, step: Step) -> Gradients:
        """Forward and backward over the examples of all peers at once."""
        own = self._owners(stack, step)
        taught = together(step.lessons, n_items=stack.n_items)
        if taught is None:
            return own
        rows, dense = self._taught(stack, taught, len(step.timelines))
        return Gradients(
            loss=own.loss, dense=own.dense + dense, private=own.private, rows=[*own.rows, rows]
        )

    def _owners(self, stack: Stack, step: Step) -> Gradients:
        """From what the owners did.

        Within a step an item meets one ``p_u`` only, its peer's: the errors of all its
        occurrences are summed first, and the gradient of a row is that sum times ``p_u``.
        """
        n_peers = len(step.timelines)
        items = np.concatenate([step.item[:, None], step.sampled], axis=1)
        gathered = self._gathered(stack, step.owner, items)
        dense, private = stack.dense[step.owner, None], stack.private[step.owner, None]
        scores = gathered.taste + self._known(gathered.others, gathered.bias, dense)
        scores += dense[..., MU] + private[..., -1]
        loss, errors = errors_of(self.task, scores, step.rating, ~gathered.met[:, 1:])
        by_private, rows = self._summed(stack, step, items, gathered, errors)
        by_dense = np.zeros((n_peers, self.n_dense), np.float32)
        by_dense[:, MU] = by_private[:, -1]
        return Gradients(
            loss=np.bincount(step.owner, loss, minlength=n_peers).astype(np.float64),
            dense=by_dense,
            private=by_private,
            rows=[rows],
        )

    def _gathered(
        self, stack: Stack, owner: NDArray[np.int64], items: NDArray[np.int32]
    ) -> _Gathered:
        """What the scores of items, shape ``(n, k)``, are made of."""
        kernels, shelf = compiled(), stack.shelf
        if kernels is not None:
            slots, parts, met = kernels.gather_scores(
                shelf.rows,
                shelf.values,
                shelf.others,
                shelf.own,
                shelf.initial,
                stack.starts,
                stack.lengths,
                owner,
                items,
                stack.private,
            )
            return _Gathered(slots=slots, taste=parts[0], others=parts[1], bias=parts[2], met=met)
        keys = items + owner[:, None] * stack.n_items
        positions, met = stack.locate(keys)
        slots = np.full(keys.shape, -1)
        slots[met] = stack.slots.take(positions[met])
        met[met] = shelf.own.take(slots[met])
        rows = stack.gather(keys.ravel())
        private = stack.private.take(np.repeat(owner, items.shape[1]), axis=0)
        taste = dotted(rows[:, :OTHERS], private)
        return _Gathered(
            slots=slots,
            taste=taste.reshape(keys.shape),
            others=rows[:, OTHERS].reshape(keys.shape),
            bias=rows[:, BIAS].reshape(keys.shape),
            met=met,
        )

    def _summed(
        self,
        stack: Stack,
        step: Step,
        items: NDArray[np.int32],
        gathered: _Gathered,
        errors: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], RowGradient]:
        """Gradients by private parameters and by rows, from those by scores.

        Sums run over the examples in their order.
        """
        kernels, shelf, n_peers = compiled(), stack.shelf, len(step.timelines)
        keys = items + step.owner[:, None] * stack.n_items
        if kernels is not None:
            by_private, slots, gradient, seen, keys = kernels.sum_errors(
                shelf.rows,
                shelf.values,
                shelf.evidence,
                shelf.initial,
                stack.starts,
                stack.lengths,
                step.owner,
                items,
                gathered.slots,
                errors,
                stack.private,
                n_peers,
            )
            return by_private, RowGradient(
                keys=keys, gradient=gradient, seen=seen, known=seen > 0, slots=slots
            )
        rows, owner = stack.gather(keys.ravel()), np.repeat(step.owner, items.shape[1])
        flat = errors.ravel()
        by_private = np.empty((n_peers, self.n_private), np.float32)
        for column in range(self.n_private - 1):
            products = rows[:, column] * flat
            by_private[:, column] = np.bincount(owner, products, minlength=n_peers)
        by_private[:, -1] = np.bincount(owner, flat, minlength=n_peers)
        unique, at = np.unique(keys, return_inverse=True)
        total = np.bincount(at.ravel(), flat, minlength=len(unique)).astype(np.float32)
        gradient = np.zeros((len(unique), self.width), np.float32)
        taste = stack.private.take(unique // stack.n_items, axis=0)[:, :-1]
        gradient[:, :OTHERS] = taste * total[:, None]
        gradient[:, BIAS] = total
        seen = np.bincount(at[:, 0], minlength=len(unique)).astype(np.float32)
        return by_private, RowGradient(keys=unique, gradient=gradient, seen=seen, known=seen > 0)

    def _taught(
        self, stack: Stack, taught: Together, n_peers: int
    ) -> tuple[RowGradient, NDArray[np.float32]]:
        """Cross entropy of folded-in sequences against soft decisions, by rows and by ``c``."""
        examples, owner = taught.examples, taught.owner
        rows, fold = stack.gather(taught.keys), stack.dense[owner, FOLD, None]
        item = rows[:, :OTHERS]
        sequence = np.stack([m.sequence for m in examples.moments])
        held = sequence >= 0
        met = np.where(held, sequence + taught.offset, taught.keys[0])
        past = np.searchsorted(taught.keys, met)
        at = np.searchsorted(taught.keys, examples.candidates + taught.offset)
        share = (held / np.sqrt(held.sum(1, keepdims=True))).astype(np.float32)
        summed = np.einsum("nl,nld->nd", share, item[past])
        folded = fold * summed
        logits = np.einsum("nd,nkd->nk", folded, item[at])
        dense_of = stack.dense[taught.keys // stack.n_items]
        logits += self._known(rows[:, OTHERS], rows[:, BIAS], dense_of)[at]
        logits[~examples.allowed] = _NEVER
        errors = np.exp(logits - logits.max(1, keepdims=True))
        errors /= errors.sum(1, keepdims=True)
        errors = (errors - examples.target) * examples.weight[:, None]
        by_folded = np.einsum("nk,nkd->nd", errors, item[at])
        gradient = np.zeros_like(rows)
        np.add.at(gradient[:, BIAS], at, errors)
        np.add.at(gradient[:, :OTHERS], at, errors[:, :, None] * folded[:, None, :])
        np.add.at(gradient[:, :OTHERS], past, share[:, :, None] * (fold * by_folded)[:, None, :])
        dense = np.zeros((n_peers, self.n_dense), np.float32)
        np.add.at(dense[:, FOLD], owner, (by_folded * summed).sum(1))
        part = RowGradient(
            keys=taught.keys, gradient=gradient, seen=taught.seen, known=taught.known
        )
        return part, dense

    # --- scoring -------------------------------------------------------------------------

    def scores(
        self, rows: NDArray[np.float32], dense: NDArray[np.float32], private: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Score of each row, shape ``(n,)``.

        Args:
            rows: Shape ``(n, width)``.
            dense: Shape ``(n_dense,)``.
            private: Shape ``(n_private,)``.
        """
        taste = rows[:, :OTHERS] @ private[:-1]
        known = self._known(rows[:, OTHERS], rows[:, BIAS], dense)
        scores: NDArray[np.float32] = taste + known + dense[MU] + private[-1]
        return scores

    def _known(
        self, others: NDArray[np.float32], bias: NDArray[np.float32], dense: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """What speaks for items whoever asks."""
        if self.task is Task.RATING:  # where the weight of popularity is 0 and stays
            return bias
        known: NDArray[np.float32] = bias + dense[..., WEIGHT] * popularity(
            others, dense[..., LISTENED]
        )
        return known

    def observer(self) -> Observer:
        """Nothing is dear to compute."""
        return self._observe

    def at_rest(self, now: Snapshot) -> Looking:
        """All rows, as they are."""
        return partial(self._observe, now.parameters())

    def _observe(self, parameters: Parameters, moment: Moment | None) -> Outlook:
        return _View(self, parameters, moment)


@dataclass(frozen=True, slots=True)
class _View:
    """The owner's taste, whatever the moment; sequences of others by folding in."""

    model: MatrixFactorisation
    parameters: Parameters
    moment: Moment | None

    def scores(self) -> NDArray[np.float32]:
        """Logits of ranks or clicks, or ratings."""
        p = self.parameters
        return self.model.scores(p.table, p.dense, p.private)

    def explore_log_probabilities(self) -> NDArray[np.float32]:
        """After the moment's sequence; the popular items where there is none."""
        table, dense = self.parameters.table, self.parameters.dense
        folded = np.zeros(self.model.n_private, np.float32)
        if self.moment is None:
            return log_softmax(self.model.scores(table, dense, folded))
        past = self.moment.sequence[self.moment.sequence >= 0]
        folded[:-1] = dense[FOLD] * table[past, :OTHERS].sum(0) / np.sqrt(len(past))
        logits = self.model.scores(table, dense, folded)
        logits[self.moment.own] = _NEVER
        return log_softmax(logits)

    def reasons(self, item: int) -> dict[str, float]:
        """The terms of the score that differ from item to item."""
        row, dense = self.parameters.table[item], self.parameters.dense
        others = dense[WEIGHT] * popularity(row[OTHERS], dense[LISTENED])
        return {
            "fits your taste": float(row[:OTHERS] @ self.parameters.private[:-1]),
            "others choose it": float(others),
            "liked, whoever asks": float(row[BIAS]),
        }
