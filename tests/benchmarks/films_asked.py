"""MovieLens 100K as questions: what each user's learner knows, what it is asked for, how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.data.movielens import read_movielens
from p2prec.evaluation.metrics import auc, hit_rate_at_k, log_loss, ndcg_at_k, rank_of, rmse
from p2prec.models.recommender import Task

NEGATIVES = 4  # films beside each click, in training and in the log loss


@dataclass(frozen=True, slots=True)
class Person:
    """One user: what its learner knows, and what it is asked for."""

    known: History
    asked: History


@dataclass(frozen=True, slots=True)
class Films:
    """All users of one split, and the films."""

    task: Task
    catalogue: Catalogue
    people: Sequence[Person]


def read_films(folder: Path, task: Task, *, split: str, fold: str, seed: int) -> Films:
    """Split every user's history.

    Args:
        folder: Holds ``ml-100k.inter`` and ``ml-100k.item``.
        task: Ratings hold a tenth of each user's back, the others one film.
        split: ``"time"`` holds the newest back, ``"random"`` any.
        fold: ``"test"``, or ``"validation"``, which knows nothing of the test part.
        seed: Of a random split.
    """
    with (folder / "ml-100k.inter").open() as ratings, (folder / "ml-100k.item").open() as items:
        dataset = read_movielens(ratings, items, source=str(folder / "ml-100k"))
    rng = np.random.default_rng(seed)
    people = []
    for user in range(dataset.interactions.n_users):
        history = dataset.interactions.history(user)
        n = len(history)
        held = max(1, round(n / 10)) if task is Task.RATING else 1
        order = rng.permutation(n) if split == "random" else np.arange(n)
        if fold == "validation":
            order = order[: n - held]
        known, asked = order[: len(order) - held], order[len(order) - held :]
        people.append(Person(known=_part(history, known), asked=_part(history, asked)))
    return Films(task=task, catalogue=dataset.catalogue, people=people)


def _part(history: History, chosen: NDArray[np.int64]) -> History:
    at = np.sort(chosen)
    return History(
        item=history.item[at], timestamp_s=history.timestamp_s[at], rating=history.rating[at]
    )


def quality(films: Films, scores: Sequence[NDArray[np.floating]]) -> dict[str, float]:
    """Of the scores of all films, one array a user; nobody is asked for a film that it knows."""
    if films.task is Task.RATING:
        return rating_quality(films.people, scores)
    ranks, areas, surprise = [], [], []
    for person, score in zip(films.people, scores, strict=True):
        film = int(person.asked.item[0])
        unknown = np.ones(len(score), bool)
        unknown[person.known.item] = False
        among = score[unknown]
        clicked = np.flatnonzero(unknown) == film
        ranks.append(rank_of(among, int(np.flatnonzero(clicked)[0])))
        areas.append(auc(among, clicked))
        # As if the click had been one of five films shown, the others being any that are unknown.
        others = log_loss(among[~clicked], np.zeros(len(among) - 1, bool))
        click = log_loss(among[clicked], np.ones(1, bool))
        surprise.append((click + NEGATIVES * others) / (1 + NEGATIVES))
    found = {
        "hr@10": hit_rate_at_k(np.array(ranks)),
        "ndcg@10": ndcg_at_k(np.array(ranks)),
        "auc": float(np.mean(areas)),
    }
    if films.task is Task.CLICK:
        found["log_loss"] = float(np.mean(surprise))
    return found


def rating_quality(
    people: Sequence[Person], scores: Sequence[NDArray[np.floating]], *, clip: bool = True
) -> dict[str, float]:
    """Mean over users of the RMSE of each, and the RMSE of all ratings together.

    Args:
        people: The users.
        scores: Ratings of all films, one array a user.
        clip: To the scale of 1 to 5.
    """
    said = [s[p.asked.item] for s, p in zip(scores, people, strict=True)]
    if clip:
        said = [np.clip(s, 1, 5) for s in said]
    each = [rmse(s, p.asked.rating) for s, p in zip(said, people, strict=True)]
    pooled = rmse(np.concatenate(said), np.concatenate([p.asked.rating for p in people]))
    return {"rmse": float(np.mean(each)), "pooled_rmse": pooled}
