"""What one peer has learned: its rows, its dense and private parameters, and from what."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.models.model import Model, Parameters
from p2prec.models.next_place_features import Timeline
from p2prec.models.table import OTHERS, RowTable, initial_table
from p2prec.training.config import TrainingConfig

_ROW_ACCUMULATOR = 1e-3  # Adagrad's start for rows: the first step of a row is a large one
_DENSE_ACCUMULATOR = 0.1  # and for dense parameters, which start from reasonable values


class Knowledge:
    """The learnable state of one peer.

    Attributes:
        model: The formulas.
        table: Item rows. Their evidence says how often a row was a target or part of a sequence,
            by this peer or by those it listened to.
        dense: Shape ``(n_dense,)``, shared with others.
        private: Shape ``(n_private,)``; no payload is made of it.
        timeline: The owner's history.
    """

    def __init__(
        self, catalogue: Catalogue, model: Model, config: TrainingConfig, history: History
    ) -> None:
        self.catalogue = catalogue
        self.model = model
        self.config = config
        initial = initial_table(catalogue.digest, "items", len(catalogue), model.width)
        self.table = RowTable(initial, accumulator=_ROW_ACCUMULATOR)
        self.dense = model.initial_dense()
        self.dense_accumulator = np.full(model.n_dense, _DENSE_ACCUMULATOR, np.float32)
        self.private_accumulator = np.full(model.n_private, _ROW_ACCUMULATOR, np.float32)
        self._rates = model.dense_rates(explore_rate=config.explore_rate)
        self.reset_history(history)
        self.private = self._private_start.copy()

    def reset_history(self, history: History) -> None:
        """Learn from ``history`` from now on."""
        self.history = history
        self.timeline = Timeline(self.catalogue, history)
        self._private_start = self.model.initial_private(self.timeline)
        # A visit alone is evidence, so that places older than the oldest example are spoken of too.
        slots = self.table.touch(self.timeline.own)
        self.table.evidence[slots] = np.maximum(self.table.evidence[slots], 1.0)

    def examples(self) -> NDArray[np.int64]:
        """Positions in the timeline of the newest interactions that can be learned from."""
        n = len(self.timeline)
        return np.arange(max(self.model.first, n - self.config.max_examples), n)

    def parameters(self) -> Parameters:
        """A copy of all that scoring needs."""
        return Parameters(
            table=self.table.dense(), dense=self.dense.copy(), private=self.private.copy()
        )

    def update_dense(self, gradient: NDArray[np.float32]) -> None:
        """Adagrad on the dense parameters."""
        gradient = gradient + self.config.reg * (self.dense - self.model.initial_dense())
        self.dense_accumulator += gradient**2
        rate = self.config.dense_learning_rate * self._rates
        self.dense -= rate * gradient / np.sqrt(self.dense_accumulator)

    def update_private(self, gradient: NDArray[np.float32]) -> None:
        """Adagrad on the private parameters."""
        gradient = gradient + self.config.reg * (self.private - self._private_start)
        self.private_accumulator += gradient**2
        rate = self.config.learning_rate * self.model.row_rate
        self.private -= rate * gradient / np.sqrt(self.private_accumulator)

    def update_rows(
        self,
        rows: NDArray[np.int64],
        gradient: NDArray[np.float32],
        *,
        seen: NDArray[np.float32],
        known: NDArray[np.bool_],
    ) -> None:
        """Row-wise Adagrad on rows with evidence.

        A sampled place that nobody has told about stays at its initial values: pushing it down
        would only grow the memory, since a softmax does not care for a common offset.

        Args:
            rows: Shape ``(n,)``, unique item rows.
            gradient: Shape ``(n, width)``.
            seen: As of ``RowGradient``.
            known: As of ``RowGradient``.
        """
        kept = known | (self.table.evidence_of(rows) > 0)
        rows, gradient = rows[kept], gradient[kept]
        slots = self.table.touch(rows)
        gradient = gradient + self.config.reg * (
            self.table.values[slots] - self.table.initial[rows]
        )
        gradient[:, OTHERS] = 0.0  # a statistic, not a parameter
        self.table.accumulator[slots] += (gradient**2).mean(1)
        rate = self.config.learning_rate * self.model.row_rate
        step = rate / np.sqrt(self.table.accumulator[slots])
        self.table.values[slots] -= step[:, None] * gradient
        self.table.evidence[slots] += seen[kept]
