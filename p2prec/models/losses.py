"""Losses of scores, one a task, and their derivatives.

Over what the owner chose and items ``j`` sampled among those that it has not met:

    ranking   mean_j -log sigmoid(s - s_j)              BPR: Rendle et al., UAI 2009
    click     softplus(-s) + sum_j softplus(s_j)        log loss
    rating    (s - r)^2 / 2
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2prec.models.recommender import Task

Floats = NDArray[np.float32]


def errors_of(
    task: Task, scores: Floats, ratings: Floats, fair: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Loss of each example, shape ``(n,)``, and its derivative by each score.

    Args:
        task: Which loss.
        scores: Shape ``(n, 1 + k)``, what the owner chose first.
        ratings: Shape ``(n,)``.
        fair: Shape ``(n, k)``, false where a sampled item is one of the owner's.
    """
    chosen, others = scores[:, :1], scores[:, 1:]
    if task is Task.RATING:
        errors = chosen - ratings[:, None]
        squared: Floats = np.square(errors[:, 0]) / 2
        return squared, errors
    if task is Task.CLICK:
        loss = softplus(-chosen[:, 0]) + (softplus(others) * fair).sum(1)
        return loss, np.hstack([-sigmoid(-chosen), sigmoid(others) * fair])
    share = (fair / np.maximum(fair.sum(1, keepdims=True), 1)).astype(np.float32)
    wrong = sigmoid(others - chosen) * share
    loss = (softplus(others - chosen) * share).sum(1)
    return loss, np.hstack([-wrong.sum(1, keepdims=True), wrong])


def sigmoid(x: Floats) -> Floats:
    """Logistic function; does not overflow."""
    result: Floats = 0.5 + 0.5 * np.tanh(0.5 * x)
    return result


def softplus(x: Floats) -> Floats:
    """``log(1 + exp(x))``; does not overflow."""
    result: Floats = np.logaddexp(np.float32(0.0), x)
    return result
