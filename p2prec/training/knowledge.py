"""What one peer has learned: its rows, its dense parameters, and what it learned them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.next_place import OTHERS, Explored, NextPlace
from p2prec.models.next_place_features import Moment, Timeline
from p2prec.models.table import RowTable, initial_table
from p2prec.training.config import TrainingConfig

_ROW_ACCUMULATOR = 1e-3  # Adagrad's start for rows: the first step of a row is a large one
_DENSE_ACCUMULATOR = 0.1  # and for dense parameters, which start from reasonable values
_MIN_PREFIX = 3  # interactions before the first one that can be learned from


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One interaction to learn from."""

    moment: Moment
    item: int
    is_new: bool


class Knowledge:
    """The learnable state of one peer and the steps that change it.

    Attributes:
        model: The formulas.
        table: Item rows.
        dense: Shape ``(n_dense,)``.
        evidence is kept in ``table``: how often a row was a target or part of a sequence, by this
        peer or by those it listened to.
    """

    def __init__(
        self, catalogue: Catalogue, model: NextPlace, config: TrainingConfig, history: History
    ) -> None:
        self.catalogue = catalogue
        self.model = model
        self.config = config
        initial = initial_table(catalogue.digest, "items", len(catalogue), model.width)
        self.table = RowTable(initial, accumulator=_ROW_ACCUMULATOR)
        self.dense = model.initial_dense()
        self.dense_accumulator = np.full(model.n_dense, _DENSE_ACCUMULATOR, np.float32)
        self._rates = np.ones(model.n_dense, np.float32)
        for name in ("explore", "attention"):
            model.layout.view(self._rates, name)[...] = config.explore_rate
        # Gossip echoes the own visits, so that own places look popular to their owner: this
        # weight would only learn the echo.
        model.layout.view(self._rates, "explore")[-1] = 0.0
        self._rates[model.statistics] = 0.0
        self.reset_history(history)

    def reset_history(self, history: History) -> None:
        """Learn from ``history`` from now on."""
        self.history = history
        self.timeline = Timeline(self.catalogue, history)
        self.__dict__.pop("examples", None)
        # A visit alone is evidence, so that places older than the oldest example are spoken of too.
        slots = self.table.touch(self.timeline.own)
        self.table.evidence[slots] = np.maximum(self.table.evidence[slots], 1.0)

    @cached_property
    def examples(self) -> list[Example]:
        """The newest interactions, each with the situation before it."""
        n = len(self.history)
        first = max(_MIN_PREFIX, n - self.config.max_examples)
        return [
            Example(
                moment=self.timeline.moment(i, float(self.history.timestamp_s[i])),
                item=int(self.history.item[i]),
                is_new=bool(self.timeline.is_new[i]),
            )
            for i in range(first, n)
        ]

    def epoch(self, rng: np.random.Generator, lessons: Sequence[Explored]) -> tuple[float, int]:
        """One pass over the examples; a share of ``lessons`` joins every step.

        Returns:
            Summed loss and number of examples.
        """
        examples, size = self.examples, self.config.batch_size
        if not examples:
            return 0.0, 0
        order = rng.permutation(len(examples))
        loss = 0.0
        for step, start in enumerate(range(0, len(order), size)):
            batch = [examples[i] for i in order[start : start + size]]
            lesson = lessons[step % len(lessons)] if lessons else None
            loss += self._step(batch, lesson, rng)
        return loss, len(examples)

    def _step(
        self, batch: Sequence[Example], lesson: Explored | None, rng: np.random.Generator
    ) -> float:
        import torch

        n = len(batch)
        dense = torch.from_numpy(self.dense.copy()).requires_grad_()
        loss = self.model.return_loss(
            dense.expand(n, -1),
            [e.moment for e in batch],
            np.array([e.item for e in batch], np.int32),
        )
        reported = float(loss.detach())
        parts = [self._explored([e for e in batch if e.is_new], rng), lesson]
        leaves: list[tuple[NDArray[np.int64], torch.Tensor]] = []
        for explored in parts:
            if explored is None:
                continue
            index = self.model.explore_rows(explored)
            rows = torch.from_numpy(self.table.gather(index)).requires_grad_()
            part = self.model.explore_loss(
                rows, dense.expand(len(explored.moments), -1), explored, index
            )
            reported += float(part.detach()) if explored is not lesson else 0.0
            loss = loss + part
            leaves.append((index, rows))
        loss.backward()  # type: ignore[no-untyped-call]
        if dense.grad is not None:
            self._update_dense((dense.grad / n).numpy())
        for (index, rows), explored in zip(
            leaves, [p for p in parts if p is not None], strict=True
        ):
            if rows.grad is not None:
                self._update_rows(index, rows.grad.numpy(), explored)
        return reported

    def _explored(self, batch: Sequence[Example], rng: np.random.Generator) -> Explored | None:
        if not batch:
            return None
        k = self.config.negatives
        targets = np.array([e.item for e in batch], np.int32)[:, None]
        drawn = rng.integers(0, len(self.catalogue), (len(batch), k), dtype=np.int32)
        candidates = np.concatenate([targets, drawn], axis=1)
        allowed = np.stack(
            [~np.isin(row, e.moment.own) for row, e in zip(candidates, batch, strict=True)]
        )
        allowed[:, 1:] &= candidates[:, 1:] != targets
        allowed[:, 0] = True
        target = np.zeros(candidates.shape, np.float32)
        target[:, 0] = 1.0
        return Explored(
            moments=[e.moment for e in batch],
            candidates=candidates,
            target=target,
            allowed=allowed,
            weight=np.ones(len(batch), np.float32),
        )

    def _update_dense(self, gradient: NDArray[np.float32]) -> None:
        gradient = gradient + self.config.reg * (self.dense - self.model.initial_dense())
        self.dense_accumulator += gradient**2
        rate = self.config.dense_learning_rate * self._rates
        self.dense -= rate * gradient / np.sqrt(self.dense_accumulator)

    def _update_rows(
        self, index: NDArray[np.int64], gradient: NDArray[np.float32], explored: Explored
    ) -> None:
        """Row-wise Adagrad on rows with evidence.

        A sampled place that nobody has told about stays at its initial values: pushing it down
        would only grow the memory, since a softmax does not care for a common offset.
        """
        seen = np.zeros(len(index), np.float32)
        positive = explored.target > 0
        np.add.at(seen, np.searchsorted(index, explored.candidates[positive]), 1.0)
        known = (seen > 0) | (self.table.evidence_of(index) > 0)
        sequence = np.stack([m.sequence for m in explored.moments])
        known[np.searchsorted(index, np.unique(sequence[sequence >= 0]))] = True
        rows, gradient, seen = index[known], gradient[known], seen[known]
        slots = self.table.touch(rows)
        gradient = gradient + self.config.reg * (
            self.table.values[slots] - self.table.initial[rows]
        )
        gradient[:, OTHERS] = 0.0  # a statistic, not a parameter
        self.table.accumulator[slots] += (gradient**2).mean(1)
        step = self.config.learning_rate / np.sqrt(self.table.accumulator[slots])
        self.table.values[slots] -= step[:, None] * gradient
        self.table.evidence[slots] += seen
