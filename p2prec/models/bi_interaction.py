"""Interactions of user, item and context, two by two, in the time of one sum.

    B = sum_(a < b) x_a * x_b = ((sum_a x_a)^2 - sum_a x_a^2) / 2 = sum_b x_b * sum_(a < b) x_a

element by element; the last form, with running sums, takes the same time as the squares and does
not subtract large numbers from each other.

The fields ``x`` are the user, the item, and a vector for each class of the context: hour and day of
the week, category of the last item; distance from it, and the candidate's category. Rendle, ICDM
2010, lemma 3.1 (the sum over the elements of ``B``); He & Chua, SIGIR 2017, section 3.1 (``B``
itself, as a layer). The vectors of classes and a weight for each are shared dense parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.embeddings.bases import summed
from p2prec.embeddings.table import Block, ItemTable
from p2prec.models.context import Surrounded, classes_of, last_of
from p2prec.models.embedded import EmbeddedModel
from p2prec.models.moments import Moment, Timeline
from p2prec.models.recommender import Task
from p2prec.models.tabled import Floats, Vectors
from p2prec.models.taste import Batch

_SMALL = 0.1  # length of the vectors of classes at the start, where those of items have 0.5

_RATE, _RATING_RATE = 0.3, 0.1  # a few ratings of one owner are soon explained by their hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """``B`` and what its gradient needs.

    Attributes:
        interactions: ``B``, shape ``(n, k, size)``.
        linear: Shape ``(n, k)``, summed weights of classes.
        total: Shape ``(n, k, size)``, sum of all fields.
        situation: Shape ``(n, N_SITUATION, size)``, vectors of classes.
        candidates: Shape ``(n, k, N_CANDIDATE, size)``.
    """

    interactions: Floats
    linear: Floats
    total: Floats
    situation: Floats
    candidates: Floats


class FieldModel(EmbeddedModel):
    """A family over pairwise interactions of fields."""

    reads_context: ClassVar[bool] = True

    def __init__(
        self, catalogue: Catalogue, embedding_size: int, task: Task, table: ItemTable
    ) -> None:
        self.classes = classes_of(catalogue)
        self.own_rate = _RATING_RATE if task is Task.RATING else _RATE
        super().__init__(catalogue, embedding_size, task, table)

    def shapes(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """Vectors and weights of classes."""
        return {"classes": (self.classes.size, size), "weights": (self.classes.size,)}

    def initial_own(self, rng: np.random.Generator) -> Floats:
        """Short vectors, no weights."""
        own = np.zeros(self.own_layout.size, np.float32)
        vectors = self.own_layout.view(own, "classes")
        vectors[...] = rng.standard_normal(vectors.shape) * _SMALL / np.sqrt(self.size)
        return own

    def context_of(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        items: NDArray[np.int32],
    ) -> Surrounded:
        """As of the histories."""
        return self.classes.of(timelines, owner, at, items)

    def context_now(
        self, moments: Sequence[Moment | None], items: NDArray[np.integer[Any]]
    ) -> Surrounded:
        """As of the moments."""
        return self.classes.now(moments, items)

    def pooled(self, batch: Batch) -> Pooled:
        """Interactions of all candidates."""
        vectors = self.own_layout.views(batch.dense, "classes")
        weights = self.own_layout.views(batch.dense, "weights")
        owner, context = batch.owner, batch.context
        situation = vectors[owner[:, None], context.situation]
        candidates = vectors[owner[:, None, None], context.candidates]
        shared, among = _interactions(batch.user, np.moveaxis(situation, 1, 0))
        total, interactions = _interactions(
            shared[:, None] + batch.vectors, np.moveaxis(candidates, 2, 0)
        )
        interactions += shared[:, None] * batch.vectors + among[:, None]
        linear = weights[owner[:, None], context.situation].sum(1)[:, None]
        return Pooled(
            interactions=interactions,
            linear=linear + weights[owner[:, None, None], context.candidates].sum(2),
            total=total,
            situation=situation,
            candidates=candidates,
        )

    def pooled_back(
        self, batch: Batch, pooled: Pooled, errors: Floats, by_interactions: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Gradients by vectors, by users, and by what is shared (zeros where a member adds to it).

        Args:
            batch: As of ``pooled``.
            pooled: What it gave.
            errors: By ``linear``.
            by_interactions: By ``interactions``.
        """
        n_peers, layout, context = len(batch.dense), self.own_layout, batch.context
        weighted = pooled.total * by_interactions
        by_all, by_sum = weighted.sum(1), by_interactions.sum(1)
        # Of each field: the sum of all others.
        by_situation = by_all[:, None] - pooled.situation * by_sum[:, None]
        by_candidates = weighted[:, :, None] - pooled.candidates * by_interactions[:, :, None]
        owners = [np.repeat(batch.owner, part[0].size) for part in _parts(context)]
        rows = np.concatenate([part.ravel() for part in _parts(context)])
        both = np.concatenate([g.reshape(-1, self.size) for g in (by_situation, by_candidates)])
        by_weights = np.concatenate(
            [
                np.broadcast_to(g, part.shape).ravel()
                for g, part in zip(
                    (errors.sum(1)[:, None], errors[:, :, None]), _parts(context), strict=True
                )
            ]
        )
        owner, shape = np.concatenate(owners), (n_peers, self.classes.size)
        by_dense = np.zeros_like(batch.dense)
        by_dense[:, layout.part("classes")] = summed(owner, rows, both, shape)
        by_dense[:, layout.part("weights")] = summed(owner, rows, by_weights[:, None], shape)
        by_vectors = weighted - batch.vectors * by_interactions
        return by_vectors, by_all - batch.user * by_sum, by_dense

    def all_pooled(
        self, asked: Batch, source: Vectors, moment: Moment | None
    ) -> Iterator[tuple[Block, Floats, Floats]]:
        """Items, ``B`` and the sum of weights of one situation, block by block.

        Candidates differ by their vector, and by their classes, of which there are few
        combinations: ``B = v * (s + c) + s * c + ...`` with ``s`` the sum of what all share and
        ``c`` the sum of a combination.
        """
        classes, dense = self.classes, asked.dense[0]
        vectors = self.own_layout.view(dense, "classes")
        weights = self.own_layout.view(dense, "weights")
        situation = classes.now([moment], np.zeros((1, 1), np.int64)).situation[0]
        shared, among = _interactions(asked.user[0], vectors[situation])
        first = classes.near + classes.n_near
        near = slice(classes.near, first)
        kinds, nears = vectors[first:], vectors[near]
        pair = (nears[:, None] + kinds).reshape(-1, self.size)
        alone = (nears[:, None] * kinds).reshape(-1, self.size) + shared * pair + among
        linear = (weights[near][:, None] + weights[first:]).ravel() + weights[situation].sum()
        pair += shared
        away = classes.distances(last_of(moment))
        for items, alike in source.in_blocks():
            which = away[items] * len(kinds) + (classes.category[items] - first)
            interactions = alike * pair.take(which, axis=0)
            interactions += alone.take(which, axis=0)
            yield items, interactions, linear.take(which)


def _interactions(first: Floats, more: Floats) -> tuple[Floats, Floats]:
    """Sum of fields and their interactions, element by element, of the shape of ``first``.

    Args:
        first: One field.
        more: Shape ``(n_fields, *first.shape)``.
    """
    total, found = first, np.zeros_like(first)
    for field in more:
        found = found + total * field
        total = total + field
    return total, found


def _parts(context: Surrounded) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return context.situation, context.candidates
