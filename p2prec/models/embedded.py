"""What all recommenders share that look at items through an embedding table.

    s(u, i) = mu + b_u + b_i + w log(1 + share_i / 0.03) + taste(u, v_i, ...)

``v_i`` comes from the table (``p2prec.embeddings``), full or compact; a family says what ``taste``
is, and its gradient by hand. ``b_u`` and the user's vector are private; ``b_i`` and what others say
of an item (``share_i``, counted by gossip) stand in the item's row; ``mu``, ``w``, what the family
and what the table share are dense parameters. Losses: ``p2prec.models.losses``.

A sequence that is not the owner's is *folded in* (FISM: Kabbur, Ning & Karypis, KDD 2013, with one
table in both roles): ``p_X = c |X|^(-1/2) sum_(i in X) v_i`` takes the place of the user's vector.
The softmax of the scores of all items outside ``X`` is the soft decision after it. A family that
reads the sequence itself (``reads_past``) needs no folding.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.draws import integers
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import Device, ItemTable, Packed, Stored
from p2prec.models.explored import Together, together
from p2prec.models.layout import DenseLayout
from p2prec.models.losses import errors_of
from p2prec.models.model import (
    EMBEDDING_SIZES,
    Gradients,
    Held,
    Observer,
    Outlook,
    Parameters,
    RowGradient,
    Step,
)
from p2prec.models.moments import SEQUENCE_LENGTH, Moment, Timeline
from p2prec.models.popularity import popularity
from p2prec.models.recommender import Task
from p2prec.models.softmax import log_softmax
from p2prec.models.stack import Stack
from p2prec.models.table import BIAS, OTHERS

MU, FOLD, WEIGHT, LISTENED = range(4)  # the first dense parameters: mu, c, w, and a statistic
MIDDLE_RATING = 3.0  # of a scale of 1 to 5: where mu starts, before anybody has rated
_SHRINKAGE = 1.0  # ratings in the middle that every owner has given, so to speak
_FOLD = 4.0
_WEIGHT = 1.0
_NEVER = np.float32(-1e9)  # logit of what is masked out
_FRESH_ACCUMULATOR, _FRESH_PIECE = 0.1, 1e-3  # Adagrad's starts: pieces are embeddings, as rows are
_ASKED = 32  # newest interactions by which a search measures
_BLOCK = 8_192  # items that are scored at once

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What tastes are computed from; ``n`` situations with ``k`` candidates each.

    Attributes:
        vectors: Shape ``(n, k, size)``, of the candidates.
        user: Shape ``(n, n_user)``.
        owner: Shape ``(n,)``, the peer of each situation.
        dense: Shape ``(n_peers, n_own)``, what the family shares, as its ``shapes`` say.
        past: Shape ``(n, length, size)``, vectors of the recent items, newest last; None where the
            family does not read them.
        held: Shape ``(n, length)``, false where there is no such item.
        context: Shape ``(n, k, n_fields)``, what else is known, as of ``context_of``; None where
            the family does not ask.
    """

    vectors: Floats
    user: Floats
    owner: NDArray[np.int64]
    dense: Floats
    past: Floats | None = None
    held: NDArray[np.bool_] | None = None
    context: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Gradients by what a ``Batch`` holds; of the same shapes.

    Attributes:
        vectors: By the candidates' vectors.
        user: By the users' vectors.
        dense: By what the family shares.
        past: By the recent items' vectors, if they were read.
    """

    vectors: Floats
    user: Floats
    dense: Floats
    past: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """Items that were looked up, each once.

    Attributes:
        keys: Shape ``(m,)``, of a ``Stack``, ascending.
        rows: Shape ``(m, width)``.
        vectors: Shape ``(m, size)``.
        tape: Of the table.
    """

    keys: NDArray[np.int64]
    rows: Floats
    vectors: Floats
    tape: Any


class EmbeddedModel(ABC):
    """A family; a member says what taste is (``taste``, ``taste_back``, ``shapes``).

    Attributes:
        reads_past: Whether taste comes from the recent items rather than from a folded-in user.
        table: How embeddings are stored.
    """

    family: str
    tasks: frozenset[Task] = frozenset(Task)
    reads_past: ClassVar[bool] = False
    reads_context: ClassVar[bool] = False
    sizes: tuple[int, ...] = EMBEDDING_SIZES
    first = 0
    row_rate = 20.0  # linear in each factor: it bears long steps, and a few hundred must do

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, task: Task, table: ItemTable
    ) -> None:
        self.catalogue, self.size, self.task, self.table = catalogue, embedding_size, task, table
        compact = "" if table.name == "full" else f"/{table.name}-{table.compression}"
        ending = "" if task is Task.RANKING else f"/{task}"
        self.name = f"{self.family}/{embedding_size}{compact}{ending}"
        self.width = table.row_width + 2
        self.own_layout = DenseLayout(**self.shapes(embedding_size))
        self.layout = DenseLayout(base=(4,), own=(self.own_layout.size,), pieces=(table.n_pieces,))
        self.n_dense = self.layout.size
        self.statistics = slice(LISTENED, LISTENED + 1)
        self.own_bent = np.zeros(self.n_dense, np.float32)  # what differs is private
        self.dense_accumulator = np.full(self.n_dense, _FRESH_ACCUMULATOR, np.float32)
        self.dense_accumulator[self.layout.part("pieces")] = _FRESH_PIECE
        self.n_user = self.user_size(embedding_size)
        self.n_private = self.n_user + 1  # and then b_u

    @property
    def reads_moments(self) -> bool:
        """Whether scores depend on the moment at all."""
        return self.reads_past or self.reads_context

    # --- what a family says --------------------------------------------------------------

    def user_size(self, size: int) -> int:
        """Length of the user's own vector; 0 where the recent items take its place."""
        return 0 if self.reads_past else size

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """What the family shares, by name; none here."""
        del size
        return {}

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """What it starts from, flat; the same in all peers of a realm."""
        del rng
        return np.zeros(self.own_layout.size, np.float32)

    def context_of(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        items: NDArray[np.int32],
    ) -> NDArray[np.int64] | None:
        """What else is known of the candidates before an interaction, shape ``(n, k, n_fields)``.

        Args:
            timelines: Of the peers.
            owner: Shape ``(n,)``.
            at: Shape ``(n,)``, positions in the owners' histories.
            items: Shape ``(n, k)``.
        """
        del timelines, owner, at, items
        return None

    def context_now(
        self, moments: Sequence[Moment | None], items: NDArray[np.integer[Any]]
    ) -> NDArray[np.int64] | None:
        """The same of situations: what ``context_of`` says, of ``(n,)`` moments."""
        del moments, items
        return None

    @abstractmethod
    def taste(self, batch: Batch) -> tuple[Floats, Any]:
        """Shape ``(n, k)``, and what ``taste_back`` needs."""

    @abstractmethod
    def taste_back(self, batch: Batch, tape: Any, errors: Floats) -> Parts:
        """Gradients by everything in the batch.

        Args:
            batch: As before.
            tape: Of ``taste``.
            errors: Shape ``(n, k)``, derivatives by tastes.
        """

    # --- what all do ---------------------------------------------------------------------

    def initial_dense(self) -> Floats:
        """``mu``, ``c``, ``w``, no one listened to; then of the family and of the table."""
        dense = np.zeros(self.n_dense, np.float32)
        rating = self.task is Task.RATING
        dense[:4] = (MIDDLE_RATING, _FOLD, 0.0, 0.0) if rating else (0.0, _FOLD, _WEIGHT, 0.0)
        label = b"p2prec/model/1" + self.catalogue.digest + f"{self.family}/{self.size}".encode()
        seed = int.from_bytes(hashlib.sha256(label).digest(), "big")
        rng = np.random.Generator(np.random.Philox(seed=seed))
        dense[self.layout.part("own")] = self.initial_own(rng)
        dense[self.layout.part("pieces")] = self.table.initial_pieces()
        return dense

    def initial_private(self, timeline: Timeline) -> Floats:
        """No taste; whoever rates starts where the owner's ratings lie, shrunk towards ``mu``."""
        private = np.zeros(self.n_private, np.float32)
        if self.task is Task.RATING:
            above = timeline.rating - np.float32(MIDDLE_RATING)
            private[-1] = above.sum() / (len(timeline) + _SHRINKAGE)
        return private

    def dense_rates(self, *, explore_rate: float) -> Floats:
        """``w`` stays: an owner's own visits come back as gossip, and it would learn the echo."""
        rates = np.ones(self.n_dense, np.float32)
        rates[:4] = (1.0, explore_rate, 0.0, 0.0)
        rates[self.layout.part("pieces")] = self.table.piece_rates()
        return rates

    def own_statistics(self, timeline: Timeline) -> Floats:
        """One owner, whose items are counted in the rows."""
        return np.array([float(len(timeline) > 0)], np.float32)

    def sample(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        *,
        negatives: int,
        keys: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Items of which the owner chose none; a rating is compared with nothing."""
        del timelines
        if self.task is Task.RATING:
            return np.empty((len(at), 0), np.int32)
        counters = at[:, None] * negatives + np.arange(negatives)
        return integers(keys[owner, None], counters, len(self.catalogue))

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
        past = _before(step) if self.reads_past else None
        named = [(items + offset).ravel()]
        if past is not None:
            named.append((past + offset)[past >= 0])
        looked = self._looked(stack, np.unique(np.concatenate(named)))
        at = np.searchsorted(looked.keys, items + offset)
        batch = Batch(
            vectors=looked.vectors[at],
            user=stack.private[step.owner, : self.n_user],
            owner=step.owner,
            dense=stack.dense[:, self.layout.part("own")],
            context=self.context_of(step.timelines, step.owner, step.at, items),
            **self._pasts(looked, past, offset),
        )
        taste, tape = self.taste(batch)
        scores = taste + self._known(looked.rows, stack.dense[step.owner, None], at)
        scores += (stack.dense[step.owner, MU] + stack.private[step.owner, -1])[:, None]
        met = self._met(stack, looked.keys)[at]
        loss, errors = errors_of(self.task, scores, step.rating, ~met[:, 1:])
        parts = self.taste_back(batch, tape, errors)
        np.add.at(private[:, : self.n_user], step.owner, parts.user)
        by_score = errors.sum(1)
        np.add.at(private[:, -1], step.owner, by_score)
        np.add.at(dense[:, MU], step.owner, by_score)
        seen = np.bincount(at[:, 0], minlength=len(looked.keys)).astype(np.float32)
        known = seen > 0
        if past is not None:
            known[np.searchsorted(looked.keys, (past + offset)[past >= 0])] = True
        rows = self._summed(looked, at, errors, parts, dense, past=past, offset=offset)
        return loss, RowGradient(keys=looked.keys, gradient=rows, seen=seen, known=known)

    def _taught(self, stack: Stack, taught: Together, dense: Floats) -> RowGradient:
        """Cross entropy of reference sequences against soft decisions."""
        examples, owner, offset = taught.examples, taught.owner, taught.offset
        looked = self._looked(stack, taught.keys)
        past = np.stack([m.sequence for m in examples.moments])
        held = past >= 0
        at = np.searchsorted(looked.keys, examples.candidates + offset)
        share = (held / np.sqrt(held.sum(1, keepdims=True))).astype(np.float32)
        pasts = self._pasts(looked, past, offset, always=True)
        summed = np.einsum("nl,nld->nd", share, pasts["past"])
        fold = stack.dense[owner, FOLD, None]
        batch = Batch(
            vectors=looked.vectors[at],
            user=fold * summed if self.n_user else np.zeros((len(owner), 0), np.float32),
            owner=owner,
            dense=stack.dense[:, self.layout.part("own")],
            context=self.context_now(examples.moments, examples.candidates),
            **(pasts if self.reads_past else {}),
        )
        taste, tape = self.taste(batch)
        logits = taste + self._known(looked.rows, stack.dense[owner, None], at)
        logits[~examples.allowed] = _NEVER
        errors = np.exp(logits - logits.max(1, keepdims=True))
        errors /= errors.sum(1, keepdims=True)
        errors = (errors - examples.target) * examples.weight[:, None]
        parts = self.taste_back(batch, tape, errors)
        if self.n_user:  # through the folded-in user into the sequence and into c
            by_past = share[:, :, None] * (fold * parts.user)[:, None, :]
            if parts.past is not None:
                by_past += parts.past
            np.add.at(dense[:, FOLD], owner, (parts.user * summed).sum(1))
            parts = Parts(vectors=parts.vectors, user=parts.user, dense=parts.dense, past=by_past)
        rows = self._summed(looked, at, errors, parts, dense, past=past, offset=offset)
        return RowGradient(keys=taught.keys, gradient=rows, seen=taught.seen, known=taught.known)

    def _looked(self, stack: Stack, keys: NDArray[np.int64]) -> _Looked:
        rows = stack.gather(keys)
        owner, items = np.divmod(keys, stack.n_items)
        vectors, tape = self.table.compose(
            Stored(
                items=items,
                owner=owner,
                rows=rows[:, : self.table.row_width],
                others=rows[:, OTHERS],
                pieces=stack.dense[:, self.layout.part("pieces")],
            )
        )
        return _Looked(keys=keys, rows=rows, vectors=vectors, tape=tape)

    def _pasts(
        self,
        looked: _Looked,
        past: NDArray[np.int32] | None,
        offset: NDArray[np.int64],
        *,
        always: bool = False,
    ) -> dict[str, Any]:
        """Vectors of recent items, zeros where there is none."""
        if past is None or not (self.reads_past or always):
            return {}
        held = past >= 0
        at = np.searchsorted(looked.keys, np.where(held, past + offset, looked.keys[0]))
        return {"past": looked.vectors[at] * held[:, :, None], "held": held}

    def _summed(
        self,
        looked: _Looked,
        at: NDArray[np.int64],
        errors: Floats,
        parts: Parts,
        dense: Floats,
        *,
        past: NDArray[np.int32] | None,
        offset: NDArray[np.int64],
    ) -> Floats:
        """Gradients by rows; adds those by what is shared."""
        by_vectors = np.zeros_like(looked.vectors)
        np.add.at(by_vectors, at, parts.vectors)
        if past is not None and parts.past is not None:
            held = past >= 0
            np.add.at(
                by_vectors,
                np.searchsorted(looked.keys, (past + offset)[held]),
                parts.past[held],
            )
        by_rows, by_pieces = self.table.backward(looked.tape, by_vectors)
        dense[:, self.layout.part("own")] += parts.dense[: len(dense)]
        dense[:, self.layout.part("pieces")] += by_pieces[: len(dense)]
        rows = np.zeros_like(looked.rows)
        rows[:, : self.table.row_width] = by_rows
        np.add.at(rows[:, BIAS], at, errors)
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

    # --- searching -----------------------------------------------------------------------

    def searched(self, held: Held, timeline: Timeline, round_: int) -> Held | None:
        """The table's search step, as of ``Searching``."""
        pieces, width = self.layout.part("pieces"), self.table.row_width

        def with_(device: Device) -> Held:
            values, dense = held.values.copy(), held.dense.copy()
            values[:, :width], dense[pieces] = device.rows, device.pieces
            return replace(held, values=values, dense=dense)

        def quality(device: Device) -> float:
            return self._quality(with_(device), timeline)

        device = self.device(held)
        found = self.table.searched(device, round_, quality)
        return None if found is None else with_(found)

    def device(self, held: Held) -> Device:
        """What the table stores of it."""
        return Device(
            items=held.items,
            rows=held.values[:, : self.table.row_width],
            others=held.values[:, OTHERS],
            pieces=held.dense[self.layout.part("pieces")],
        )

    def _quality(self, held: Held, timeline: Timeline) -> float:
        """Mean reciprocal rank of the owner's newest interactions; 0 where there are none."""
        rows = initial_table(self.catalogue.digest, "items", len(self.catalogue), self.width).copy()
        rows[held.items] = held.values
        parameters = Parameters(table=rows, dense=held.dense, private=held.private)
        vectors, newest = self.vectors(parameters), range(len(timeline))[-_ASKED:]
        total = 0.0
        for at in newest:
            if not at:
                continue
            moment = timeline.before(at) if self.reads_moments else None
            scores = self.logits(parameters, vectors, moment, own=True)
            total += 1.0 / float((scores >= scores[timeline.item[at]]).sum())
        return total / max(len(newest), 1)

    # --- scoring -------------------------------------------------------------------------

    def vectors(self, parameters: Parameters) -> Floats:
        """Of all items, shape ``(n_items, size)``; a compact table is packed, as on the device."""
        if self.table.compression > 1:
            return self.packed(parameters).vectors(np.arange(len(parameters.table)))
        pieces = parameters.dense[None, self.layout.part("pieces")]
        n = len(parameters.table)
        whole = np.empty((n, self.size), np.float32)
        for start in range(0, n, _BLOCK):
            part = slice(start, min(start + _BLOCK, n))
            items = np.arange(part.start, part.stop)
            whole[part] = self.table.compose(
                Stored(
                    items=items,
                    owner=np.zeros(len(items), np.int64),
                    rows=parameters.table[part, : self.table.row_width],
                    others=parameters.table[part, OTHERS],
                    pieces=pieces,
                )
            )[0]
        return whole

    def packed(self, parameters: Parameters) -> Packed:
        """The table as it lies on the device."""
        initial = initial_table(self.catalogue.digest, "items", len(self.catalogue), self.width)
        items = np.flatnonzero((parameters.table != initial).any(axis=1))
        return self.table.pack(
            Device(
                items=items,
                rows=parameters.table[items, : self.table.row_width],
                others=parameters.table[items, OTHERS],
                pieces=parameters.dense[self.layout.part("pieces")],
            )
        )

    def logits(
        self, parameters: Parameters, vectors: Floats, moment: Moment | None, *, own: bool
    ) -> Floats:
        """Scores of all items, shape ``(n_items,)``.

        Args:
            parameters: Of the peer.
            vectors: As of ``vectors``.
            moment: The situation; None of a newcomer.
            own: Whether the owner asks, or somebody of whom only the sequence is known.
        """
        dense, n = parameters.dense, len(vectors)
        sequence = np.zeros(0, np.int32) if moment is None else moment.sequence
        past = vectors[sequence[sequence >= 0]][None]
        user = np.zeros((1, self.n_user), np.float32)
        if self.n_user and own:
            user[0] = parameters.private[: self.n_user]
        elif self.n_user and past.shape[1]:
            user = (dense[FOLD] * past[0].sum(0) / np.sqrt(past.shape[1]))[None]
        scores = np.empty(n, np.float32)
        for start in range(0, n, _BLOCK):
            items = np.arange(start, min(start + _BLOCK, n))
            batch = Batch(
                vectors=vectors[None, items],
                user=user,
                owner=np.zeros(1, np.int64),
                dense=dense[None, self.layout.part("own")],
                past=past if self.reads_past else None,
                held=np.ones(past.shape[:2], bool) if self.reads_past else None,
                context=self.context_now([moment], items[None]),
            )
            scores[items] = self.taste(batch)[0][0]
        scores += self._known(parameters.table, dense, np.arange(n))
        if own:
            scores += dense[MU] + parameters.private[-1]
        return scores

    def observer(self) -> Observer:
        """Keeps the vectors of the newest parameters."""
        kept: list[tuple[Parameters, Floats]] = []

        def observe(parameters: Parameters, moment: Moment | None) -> Outlook:
            if not kept or kept[0][0] is not parameters:
                kept[:] = [(parameters, self.vectors(parameters))]
            return _View(self, parameters, kept[0][1], moment)

        return observe


@dataclass(frozen=True, slots=True)
class _View:
    """The owner's taste at one moment; sequences of others by folding in."""

    model: EmbeddedModel
    parameters: Parameters
    vectors: Floats
    moment: Moment | None

    def scores(self) -> Floats:
        """Logits of ranks or clicks, or ratings."""
        return self.model.logits(self.parameters, self.vectors, self.moment, own=True)

    def explore_log_probabilities(self) -> Floats:
        """After the moment's sequence; the popular items where there is none."""
        logits = self.model.logits(self.parameters, self.vectors, self.moment, own=False)
        if self.moment is not None:
            logits[self.moment.own] = _NEVER
        return log_softmax(logits)

    def reasons(self, item: int) -> dict[str, float]:
        """The terms of the score that differ from item to item."""
        row, dense = self.parameters.table[item], self.parameters.dense
        others = float(dense[WEIGHT] * popularity(row[OTHERS], dense[LISTENED]))
        bias, base = float(row[BIAS]), float(dense[MU] + self.parameters.private[-1])
        taste = float(self.scores()[item]) - base - bias - others
        return {"fits your taste": taste, "others choose it": others, "liked, whoever asks": bias}


def _before(step: Step) -> NDArray[np.int32]:
    """Items before each interaction, shape ``(n, SEQUENCE_LENGTH)``, newest last, -1 in front."""
    past = np.full((len(step.at), SEQUENCE_LENGTH), -1, np.int32)
    for row, (peer, at) in enumerate(zip(step.owner.tolist(), step.at.tolist(), strict=True)):
        recent = step.timelines[peer].item[max(0, at - SEQUENCE_LENGTH) : at]
        if len(recent):
            past[row, -len(recent) :] = recent
    return past
