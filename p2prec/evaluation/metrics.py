"""How good scores are: ranks of one relevant item, ratings, and probabilities of clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

K = 10  # the cut of every headline table
PARTS = ("all", "returning", "new")  # of the questions


def rank_of(scores: NDArray[np.floating], item: int) -> int:
    """Rank of ``item`` among all items, 1 is best.

    An equal score counts against the item: a constant recommender must not look good.
    A score that is not a number ranks last.
    """
    target = scores[item]
    if not np.isfinite(target):
        return len(scores)
    return max(1, int((scores >= target).sum()))


def hit_rate_at_k(ranks: NDArray[np.integer], k: int = K) -> float:
    """Share of ranks that are at most ``k``; 0 for none. Equals recall with one relevant item."""
    return float((ranks <= k).mean()) if len(ranks) else 0.0


def ndcg_at_k(ranks: NDArray[np.integer], k: int = K) -> float:
    """Mean of ``1 / log2(rank + 1)`` within ``k``; equals NDCG with one relevant item."""
    if not len(ranks):
        return 0.0
    return float(np.where(ranks <= k, 1.0 / np.log2(np.asarray(ranks) + 1.0), 0.0).mean())


def mean_reciprocal_rank(ranks: NDArray[np.integer]) -> float:
    """Mean of ``1 / rank``, without a cut; 0 for none."""
    return float((1.0 / ranks).mean()) if len(ranks) else 0.0


def coverage_at_k(shown: Sequence[Sequence[int]], n_items: int) -> float:
    """Share of the catalogue that is shown to anybody at all."""
    return len({item for items in shown for item in items}) / n_items


def gini(counts: NDArray[np.integer]) -> float:
    """How unevenly items are shown: 0 all alike, near 1 a few only; 0 where nothing is shown.

    The Gini coefficient over the whole catalogue, items that are never shown included.
    """
    total, n = float(counts.sum()), len(counts)
    if not total:
        return 0.0
    position = np.arange(1, n + 1)
    return float(((2 * position - n - 1) * np.sort(counts)).sum() / (n * total))


def quality(ranks: Sequence[int], is_new: Sequence[bool]) -> dict[str, dict[str, float]]:
    """Hit rate and NDCG at 10 with counts, for all, returning and new targets."""
    rank, new = np.asarray(ranks, np.int64), np.asarray(is_new, bool)
    parts = {"all": np.ones(len(rank), bool), "returning": ~new, "new": new}
    return {
        name: {
            "hr@10": hit_rate_at_k(rank[part]),
            "ndcg@10": ndcg_at_k(rank[part]),
            "n": int(part.sum()),
        }
        for name, part in parts.items()
    }


def rmse(predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> float:
    """Root of the mean squared error; 0 for none."""
    return float(np.sqrt(np.mean(np.square(predicted - actual)))) if len(actual) else 0.0


def mae(predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> float:
    """Mean of the absolute error; 0 for none."""
    return float(np.mean(np.abs(predicted - actual))) if len(actual) else 0.0


def auc(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> float:
    """Chance that a relevant item scores above another one (Hanley & McNeil, Radiology 1982).

    Equal scores count half; 0.5 where one of the two kinds is missing.
    """
    n_relevant = int(relevant.sum())
    n_others = len(relevant) - n_relevant
    if not n_relevant or not n_others:
        return 0.5
    _, group, size = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2.0)[group]  # ties share the mean of their ranks
    above = float(rank[relevant].sum()) - n_relevant * (n_relevant + 1) / 2.0
    return above / (n_relevant * n_others)


def log_loss(logits: NDArray[np.floating], clicked: NDArray[np.bool_]) -> float:
    """Mean of ``-log sigmoid(logit)`` for clicks and ``-log sigmoid(-logit)`` else; 0 for none."""
    if not len(clicked):
        return 0.0
    signed = np.where(clicked, -logits, logits).astype(np.float64)
    return float(np.logaddexp(0.0, signed).mean())
