"""What a recommender answered to one question, and the figures of many answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.evaluation.metrics import (
    K,
    auc,
    coverage_at_k,
    gini,
    hit_rate_at_k,
    log_loss,
    mean_reciprocal_rank,
    ndcg_at_k,
    quality,
    rank_of,
)
from p2prec.evaluation.protocol import Competitors
from p2prec.evaluation.statistics import interval
from p2prec.models.highest import highest

ACTIVITY = ("few", "some", "many")  # thirds of the users by interactions, of the items by visitors
OTHERS_SHOWN = 4  # items beside a click, in its log loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The interaction that is asked for.

    Attributes:
        user: Of the data.
        item: The right one.
        is_new: Whether the user has never met it.
        visits: The user's interactions before.
        popularity: Users who met the item in training.
        rating: That the user gave it; 1 for a check-in.
    """

    user: str
    item: int
    is_new: bool
    visits: int
    popularity: int
    rating: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the scores of one recommender are worth for one question.

    Attributes:
        rank: Over the full catalogue.
        sampled_rank: Among sampled competitors; 0 where there are none.
        auc: Chance that the right item scores above another one that competes.
        shown: The best ten items.
        said: Score of the right item; a rating where ratings are learned.
        log_loss: Of the scores as logits, as if the right item had been clicked on and any
            ``OTHERS_SHOWN`` others beside it had not; says something where clicks are learned.
    """

    rank: int
    sampled_rank: int
    auc: float
    shown: tuple[int, ...]
    said: float
    log_loss: float


def answered(
    scores: NDArray[np.floating],
    item: int,
    *,
    own: NDArray[np.integer],
    competitors: Competitors | None,
) -> Answer:
    """Look at scores of all items.

    Args:
        scores: Shape ``(n_items,)``; minus infinity where an item does not compete.
        item: The right one.
        own: Items that the user knows.
        competitors: Of a sampled protocol, if it is asked for.
    """
    relevant = np.zeros(len(scores), np.bool_)
    relevant[item] = True
    competing = relevant | (scores > -np.inf)
    among, clicked = scores[competing], relevant[competing]
    sampled = 0
    if competitors is not None:
        rows = np.append(competitors.of(item, own), item)
        sampled = rank_of(scores[rows], len(rows) - 1)
    return Answer(
        rank=rank_of(scores, item),
        sampled_rank=sampled,
        auc=auc(among, clicked),
        shown=tuple(highest(scores, K).tolist()),
        said=float(scores[item]),
        log_loss=_surprise(among, clicked),
    )


def _surprise(logits: NDArray[np.floating], clicked: NDArray[np.bool_]) -> float:
    """Mean log loss of the click and of the others, which are any that compete."""
    click = log_loss(logits[clicked], np.ones(1, np.bool_))
    others = log_loss(logits[~clicked], np.zeros(len(logits) - 1, np.bool_))
    return (click + OTHERS_SHOWN * others) / (1 + OTHERS_SHOWN)


def figures(
    questions: Sequence[Question], answers: Sequence[Answer], *, n_items: int, clicks: bool = False
) -> dict[str, Any]:
    """All figures of one recommender.

    Args:
        questions: At least one.
        answers: One each.
        n_items: Of the catalogue.
        clicks: Whether scores are logits, so that log loss says something.
    """
    ranks = np.array([a.rank for a in answers], np.int64)
    new = np.array([q.is_new for q in questions], np.bool_)
    found: dict[str, Any] = dict(quality(ranks.tolist(), new.tolist()))
    parts = {"all": np.ones(len(new), np.bool_), "returning": ~new, "new": new}
    areas = np.array([a.auc for a in answers])
    surprise = np.array([a.log_loss for a in answers])
    users = [q.user for q in questions]
    for name, part in parts.items():
        found[name] |= {
            "mrr": mean_reciprocal_rank(ranks[part]),
            "auc": float(areas[part].mean()) if part.any() else 0.0,
            "hr@10_interval": interval(ranks[part] <= K, _chosen(users, part)),
            "ndcg@10_interval": interval(gains(ranks[part]), _chosen(users, part)),
        }
        if clicks:
            found[name]["log_loss"] = float(surprise[part].mean()) if part.any() else 0.0
    shown = [a.shown for a in answers]
    found["coverage@10"] = coverage_at_k(shown, n_items)
    found["gini@10"] = gini(np.bincount(np.concatenate(shown), minlength=n_items))
    found["by_activity"] = _by(ranks, np.array([q.visits for q in questions]))
    found["by_popularity"] = _by(ranks, np.array([q.popularity for q in questions]))
    sampled = np.array([a.sampled_rank for a in answers], np.int64)
    if sampled.all():
        found["nearest_200"] = quality(sampled.tolist(), new.tolist())
    return found


def gains(ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """NDCG at 10 of each rank."""
    return np.where(ranks <= K, 1.0 / np.log2(ranks + 1.0), 0.0)


def _chosen(users: Sequence[str], part: NDArray[np.bool_]) -> list[str]:
    return [user for user, inside in zip(users, part.tolist(), strict=True) if inside]


def _by(ranks: NDArray[np.int64], values: NDArray[np.int64]) -> Mapping[str, dict[str, float]]:
    """Quality in thirds by a value; equal values stay together."""
    limits = np.quantile(values, [1 / 3, 2 / 3])
    third = np.searchsorted(limits, values, side="left")
    result = {}
    for number, name in enumerate(ACTIVITY):
        part = third == number
        result[name] = {
            "most": int(values[part].max()) if part.any() else 0,
            "hr@10": hit_rate_at_k(ranks[part]),
            "ndcg@10": ndcg_at_k(ranks[part]),
            "n": int(part.sum()),
        }
    return result
