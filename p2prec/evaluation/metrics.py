"""Ranking metrics for one relevant item, returns and new places apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

K = 10  # the cut of every headline table


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
    """Share of ranks that are at most ``k``; 0 for none."""
    return float((ranks <= k).mean()) if len(ranks) else 0.0


def ndcg_at_k(ranks: NDArray[np.integer], k: int = K) -> float:
    """Mean of ``1 / log2(rank + 1)`` within ``k``; equals NDCG with one relevant item."""
    if not len(ranks):
        return 0.0
    return float(np.where(ranks <= k, 1.0 / np.log2(np.asarray(ranks) + 1.0), 0.0).mean())


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
