"""How a recommender is asked for an interaction that its owner held back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from p2prec.data.interactions import History
from p2prec.evaluation.metrics import rank_of
from p2prec.models.recommender import Context
from p2prec.training.local import LocalLearner
from p2prec.training.on_device import on_device


def asked_at(target: History) -> Context:
    """The moment of an interaction."""
    return Context(timestamp_s=int(target.timestamp_s[0]))


def met_again(histories: Iterable[History]) -> bool:
    """Whether anybody ever meets an item twice; else a list of known items is no recommendation."""
    return any(len(np.unique(history.item)) < len(history) for history in histories)


def rank(learner: LocalLearner, target: History, *, repeats: bool = True) -> tuple[int, bool]:
    """Rank of the target's item over the full catalogue, and whether it is new to the owner.

    Without a target the rank is 0.

    Args:
        learner: Who is asked.
        target: At most one interaction.
        repeats: As of ``met_again``; else known items do not compete.
    """
    if not len(target):
        return 0, False
    item = int(target.item[0])
    scores = learner.scores(asked_at(target))
    own = learner.knowledge.timeline.own
    if not repeats:
        scores[own] = -np.inf
    return rank_of(scores, item), item not in own


def sizes_of(learner: LocalLearner) -> dict[str, int]:
    """Bytes of the model as it lies on a device, and of the embeddings in it."""
    found = on_device(learner.knowledge)
    return {"model_bytes": len(found.data), "table_bytes": found.table_bytes}
