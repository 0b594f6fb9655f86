"""MovieLens 100K: 943 learners in one process, one user each, with matrix factorisation.

    python -m tests.benchmarks.films DATA_FOLDER --out docs/results

Ratings hold a random tenth of each user's back, as other gossip systems are measured (``--split
time``: the newest tenth); ``click`` and ``ranking`` the last film by time. What is chosen was
chosen with ``--fold validation``, which asks for interactions before those of the test. Nobody is
asked for a film that its learner knows.

Every result goes into ``films.json`` as soon as it is there, in the place of an older one of the
same task, row and seed, and ``films.md`` is written from all of them: parts may be run one by one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np

from p2prec.collaboration.payload import Payload
from p2prec.models.recommender import Context, Task
from p2prec.training.config import CollaborationConfig, LearnerConfig, ModelConfig, ProtectionConfig
from p2prec.training.local import LocalLearner
from peers.codec import encode_message
from peers.config import NeighbourConfig
from peers.messages import Share
from tests.benchmarks.films_asked import NEGATIVES, Films, quality, read_films
from tests.benchmarks.films_table import table
from tests.benchmarks.films_yardsticks import yardsticks
from tests.benchmarks.in_memory import InMemory, configured
from tests.benchmarks.results import Results

# Chosen on validation, with the epidemic method.
_CHOSEN = {
    Task.RATING: ("training.reg=0.2", "training.learning_rate=0.02"),
    Task.CLICK: (f"training.negatives={NEGATIVES}",),
    Task.RANKING: (f"training.negatives={NEGATIVES}",),
}
_AVERAGING = "collaboration.dilution=0.0"
_ROWS = {
    Task.RATING: "alone,epidemic,metropolis_hastings,dclr,epidemic/protected",
    Task.CLICK: "alone,epidemic,dclr",
    Task.RANKING: "alone,epidemic,metropolis_hastings,dclr,epidemic/protected",
}


def main() -> None:
    """Train, exchange, ask."""
    args = _arguments()
    results = Results(
        Path(args.out) if args.out else None,
        "films",
        key=("task", "row", "seed", "split", "fold"),
        table=table,
    )
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for task, seed in product(map(Task, args.tasks.split(",")), seeds):
        split = args.split or ("random" if task is Task.RATING else "time")
        films = read_films(Path(args.data), task, split=split, fold=args.fold, seed=seed)
        films = Films(task=task, catalogue=films.catalogue, people=films.people[: args.peers])
        about = {"task": task.value, "seed": seed, "split": split, "fold": args.fold}
        for row, found in yardsticks(films, seed=seed).items():
            results.add({**about, "row": row, **found})
        for row in (args.rows or _ROWS[task]).split(","):
            found = _lived(films, row, args, seed=seed)
            results.add({**about, "row": row, "rounds": args.rounds, **found})
            print(json.dumps(results.all[-1]), file=sys.stderr, flush=True)
    print(results.table())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA_FOLDER")
    parser.add_argument("--out", default="", help="folder of films.json and films.md")
    parser.add_argument("--tasks", default="rating,ranking,click")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", choices=["time", "random"], default="")
    parser.add_argument("--fold", choices=["validation", "test"], default="test")
    parser.add_argument(
        "--rows",
        default="",
        help="methods with commas; /protected adds what protects an owner by default",
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--peers", type=int, default=None)
    parser.add_argument("--verbose", action="store_true", help="measure every tenth round")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE"
    )
    return parser.parse_args()


def _lived(films: Films, row: str, args: argparse.Namespace, *, seed: int) -> dict[str, float]:
    """Quality after all rounds, and what was spent."""
    method, _, protected = row.partition("/")
    config = LearnerConfig(
        model=ModelConfig(family="mf", task=films.task, discovery=1.0),
        collaboration=CollaborationConfig(method=method),
        protection=ProtectionConfig(method="default" if protected else "none"),
    )
    averaging = (_AVERAGING,) if method != "alone" else ()
    config = configured(config, [*_CHOSEN[films.task], *averaging, *args.settings])
    learners = [
        LocalLearner(
            films.catalogue, config, history=p.known, seed=seed * 100_003 + i, device_seed=i
        )
        for i, p in enumerate(films.people)
    ]
    network = InMemory(learners, NeighbourConfig(), np.random.default_rng(seed))
    began, said = time.process_time(), list[Sequence[Payload]]()
    for round_ in range(args.rounds):
        said = network.round(round_)
        if args.verbose and round_ % 10 == 9:
            print(row, round_ + 1, _asked(films, learners), file=sys.stderr, flush=True)
    spent = (time.process_time() - began) / args.rounds
    sizes = [len(encode_message(Share(payload=p))) for payloads in said for p in payloads]
    return {
        **_asked(films, learners),
        "message_kib": float(np.median(sizes)) / 1_024 if sizes else 0.0,
        "cpu_s_per_round": spent,
    }


def _asked(films: Films, learners: Sequence[LocalLearner]) -> dict[str, float]:
    return quality(films, [x.scores(Context(timestamp_s=0)) for x in learners])


if __name__ == "__main__":
    main()
