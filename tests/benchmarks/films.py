"""MovieLens 100K: 943 learners in one process, one user each, three tasks.

    python -m tests.benchmarks.films DATA_FOLDER --task rating

Matrix factorisation, alone and with each collaboration method. ``rating`` holds the last tenth of
each user's ratings back by time (``--split random``: a random tenth, as other gossip systems are
measured); ``click`` and ``ranking`` the last film. What is chosen was chosen with
``--fold validation``, which asks for the interactions before those of the test. Nobody is asked
for a film that its learner knows. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.payload import Payload
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.data.movielens import read_movielens
from p2prec.evaluation.baselines import ItemKNN, Popular
from p2prec.evaluation.metrics import auc, hit_rate_at_k, log_loss, ndcg_at_k, rank_of, rmse
from p2prec.models.recommender import Context, Task
from p2prec.training.config import CollaborationConfig, LearnerConfig, ModelConfig, ProtectionConfig
from p2prec.training.local import LocalLearner
from peers.codec import encode_message
from peers.config import NeighbourConfig
from peers.messages import Share
from tests.benchmarks.in_memory import InMemory, configured

_NEGATIVES = 4  # films beside each click, in training and in the log loss
# Chosen on validation, with the epidemic method; see docs/results/films.md.
_CHOSEN = {
    Task.RATING: ("training.reg=0.1",),
    Task.CLICK: (f"training.negatives={_NEGATIVES}",),
    Task.RANKING: (f"training.negatives={_NEGATIVES}",),
}
_AVERAGING = "collaboration.dilution=0.0"


@dataclass(frozen=True, slots=True)
class Person:
    """One user: what its learner knows, and what it is asked for."""

    known: History
    asked: History


def main() -> None:
    """Train, exchange, ask."""
    args = _arguments()
    task, folder = Task(args.task), Path(args.data)
    with (folder / "ml-100k.inter").open() as ratings, (folder / "ml-100k.item").open() as items:
        dataset = read_movielens(ratings, items, source=str(folder / "ml-100k"))
    rng = np.random.default_rng(args.seed)
    people = [
        _split(dataset.interactions.history(user), task, args, rng)
        for user in range(dataset.interactions.n_users)[: args.peers or None]
    ]
    rows = _yardsticks(task, dataset.catalogue, people)
    for row in args.rows.split(","):
        rows[row] = _lived(task, dataset.catalogue, people, row, args)
        print(row, rows[row], file=sys.stderr, flush=True)
    print(json.dumps({**vars(args), "data": folder.name, "peers": len(people), "rows": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA_FOLDER")
    parser.add_argument("--task", choices=list(Task), default=Task.RATING)
    parser.add_argument("--split", choices=["time", "random"], default="time")
    parser.add_argument("--fold", choices=["validation", "test"], default="test")
    parser.add_argument(
        "--rows",
        default="alone,epidemic,dclr,epidemic/protected,dclr/protected",
        help="methods with commas; /protected adds what protects an owner by default",
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--peers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="measure every tenth round")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE"
    )
    return parser.parse_args()


def _split(
    history: History, task: Task, args: argparse.Namespace, rng: np.random.Generator
) -> Person:
    n = len(history)
    held = max(1, round(n / 10)) if task is Task.RATING else 1
    order = rng.permutation(n) if args.split == "random" else np.arange(n)
    known, asked = order[: n - held], order[n - held :]
    if args.fold == "validation":
        known, asked = order[: n - 2 * held], order[n - 2 * held : n - held]

    def part(chosen: NDArray[np.int64]) -> History:
        at = np.sort(chosen)
        return History(
            item=history.item[at], timestamp_s=history.timestamp_s[at], rating=history.rating[at]
        )

    return Person(known=part(known), asked=part(asked))


def _lived(
    task: Task, catalogue: Catalogue, people: Sequence[Person], row: str, args: argparse.Namespace
) -> dict[str, float]:
    """Quality after all rounds, and what was spent."""
    method, _, protected = row.partition("/")
    config = LearnerConfig(
        model=ModelConfig(family="mf", task=task, discovery=1.0),
        collaboration=CollaborationConfig(method=method),
        protection=ProtectionConfig(method="default" if protected else "none"),
    )
    averaging = (_AVERAGING,) if method != "alone" else ()
    config = configured(config, [*_CHOSEN[task], *averaging, *args.settings])
    learners = [
        LocalLearner(
            catalogue, config, history=p.known, seed=args.seed * 100_003 + i, device_seed=i
        )
        for i, p in enumerate(people)
    ]
    network = InMemory(learners, NeighbourConfig(), np.random.default_rng(args.seed))
    began, said = time.process_time(), list[Sequence[Payload]]()
    for round_ in range(args.rounds):
        said = network.round(round_)
        if args.verbose and round_ % 10 == 9:
            seen = _quality(task, people, [x.scores(Context(timestamp_s=0)) for x in learners])
            print(row, round_ + 1, seen, file=sys.stderr, flush=True)
    spent = (time.process_time() - began) / args.rounds
    sizes = [len(encode_message(Share(payload=p))) for payloads in said for p in payloads]
    return {
        **_quality(task, people, [x.scores(Context(timestamp_s=0)) for x in learners]),
        "message_kib": round(float(np.median(sizes)) / 1_024, 1) if sizes else 0.0,
        "cpu_s_per_round": round(spent, 2),
    }


def _quality(
    task: Task, people: Sequence[Person], scores: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    if task is Task.RATING:
        said = [np.clip(s[p.asked.item], 1, 5) for s, p in zip(scores, people, strict=True)]
        each = [rmse(s, p.asked.rating) for s, p in zip(said, people, strict=True)]
        pooled = rmse(np.concatenate(said), np.concatenate([p.asked.rating for p in people]))
        return {"rmse": round(float(np.mean(each)), 4), "pooled_rmse": round(pooled, 4)}
    ranks, areas, surprise = [], [], []
    for person, score in zip(people, scores, strict=True):
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
        surprise.append((click + _NEGATIVES * others) / (1 + _NEGATIVES))
    quality = {
        "hr@10": round(hit_rate_at_k(np.array(ranks)), 4),
        "ndcg@10": round(ndcg_at_k(np.array(ranks)), 4),
        "auc": round(float(np.mean(areas)), 4),
    }
    if task is Task.CLICK:
        quality["log_loss"] = round(float(np.mean(surprise)), 4)
    return quality


def _yardsticks(
    task: Task, catalogue: Catalogue, people: Sequence[Person]
) -> dict[str, dict[str, float]]:
    """Own means need nobody; the others read everybody's history, which no peer can."""
    known = [p.known for p in people]
    n, known = len(catalogue), [p.known for p in people]

    def same(values: Sequence[float]) -> dict[str, float]:
        return _quality(task, people, [np.full(n, v) for v in values])

    if task is Task.RATING:
        mean = float(np.concatenate([h.rating for h in known]).mean())
        return {
            "global mean (centralised)": same([mean] * len(people)),
            "own mean": same([float(h.rating.mean()) for h in known]),
            "user and film means (centralised)": _quality(task, people, _biases(n, known)),
        }
    rows = {}
    for name, model in {"popular": Popular, "item_knn": ItemKNN}.items():
        scores = model(catalogue, known).scores
        counted = _quality(task, people, [scores(h, Context(timestamp_s=0)) for h in known])
        counted.pop("log_loss", None)  # counts are no logits
        rows[f"{name} (centralised)"] = counted
    if task is Task.CLICK:  # one film of five, whichever
        rate = same([float(-np.log(_NEGATIVES))] * len(people))
        rows["base rate"] = {"log_loss": rate["log_loss"]}
    return rows


def _biases(n_films: int, known: Sequence[History]) -> list[NDArray[np.float64]]:
    """``mu + b_u + b_i`` by alternating ridge regression; the usual centralised yardstick."""
    mu = float(np.concatenate([h.rating for h in known]).mean())
    film, user = np.zeros(n_films), np.zeros(len(known))
    for _ in range(10):
        for u, h in enumerate(known):
            user[u] = (h.rating - mu - film[h.item]).sum() / (len(h) + 5.0)
        total, count = np.zeros(n_films), np.zeros(n_films)
        for u, h in enumerate(known):
            np.add.at(total, h.item, h.rating - mu - user[u])
            np.add.at(count, h.item, 1.0)
        film = total / (count + 5.0)
    return [mu + b + film for b in user]


if __name__ == "__main__":
    main()
