"""How a recommender is asked for an interaction that its owner held back."""

from __future__ import annotations

from p2prec.data.interactions import History
from p2prec.evaluation.metrics import rank_of
from p2prec.models.recommender import Context
from p2prec.training.local import LocalLearner


def asked_at(target: History) -> Context:
    """The moment of an interaction."""
    return Context(timestamp_s=int(target.timestamp_s[0]))


def rank(learner: LocalLearner, target: History) -> tuple[int, bool]:
    """Rank of the target's item over the full catalogue, and whether it is new to the owner.

    Without a target the rank is 0.
    """
    if not len(target):
        return 0, False
    item = int(target.item[0])
    scores = learner.scores(asked_at(target))
    return rank_of(scores, item), item not in learner.knowledge.timeline.own
