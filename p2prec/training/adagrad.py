"""Adagrad for the first peers of a stack: row-wise on rows, by parameter on vectors.

Duchi, Hazan & Singer, JMLR 2011; the row-wise form keeps one sum a row. Rows may take plain steps
of gradient descent instead (``TrainingConfig.row_optimizer``). Rows are those of items, and
stretches of the dense parameters that items of a compact table share in place of rows: what a step
did not read of them is not pulled back, and gradients are summed over examples, as of rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.kernels import compiled
from p2prec.models.model import Model, RowGradient
from p2prec.models.shelf import Shelf
from p2prec.models.stack import Stack, dotted
from p2prec.models.table import OTHERS
from p2prec.models.tabled import SharedRows, shared_rows
from p2prec.training.config import TrainingConfig


def per_example(
    model: Model, dense: NDArray[np.float32], sizes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Gradients of dense parameters as steps take them: means, but sums of those that are rows.

    Args:
        model: Of the peers.
        dense: Summed over examples, shape ``(n, n_dense)``.
        sizes: Examples of each peer, shape ``(n, 1)``.
    """
    means = dense / sizes
    shared = shared_rows(model)
    if shared is not None:
        means[:, shared.part] = dense[:, shared.part]
    return means


def update_vectors(
    stack: Stack,
    model: Model,
    config: TrainingConfig,
    *,
    dense: NDArray[np.float32],
    private: NDArray[np.float32],
) -> None:
    """A step of dense and private parameters.

    Args:
        stack: Its vectors are changed.
        model: Of its peers.
        config: Of its peers.
        dense: Gradient, as of ``per_example``, of the first ``n`` peers.
        private: Gradient, shape ``(n, n_private)``.
    """
    shelf, n = stack.shelf, len(dense)
    seats = stack.seats[:n]
    shared = shared_rows(model)
    end = dense.shape[1] if shared is None else shared.part.start
    plain = [slice(0, end)]
    if shared is not None:
        plain.append(slice(shared.part.stop, dense.shape[1]))
        _update_shared(stack, config, shared, dense[:, shared.part], model.row_rate)
    rates = model.dense_rates(explore_rate=config.explore_rate)
    rates = np.float32(config.dense_learning_rate) * rates
    initial = model.initial_dense()
    for part in plain:
        gradient = dense[:, part] + config.reg * (stack.dense[:n, part] - initial[part])
        sums = shelf.dense_accumulator[seats, part] + gradient**2
        shelf.dense_accumulator[seats, part] = sums
        stack.dense[:n, part] -= rates[part] * gradient / np.sqrt(sums)
    private = private + config.reg * (stack.private[:n] - shelf.private_start[seats])
    shelf.private_accumulator[seats] += private**2
    rate = np.float32(config.learning_rate * model.row_rate)
    stack.private[:n] -= rate * private / np.sqrt(shelf.private_accumulator[seats])


def _update_shared(
    stack: Stack,
    config: TrainingConfig,
    shared: SharedRows,
    gradient: NDArray[np.float32],
    row_rate: float,
) -> None:
    """A step of rows that items share, of those that it has read.

    Args:
        stack: Its vectors are changed.
        config: Of its peers.
        shared: The rows.
        gradient: Summed over examples, shape ``(n, bounds[-1])``, of the first ``n`` peers.
        row_rate: As of ``Model``.
    """
    starts, widths = shared.rows.bounds[:-1], shared.rows.widths
    seats = stack.seats[: len(gradient)]
    values = stack.dense[: len(gradient), shared.part]
    read = np.logical_or.reduceat(gradient != 0, starts, axis=1)
    gradient = gradient + np.float32(config.reg) * (values - shared.start) * read.repeat(widths, 1)
    rates = np.float32(config.learning_rate * row_rate) * shared.rates
    if config.row_optimizer == "adagrad":
        mean = np.add.reduceat(gradient**2, starts, axis=1) / widths.astype(np.float32)
        # One sum a row, which each of its parameters holds.
        sums = stack.shelf.dense_accumulator[seats, shared.part] + mean.repeat(widths, 1)
        stack.shelf.dense_accumulator[seats, shared.part] = sums
        gradient /= np.sqrt(sums)
    stack.dense[: len(gradient), shared.part] -= rates * gradient


def update_rows(stack: Stack, model: Model, config: TrainingConfig, part: RowGradient) -> None:
    """A step of rows with evidence; the gradient is used up.

    A sampled item that nobody has told about stays at its initial values: pushing it down would
    only grow the memory, since a softmax does not care for a common offset.
    """
    keys, gradient, seen, slots = part.keys, part.gradient, part.seen, part.slots
    if slots is None:
        if not part.known.all():
            positions, held = stack.locate(keys)
            held[held] = stack.shelf.evidence.take(stack.slots.take(positions[held])) > 0
            kept = part.known | held
            keys, gradient, seen = keys[kept], gradient[kept], seen[kept]
        slots = stack.hold(keys)
        slots = stack.slots.take(slots)
    shelf = stack.shelf
    reg, rate = np.float32(config.reg), np.float32(config.learning_rate * model.row_rate)
    shorter = config.row_optimizer == "adagrad"
    kernels = compiled()
    if kernels is None:
        stepped_rows(shelf, slots, gradient, seen, reg=reg, rate=rate, shorter=shorter)
    else:
        kernels.step_rows(
            shelf.rows,
            shelf.values,
            shelf.accumulator,
            shelf.evidence,
            shelf.initial,
            slots,
            gradient,
            seen,
            reg,
            rate,
            shorter,
        )


def stepped_rows(
    shelf: Shelf,
    slots: NDArray[np.int64],
    gradient: NDArray[np.float32],
    seen: NDArray[np.float32],
    *,
    reg: np.float32,
    rate: np.float32,
    shorter: bool,
) -> None:
    """Change rows in place; the gradient is used up.

    Args:
        shelf: That holds them.
        slots: Of the rows, unique.
        gradient: Shape ``(n, width)``.
        seen: How often each was a right answer.
        reg: Pull towards the initial values.
        rate: Of the step.
        shorter: Whether steps become shorter with what a row has moved, as Adagrad's do.
    """
    values = shelf.values.take(slots, axis=0)
    pull = values - shelf.initial.take(shelf.rows.take(slots), axis=0)
    pull *= reg
    gradient += pull
    gradient[:, OTHERS] = 0.0  # a statistic, not a parameter
    if shorter:
        sums = shelf.accumulator.take(slots)
        sums += dotted(gradient, gradient) / np.float32(gradient.shape[1])
        shelf.accumulator[slots] = sums
        gradient *= (rate / np.sqrt(sums))[:, None]
    else:
        gradient *= rate
    values -= gradient
    shelf.values[slots] = values
    shelf.evidence[slots] += seen
