"""The next-place model as a family: what a step learns from, and what an owner is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.models.explored import Explored, together
from p2prec.models.model import (
    Batch,
    Gradients,
    Observer,
    Outlook,
    Parameters,
    RowGradient,
    Stack,
)
from p2prec.models.next_place import NextPlace, log_softmax, popularity
from p2prec.models.next_place_features import RETURN_FEATURES, Moment, Surroundings, Timeline, View
from p2prec.models.recommender import Task
from p2prec.models.table import BIAS, OTHERS

if TYPE_CHECKING:
    import torch


class NextPlaceModel(NextPlace):
    """Implements ``p2prec.models.model.Model``; gradients by autograd on gathered rows."""

    tasks = frozenset({Task.RANKING})
    task = Task.RANKING
    n_private = 0  # an owner's own features take the place of a user vector
    row_rate = 1.0
    first = 3

    def __init__(self, catalogue: Catalogue, embedding_size: int, task: Task) -> None:
        del task  # one only
        super().__init__(catalogue, embedding_size)

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
        return rates

    def sample(
        self,
        timeline: Timeline,
        at: NDArray[np.int64],
        *,
        negatives: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Places that each first visit might have gone to instead."""
        n_new = int(timeline.is_new[at].sum())
        return rng.integers(0, len(self.catalogue), (n_new, negatives), dtype=np.int32)

    def gradients(self, stack: Stack, batches: Sequence[Batch]) -> Gradients:
        """Forward and backward over the examples of all peers at once."""
        import torch

        dense = torch.from_numpy(stack.dense).requires_grad_()
        owner = np.repeat(np.arange(len(batches)), [len(b.at) for b in batches])
        returned = self.return_loss(
            dense[torch.from_numpy(owner)],
            [b.timeline.before(int(i)) for b in batches for i in b.at],
            np.concatenate([b.timeline.item[b.at] for b in batches]),
        )
        reported = _by_peer(owner, returned, len(batches))
        total = returned.sum()
        tried = together([_first_visits(b) for b in batches], n_items=stack.n_items)
        taught = together([b.lesson for b in batches], n_items=stack.n_items)
        parts = []
        for part in filter(None, (tried, taught)):
            rows = torch.from_numpy(stack.gather(part.keys)).requires_grad_()
            loss = self.explore_loss(rows, dense[torch.from_numpy(part.owner)], part)
            if part is tried:
                reported += _by_peer(part.owner, loss, len(batches))
            total = total + loss.sum()
            parts.append((part, rows))
        by_dense, *by_rows = torch.autograd.grad(total, [dense, *(rows for _, rows in parts)])
        return Gradients(
            loss=reported,
            dense=by_dense.numpy(),
            private=np.zeros_like(stack.private),
            rows=[
                RowGradient(
                    keys=part.keys, gradient=gradient.numpy(), seen=part.seen, known=part.known
                )
                for (part, _), gradient in zip(parts, by_rows, strict=True)
            ],
        )

    def observer(self) -> Observer:
        """Keeps how all places lie to those that the owner goes to."""
        surroundings = Surroundings(self.catalogue)
        latest: tuple[bytes, View] | None = None  # the same until the owner goes somewhere

        def observe(parameters: Parameters, moment: Moment | None) -> Outlook:
            nonlocal latest
            if moment is None:
                return _Newcomer(parameters)
            sequence = moment.sequence.tobytes()
            if latest is None or latest[0] != sequence:
                latest = sequence, surroundings.of(moment)
            return _Visitor(self, parameters, moment, latest[1])

        return observe


def _first_visits(batch: Batch) -> Explored | None:
    timeline = batch.timeline
    new = batch.at[timeline.is_new[batch.at]]
    if not len(new):
        return None
    moments = [timeline.before(int(i)) for i in new]
    targets = timeline.item[new][:, None]
    candidates = np.concatenate([targets, batch.sampled], axis=1)
    allowed = np.stack([~np.isin(row, m.own) for row, m in zip(candidates, moments, strict=True)])
    allowed[:, 1:] &= candidates[:, 1:] != targets
    allowed[:, 0] = True
    target = np.zeros(candidates.shape, np.float32)
    target[:, 0] = 1.0
    return Explored(
        moments=moments,
        candidates=candidates,
        target=target,
        allowed=allowed,
        weight=np.ones(len(new), np.float32),
    )


def _by_peer(owner: NDArray[np.int64], loss: torch.Tensor, n_peers: int) -> NDArray[np.float64]:
    weights = loss.detach().numpy().astype(np.float64)
    return np.bincount(owner, weights=weights, minlength=n_peers).astype(np.float64)


class _Newcomer:
    """Nothing is known of the owner: what others go to."""

    def __init__(self, parameters: Parameters) -> None:
        self._table = parameters.table

    def scores(self) -> NDArray[np.float32]:
        """Popularity among others and bias."""
        return self._table[:, OTHERS] + self._table[:, BIAS]

    def explore_log_probabilities(self) -> NDArray[np.float32]:
        """All places are new."""
        return log_softmax(self.scores())

    def reasons(self, item: int) -> dict[str, float]:
        """Only one."""
        return {"others go there": float(self._table[item, OTHERS])}


class _Visitor:
    """An owner with a history, or a reference sequence."""

    def __init__(
        self, model: NextPlaceModel, parameters: Parameters, moment: Moment, view: View
    ) -> None:
        self._model = model
        self._table, self._dense = parameters.table, parameters.dense
        self._moment = moment
        self._view = view

    def scores(self) -> NDArray[np.float32]:
        """Log-probabilities under the mixture."""
        return self._model.scores(self._table, self._dense, self._moment, self._view)

    def explore_log_probabilities(self) -> NDArray[np.float32]:
        """Of the explore decoder alone."""
        return self._model.explore_log_probabilities(
            self._table, self._dense, self._moment, self._view
        )

    def reasons(self, item: int) -> dict[str, float]:
        """Features by weight, against their mean over the owner's places or over all."""
        table, moment, layout = self._table, self._moment, self._model.layout
        at = int(np.searchsorted(moment.own, item))
        if at < len(moment.own) and moment.own[at] == item:
            effect = layout.view(self._dense, "returning") * (
                moment.returning[at] - moment.returning.mean(0)
            )
            return dict(zip(RETURN_FEATURES, map(float, effect), strict=True))
        held = moment.sequence[moment.sequence >= 0]
        likeness = table[held, :OTHERS] @ table[item, :OTHERS]
        weights = layout.view(self._dense, "explore")
        near = self._view.closeness[-1]
        heard = layout.view(self._dense, "tried").sum()
        return {
            "near": float(weights[0] * (near[item] - near.mean())),
            "others go there": float(
                weights[-1] * popularity(table[item, OTHERS], heard) + table[item, BIAS]
            ),
            "goes with places you know": float(
                layout.view(self._dense, "attention")[0] * likeness.mean()
            ),
        }
