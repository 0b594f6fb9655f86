"""What all recommenders share that look at items through an embedding table.

    s(u, i) = mu + b_u + b_i + w log(1 + share_i / 0.03) + taste(u, v_i, ...)

``v_i`` comes from the table (``p2prec.embeddings``), full or compact; a family says what ``taste``
is, and its gradient by hand (``p2prec.models.taste``). ``b_u`` and the user's vector are private;
``b_i`` and what others say of an item (``share_i``, counted by gossip) stand in the item's row;
``mu``, ``w``, what the family and what the table share are dense parameters. Losses:
``p2prec.models.losses``.

A sequence that is not the owner's is *folded in* (FISM: Kabbur, Ning & Karypis, KDD 2013, with one
table in both roles): ``p_X = c |X|^(-1/2) sum_(i in X) v_i`` takes the place of the user's vector.
The softmax of the scores of all items outside ``X`` is the soft decision after it. A family that
reads the sequence itself (``reads_past``) needs no folding: the user's vector is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.initial import labelled
from p2prec.embeddings.table import ItemTable
from p2prec.models.biased import FOLD, FRESH_ACCUMULATOR, LISTENED, MU, N_BASE, WEIGHT, Biased
from p2prec.models.context import Surrounded
from p2prec.models.explored import Together, together
from p2prec.models.layout import DenseLayout
from p2prec.models.losses import errors_of
from p2prec.models.model import (
    EMBEDDING_SIZES,
    Gradients,
    Looking,
    Observer,
    Outlook,
    Parameters,
    RowGradient,
    Step,
)
from p2prec.models.moments import SEQUENCE_LENGTH, Moment, Timeline
from p2prec.models.popularity import popularity, popularity_of, share_of
from p2prec.models.recommender import Task
from p2prec.models.softmax import log_softmax
from p2prec.models.stack import Stack
from p2prec.models.table import BIAS, OTHERS
from p2prec.models.tabled import Floats, Looked, Ready, Tabled, kept
from p2prec.models.taste import Batch, Parts, Taste, by_peer

_NEVER = np.float32(-1e9)  # logit of what is masked out
_FRESH_PIECE = 1e-3  # Adagrad's start: pieces are embeddings, as rows are


class EmbeddedModel(Biased, Taste, Tabled):
    """A family; a member says what taste is (``taste``, ``taste_back``, ``shapes``)."""

    tasks: frozenset[Task] = frozenset(Task)
    sizes: tuple[int, ...] = EMBEDDING_SIZES
    heeds_biases = 0.125

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, task: Task, table: ItemTable
    ) -> None:
        self.catalogue, self.task, self.n_items = catalogue, task, len(catalogue)
        self.own_layout = DenseLayout(**self.shapes(embedding_size))
        parts = {"base": (N_BASE,), "own": (self.own_layout.size,), "pieces": (table.n_pieces,)}
        super().__init__(catalogue, table, task, DenseLayout(**parts))
        self.n_dense = self.layout.size
        self.own_bent = np.zeros(self.n_dense, np.float32)  # what differs is private
        self.dense_accumulator = np.full(self.n_dense, FRESH_ACCUMULATOR, np.float32)
        self.dense_accumulator[self.layout.part("own")] = self.own_accumulator
        self.dense_accumulator[self.layout.part("pieces")] = _FRESH_PIECE
        self.n_user = self.user_size(embedding_size)
        self.n_private = self.n_user + 1  # and then b_u

    @property
    def of_moments(self) -> bool:
        """Whether scores depend on the moment at all."""
        return self.reads_past or self.reads_context

    def situation(self, timeline: Timeline, at: int) -> Moment | None:
        """None where scores do not depend on it."""
        return timeline.before(at) if self.of_moments else None

    # --- what all do ---------------------------------------------------------------------

    def initial_dense(self) -> Floats:
        """``mu``, ``c``, ``w``, no one listened to; then of the family and of the table."""
        return self._initial_dense.copy()

    @cached_property
    def _initial_dense(self) -> Floats:
        dense = np.zeros(self.n_dense, np.float32)
        dense[self.layout.part("base")] = self.initial_base()
        label = b"p2prec/model/1" + self.catalogue.digest + f"{self.family}/{self.size}".encode()
        dense[self.layout.part("own")] = self.initial_own(labelled(label))
        dense[self.layout.part("pieces")] = self.table.initial_pieces()
        return dense

    def dense_rates(self, *, explore_rate: float) -> Floats:
        """Those of the base, of the family and of the table."""
        rates = np.ones(self.n_dense, np.float32)
        rates[self.layout.part("base")] = self.base_rates(explore_rate=explore_rate)
        rates[self.layout.part("own")] = self.own_rate
        rates[self.layout.part("pieces")] = self.table.piece_rates()
        return rates

    def rows_of_example(self, negatives: int) -> int:
        """What was chosen, what it is compared with, and what came before."""
        return (1 if self.task is Task.RATING else 1 + negatives) + (
            SEQUENCE_LENGTH if self.reads_past else 0
        )

    def gradients(self, stack: Stack, step: Step) -> Gradients:
        """Forward and backward over the examples of all peers at once."""
        n_peers = len(step.timelines)
        dense = np.zeros((n_peers, self.n_dense), np.float32)
        private = np.zeros((n_peers, self.n_private), np.float32)
        loss, rows = self._owners(stack, step, dense, private)
        parts = [rows]
        taught = together(step.lessons, n_items=stack.n_items)
        if taught is not None:
            parts.append(self._taught(stack, taught, dense))
        return Gradients(
            loss=np.bincount(step.owner, loss, minlength=n_peers).astype(np.float64),
            dense=dense,
            private=private,
            rows=parts,
        )

    def _owners(
        self, stack: Stack, step: Step, dense: Floats, private: Floats
    ) -> tuple[Floats, RowGradient]:
        """From what the owners did; adds to gradients by dense and private parameters."""
        items = np.concatenate([step.item[:, None], step.sampled], axis=1)
        offset = (step.owner * stack.n_items)[:, None]
        base = stack.dense[:, self.layout.part("base")]  # not all that a table shares, n times
        past = _before(step, SEQUENCE_LENGTH if self.reads_past else 0)
        named = np.concatenate([(items + offset).ravel(), (past + offset)[past >= 0]])
        looked = self.looked(stack, np.unique(named))
        at = np.searchsorted(looked.keys, items + offset)
        batch = Batch(
            vectors=looked.vectors[at],
            user=stack.private[step.owner, : self.n_user],
            owner=step.owner,
            dense=stack.dense[:, self.layout.part("own")],
            context=self.context_of(step.timelines, step.owner, step.at, items),
            **_pasts(looked, past, offset, base[step.owner]),
        )
        taste, tape = self.taste(batch)
        scores = taste + self._known(looked.rows, base[step.owner, None], at)
        scores += (base[step.owner, MU] + stack.private[step.owner, -1])[:, None]
        met = self._met(stack, looked.keys)[at]
        loss, errors = errors_of(self.task, scores, step.rating, ~met[:, 1:])
        parts = self.taste_back(batch, tape, errors)
        by_score = errors.sum(1)
        private[:, : self.n_user] += by_peer(step.owner, parts.user, len(private))
        private[:, -1] += by_peer(step.owner, by_score, len(private))
        dense[:, MU] += by_peer(step.owner, by_score, len(dense))
        seen = np.bincount(at[:, 0], minlength=len(looked.keys)).astype(np.float32)
        known = seen > 0
        known[np.searchsorted(looked.keys, (past + offset)[past >= 0])] = True
        rows = self._summed(looked, at, errors, parts, dense, past=past + offset, held=past >= 0)
        return loss, RowGradient(keys=looked.keys, gradient=rows, seen=seen, known=known)

    def _taught(self, stack: Stack, taught: Together, dense: Floats) -> RowGradient:
        """Cross entropy of reference sequences against soft decisions."""
        examples, owner, offset = taught.examples, taught.owner, taught.offset
        base = stack.dense[:, self.layout.part("base")]
        looked = self.looked(stack, taught.keys)
        past = np.stack([m.sequence for m in examples.moments])
        at = np.searchsorted(looked.keys, examples.candidates + offset)
        pasts = _pasts(looked, past, offset, base[owner])
        read = pasts if self.reads_past else {name: of[:, :0] for name, of in pasts.items()}
        held = past >= 0
        share = (held / np.sqrt(np.maximum(held.sum(1, keepdims=True), 1))).astype(np.float32)
        summed = np.einsum("nl,nld->nd", share, pasts["past"])
        fold = base[owner, FOLD, None]
        folds = self.n_user > 0 and not self.reads_past
        batch = Batch(
            vectors=looked.vectors[at],
            user=fold * summed if folds else np.zeros((len(owner), self.n_user), np.float32),
            owner=owner,
            dense=stack.dense[:, self.layout.part("own")],
            context=self.context_now(examples.moments, examples.candidates),
            **read,
        )
        taste, tape = self.taste(batch)
        logits = taste + self._known(looked.rows, base[owner, None], at)
        logits[~examples.allowed] = _NEVER
        errors = np.exp(logits - logits.max(1, keepdims=True))
        errors /= errors.sum(1, keepdims=True)
        errors = (errors - examples.target) * examples.weight[:, None]
        parts = self.taste_back(batch, tape, errors)
        if folds:  # through the folded-in user into the sequence and into c
            by_past = share[:, :, None] * (fold * parts.user)[:, None, :]
            dense[:, FOLD] += by_peer(owner, (parts.user * summed).sum(1), len(dense))
            parts = replace(parts, past=by_past)
        rows = self._summed(looked, at, errors, parts, dense, past=past + offset, held=held)
        return RowGradient(keys=taught.keys, gradient=rows, seen=taught.seen, known=taught.known)

    def _summed(
        self,
        looked: Looked,
        at: NDArray[np.int64],
        errors: Floats,
        parts: Parts,
        dense: Floats,
        *,
        past: NDArray[np.int64],
        held: NDArray[np.bool_],
    ) -> Floats:
        """Gradients by rows; adds those by what is shared."""
        places, values = [at.ravel()], [parts.vectors.reshape(-1, self.size)]
        if parts.past is not None:
            places.append(np.searchsorted(looked.keys, past[held]))
            values.append(parts.past[held])
        place, value = np.concatenate(places), np.concatenate(values)
        by_vectors = np.empty_like(looked.vectors)
        for column in range(self.size):
            by_vectors[:, column] = np.bincount(place, value[:, column], len(by_vectors))
        dense[:, self.layout.part("own")] += parts.dense[: len(dense)]
        rows = self.backward(looked, by_vectors, dense)
        rows[:, BIAS] = np.bincount(at.ravel(), errors.ravel(), len(rows))
        return rows

    def _met(self, stack: Stack, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        positions, met = stack.locate(keys)
        met[met] = stack.shelf.own.take(stack.slots.take(positions[met]))
        return met

    def _known(self, rows: Floats, dense: Floats, at: NDArray[np.int64]) -> Floats:
        """What speaks for items whoever asks, of the shape of ``at``."""
        bias: Floats = rows[:, BIAS][at]
        if self.task is Task.RATING:  # where the weight of popularity is 0 and stays
            return bias
        known: Floats = bias + dense[..., WEIGHT] * popularity(
            rows[:, OTHERS][at], dense[..., LISTENED]
        )
        return known

    # --- scoring -------------------------------------------------------------------------

    def logits(self, ready: Ready, moment: Moment | None, *, own: bool) -> Floats:
        """Scores of all items, shape ``(n_items,)``.

        Args:
            ready: Of the peer.
            moment: The situation; None of a newcomer.
            own: Whether the owner asks, or somebody of whom only the sequence is known.
        """
        dense, n = ready.dense, len(ready.bias)
        sequence = np.zeros(0, np.int32) if moment is None else moment.sequence
        items = sequence[sequence >= 0]
        user = np.zeros((1, self.n_user), np.float32)
        if own:
            user[0] = ready.private[: self.n_user]
        elif self.n_user and not self.reads_past and len(items):
            summed = ready.source.vectors(items).sum(0)
            # Of the length of an item's vector: a family may keep more of its owners.
            user = (dense[FOLD] * summed / np.sqrt(np.float32(len(items))))[None]
        items = items[: len(items) if self.reads_past else 0]
        asked = Batch(
            vectors=np.zeros((1, 0, self.size), np.float32),
            user=user,
            owner=np.zeros(1, np.int64),
            dense=dense[None, self.layout.part("own")],
            past=ready.source.vectors(items)[None],
            held=np.ones((1, len(items)), bool),
            shares=ready.shares[None, items],
            context=Surrounded.nothing((1, 0)),
        )
        scores = self.tastes(asked, ready.source, moment, n)
        scores += ready.bias
        if self.task is not Task.RATING:
            scores += dense[WEIGHT] * popularity_of(ready.shares)
        if own:
            scores += dense[MU] + ready.private[-1]
        return scores

    def observer(self) -> Observer:
        """Keeps the vectors of the newest parameters."""
        ready = kept(self.ready)

        def observe(parameters: Parameters, moment: Moment | None) -> Outlook:
            return View(self, ready(parameters), moment)

        return observe

    def opened(self, ready: Ready) -> Looking:
        """As of ``Tabled``."""
        return partial(View, self, ready)


@dataclass(frozen=True)
class View:
    """The owner's taste at one moment; sequences of others by folding in."""

    model: EmbeddedModel
    ready: Ready
    moment: Moment | None

    @cached_property
    def _scores(self) -> Floats:
        return self.model.logits(self.ready, self.moment, own=True)

    def scores(self) -> Floats:
        """Logits of ranks or clicks, or ratings."""
        return self._scores.copy()

    def explore_log_probabilities(self) -> Floats:
        """After the moment's sequence; the popular items where there is none."""
        logits = self.model.logits(self.ready, self.moment, own=False)
        if self.moment is not None:
            logits[self.moment.own] = _NEVER
        return log_softmax(logits)

    def reasons(self, item: int) -> dict[str, float]:
        """The terms of the score that differ from item to item."""
        ready = self.ready
        others = float(ready.dense[WEIGHT] * popularity_of(ready.shares[item : item + 1])[0])
        bias, base = float(ready.bias[item]), float(ready.dense[MU] + ready.private[-1])
        taste = float(self._scores[item]) - base - bias - others
        return {"fits your taste": taste, "others choose it": others, "liked, whoever asks": bias}


def _before(step: Step, length: int) -> NDArray[np.int32]:
    """Items before each interaction, shape ``(n, length)``, newest last, -1 in front."""
    place = step.at[:, None] + np.arange(-length, 0)
    past = np.full(place.shape, -1, np.int32)
    ends = np.searchsorted(step.owner, np.arange(len(step.timelines) + 1))
    for peer, timeline in enumerate(step.timelines):
        part = slice(ends[peer], ends[peer + 1])
        past[part] = np.where(place[part] < 0, -1, timeline.item[np.maximum(place[part], 0)])
    return past


def _pasts(
    looked: Looked, past: NDArray[np.int32], offset: NDArray[np.int64], dense: Floats
) -> dict[str, NDArray[Any]]:
    """Vectors and shares of recent items, zeros where there is none.

    Args:
        looked: They are among these.
        past: Shape ``(n, length)``, -1 where there is none.
        offset: Shape ``(n, 1)``, what turns items into keys.
        dense: Shape ``(n, n_dense)``.
    """
    held = past >= 0
    at = np.searchsorted(looked.keys, np.where(held, past + offset, looked.keys[0]))
    shares = share_of(looked.rows[:, OTHERS][at], dense[:, LISTENED, None])
    return {
        "past": looked.vectors[at] * held[:, :, None],
        "held": held,
        "shares": (shares * held).astype(np.float32),
    }
