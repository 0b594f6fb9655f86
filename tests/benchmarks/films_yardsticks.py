"""What matrix factorisation by gossip is held against on MovieLens.

Own means need nobody. The others read everybody's history, which no peer can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2prec.data.interactions import History
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.rating_baselines import (
    Ratings,
    biases,
    factorised,
    global_mean,
    item_mean,
    user_mean,
)
from p2prec.models.recommender import Context, Task
from tests.benchmarks.films_asked import NEGATIVES, Films, quality

_SIMPLE = ("popular", "last_category_markov", "item_knn")  # films lie nowhere and do not return


def yardsticks(films: Films, *, seed: int) -> dict[str, dict[str, float]]:
    """Quality of each, by name.

    Args:
        films: What is asked.
        seed: Of the factors' starting values.
    """
    known, n = [p.known for p in films.people], len(films.catalogue)
    if films.task is not Task.RATING:
        return _simple(films, known)
    rows: dict[str, Ratings] = {
        "global mean (centralised)": global_mean(n, known),
        "own mean": user_mean(n, known),
        "film mean (centralised)": item_mean(n, known),
        "user and film means (centralised)": biases(n, known),
        "MF 8 (centralised)": factorised(n, known, columns=8, seed=seed),
        "MF 16 (centralised)": factorised(n, known, columns=16, seed=seed),
    }
    return {name: quality(films, said) for name, said in rows.items()}


def _simple(films: Films, known: Sequence[History]) -> dict[str, dict[str, float]]:
    rows = {}
    for name in _SIMPLE:
        scores = BASELINES[name](films.catalogue, known).scores
        counted = quality(films, [scores(h, Context(timestamp_s=0)) for h in known])
        counted.pop("log_loss", None)  # counts are no logits
        rows[f"{name} (centralised)"] = counted
    if films.task is Task.CLICK:  # one film of five, whichever
        same = np.full(len(films.catalogue), -np.log(NEGATIVES))
        rate = quality(films, [same] * len(known))
        rows["base rate"] = {"log_loss": rate["log_loss"]}
    return rows
