"""The next-place model as a family: what a step learns from, and what an owner is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.draws import integers
from p2prec.embeddings.full import Full
from p2prec.embeddings.table import ItemTable
from p2prec.models.explored import Explored, Together, keyed, together
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
from p2prec.models.next_place import NextPlace
from p2prec.models.next_place_features import Surroundings, View
from p2prec.models.popularity import Newcomer, popularity_of
from p2prec.models.recommender import Task
from p2prec.models.returns import RETURN_FEATURES
from p2prec.models.stack import Stack, found
from p2prec.models.table import BIAS, OTHERS
from p2prec.models.tabled import Ready, kept

if TYPE_CHECKING:
    import torch


_FRESH_ACCUMULATOR, _FRESH_PIECE = 0.1, 1e-3  # Adagrad's starts, the second as that of rows
_PIECE_RATE = 0.1  # many items move one piece, but rows here learn slowly as well


class NextPlaceModel(NextPlace):
    """Repeat or explore, attending to the recent sequence; gradients by autograd."""

    tasks = frozenset({Task.RANKING})
    sizes = EMBEDDING_SIZES
    task = Task.RANKING
    n_private = 0  # an owner's own features take the place of a user vector
    row_rate = 1.0
    first = 3
    of_moments = True
    heeds_biases = 1.0

    def __init__(
        self,
        catalogue: Catalogue,
        embedding_size: int,
        task: Task,
        table: ItemTable | None = None,
    ) -> None:
        del task  # one only
        super().__init__(catalogue, table or Full(catalogue, embedding_size, 1))
        # They start from reasonable values; pieces of embeddings do not.
        self.dense_accumulator = np.full(self.n_dense, _FRESH_ACCUMULATOR, np.float32)
        self.dense_accumulator[self.layout.part("pieces")] = _FRESH_PIECE
        self._look = self._looking()
        self._observer = self._observing()

    def initial_private(self, timeline: Timeline) -> NDArray[np.float32]:
        """There are none."""
        del timeline
        return np.empty(0, np.float32)

    def dense_rates(self, *, explore_rate: float) -> NDArray[np.float32]:
        """An owner's few first visits teach the explore decoder badly: it has a rate of its own."""
        rates = np.ones(self.n_dense, np.float32)
        for name in ("explore", "attention"):
            self.layout.view(rates, name)[...] = explore_rate
        # Gossip echoes the own visits, so that own places look popular to their owner: this
        # weight would only learn the echo.
        self.layout.view(rates, "explore")[-1] = 0.0
        rates[self.statistics] = 0.0
        rates[self.layout.part("pieces")] = _PIECE_RATE * self.table.piece_rates()
        return rates

    def sample(
        self,
        timelines: Sequence[Timeline],
        owner: NDArray[np.int64],
        at: NDArray[np.int64],
        *,
        negatives: int,
        keys: NDArray[np.uint64],
    ) -> NDArray[np.int32]:
        """Places that each first visit might have gone to instead."""
        new = _is_new(timelines, owner, at)
        counters = at[new, None] * negatives + np.arange(negatives)
        return integers(keys[owner[new], None], counters, len(self.catalogue))

    def rows_of_example(self, negatives: int) -> int:
        """Each candidate is compared with a whole sequence."""
        return (1 + negatives) * SEQUENCE_LENGTH // (self.size + 2)

    def gradients(self, stack: Stack, step: Step) -> Gradients:
        """Forward and backward over the examples of all peers at once."""
        import torch

        n_peers, n_own = len(step.timelines), self.layout.part("pieces").start
        dense = torch.from_numpy(stack.dense[:n_peers, :n_own]).requires_grad_()
        bounds = np.searchsorted(step.owner, np.arange(n_peers + 1)).tolist()
        moments = [
            moment
            for timeline, (start, stop) in zip(step.timelines, pairwise(bounds), strict=True)
            for moment in timeline.before_each(step.at[start:stop])
        ]
        returned = self.return_loss(dense[torch.from_numpy(step.owner)], moments, step.item)
        reported = _by_peer(step.owner, returned, n_peers)
        total = returned.sum()
        tried = _first_visits(step, moments, n_items=stack.n_items)
        taught = together(step.lessons, n_items=stack.n_items)
        parts = []
        for part in filter(None, (tried, taught)):
            looked = self.looked(stack, part.keys)
            plain = np.hstack([looked.vectors, looked.rows[:, OTHERS:]])
            rows = torch.from_numpy(plain).requires_grad_()
            loss = self.explore_loss(rows, dense[torch.from_numpy(part.owner)], part)
            if part is tried:
                reported += _by_peer(part.owner, loss, n_peers)
            total = total + loss.sum()
            parts.append((part, looked, rows))
        by_own, *by_plain = torch.autograd.grad(total, [dense, *(rows for *_, rows in parts)])
        by_dense = np.zeros((n_peers, self.n_dense), np.float32)
        by_dense[:, :n_own] = by_own.numpy()
        by_rows = []
        for (_, looked, _), gradient in zip(parts, by_plain, strict=True):
            by_row = self.backward(looked, gradient[:, : self.size].numpy(), by_dense)
            by_row[:, BIAS] = gradient[:, BIAS].numpy()
            by_rows.append(by_row)
        return Gradients(
            loss=reported,
            dense=by_dense,
            private=np.zeros((n_peers, 0), np.float32),
            rows=[
                RowGradient(keys=part.keys, gradient=by_row, seen=part.seen, known=part.known)
                for (part, *_), by_row in zip(parts, by_rows, strict=True)
            ],
        )

    def observer(self) -> Observer:
        """Keeps how all places lie to those that owners go to."""
        return self._observer

    def _observing(self) -> Observer:
        ready = kept(self.ready)

        def observe(parameters: Parameters, moment: Moment | None) -> Outlook:
            return self._look(ready(parameters), moment)

        return observe

    def opened(self, ready: Ready) -> Looking:
        """As of ``Tabled``."""
        return partial(self._look, ready)

    def _looking(self) -> Callable[[Ready, Moment | None], Outlook]:
        surroundings = Surroundings(self.catalogue)
        latest: tuple[bytes, View] | None = None  # the same until the owner goes somewhere

        def look(ready: Ready, moment: Moment | None) -> Outlook:
            nonlocal latest
            if moment is None:
                heard = self.layout.view(ready.dense, "tried").sum()
                return Newcomer(heard * ready.shares, ready.bias)
            # Read and written as a whole: another thread may look at another situation.
            sequence, seen = moment.sequence.tobytes(), latest
            if seen is None or seen[0] != sequence:
                seen = sequence, surroundings.of(moment)
                latest = seen
            return _Visitor(self, ready, moment, seen[1])

        return look


def _is_new(
    timelines: Sequence[Timeline], owner: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which interactions are first visits."""
    starts = np.cumsum([0, *(len(t) for t in timelines)])
    new: NDArray[np.bool_] = np.concatenate([t.is_new for t in timelines])[starts[owner] + at]
    return new


def _first_visits(step: Step, moments: Sequence[Moment], *, n_items: int) -> Together | None:
    new = np.flatnonzero(_is_new(step.timelines, step.owner, step.at))
    if not len(new):
        return None
    before = [moments[i] for i in new.tolist()]
    targets = step.item[new, None]
    candidates = np.concatenate([targets, step.sampled], axis=1)
    offset = np.arange(len(new))[:, None] * n_items
    known = [m.own for m in before]
    own = np.repeat(offset[:, 0], [len(k) for k in known])
    own += np.concatenate(known)
    allowed = ~found(own, candidates + offset)[1]
    allowed[:, 1:] &= candidates[:, 1:] != targets
    allowed[:, 0] = True
    target = np.zeros(candidates.shape, np.float32)
    target[:, 0] = 1.0
    examples = Explored(
        moments=before,
        candidates=candidates,
        target=target,
        allowed=allowed,
        weight=np.ones(len(new), np.float32),
    )
    return keyed(examples, step.owner[new], n_items=n_items)


def _by_peer(owner: NDArray[np.int64], loss: torch.Tensor, n_peers: int) -> NDArray[np.float64]:
    weights = loss.detach().numpy().astype(np.float64)
    return np.bincount(owner, weights=weights, minlength=n_peers).astype(np.float64)


class _Visitor:
    """An owner with a history, or a reference sequence."""

    def __init__(self, model: NextPlaceModel, ready: Ready, moment: Moment, view: View) -> None:
        self._model, self._ready = model, ready
        self._moment, self._view = moment, view

    def scores(self) -> NDArray[np.float32]:
        """Log-probabilities under the mixture."""
        return self._model.scores(self._ready, self._moment, self._view)

    def explore_log_probabilities(self) -> NDArray[np.float32]:
        """Of the explore decoder alone."""
        return self._model.explore_log_probabilities(self._ready, self._moment, self._view)

    def reasons(self, item: int) -> dict[str, float]:
        """Features by weight, against their mean over the owner's places or over all."""
        ready, moment, layout = self._ready, self._moment, self._model.layout
        at = int(np.searchsorted(moment.own, item))
        if at < len(moment.own) and moment.own[at] == item:
            effect = layout.view(ready.dense, "returning") * (
                moment.returning[at] - moment.returning.mean(0)
            )
            return dict(zip(RETURN_FEATURES, map(float, effect), strict=True))
        held = moment.sequence[moment.sequence >= 0]
        likeness = ready.source.vectors(held) @ ready.source.vectors(np.array([item]))[0]
        weights, near = layout.view(ready.dense, "explore"), self._view.near
        others = popularity_of(ready.shares[item : item + 1])[0]
        return {
            "near": float(weights[0] * (near[item] - near.mean())),
            "others go there": float(weights[-1] * others + ready.bias[item]),
            "goes with places you know": float(
                layout.view(ready.dense, "attention")[0] * likeness.mean()
            ),
        }
