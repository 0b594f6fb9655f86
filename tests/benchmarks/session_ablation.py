"""What the method ``sessions`` owes to what: one thing changed in each row.

    python -m tests.benchmarks.session_ablation peers/evaluate_films.toml --data DATA

As ``tests.benchmarks.learners``: learners in one process, exchange in step, all but the newest
``--hold`` interactions of each user learned from, and questions before validation and test. Below
stand baselines that read what all learners together know. Differences of NDCG@10 are paired, with
standard errors over users. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.metrics import rank_of
from p2prec.models.sessions import Neighbours, Sessions, lately, stretches
from peers.asking import asked_at
from peers.provenance import provenance
from peers.scenario import Scenario, load_scenario
from peers.swarm.data import Realm, load_realm
from tests.benchmarks.learners import Answers, ask, lived, means

ROWS: dict[str, tuple[str, ...]] = {
    "sessions": (),
    "without protection": ("protection.method=none",),
    "sessions of 8": ("model.embedding_size=8",),
    "sessions of 32": ("model.embedding_size=32",),
    "512 sessions held": ("collaboration.capacity=512.0",),
    "2,048 sessions held": ("collaboration.capacity=2048.0",),
    "16 told a round": ("collaboration.told=16.0",),
    "nothing told again": ("collaboration.again=0.0",),
}
ROUNDS = {"8 rounds": 8, "16 rounds": 16}
NEIGHBOURS = {"2 neighbours": 2, "4 neighbours": 4}
_WHOLE = 1 << 20  # interactions of a session: a history is one


def main() -> None:
    """Run every row, print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", default="0,1,2")
    parser.add_argument("--peers", type=int, default=300)
    parser.add_argument("--hold", type=int, default=12)
    args, made = parser.parse_args(), provenance()
    frozen = load_scenario(args.scenario)
    answers: dict[str, Answers] = {}
    for sample in map(int, args.samples.split(",")):
        scenario = replace(frozen, seed=sample, peers=replace(frozen.peers, count=args.peers))
        realm = load_realm(scenario, data=args.data)
        for name, run in _runs(scenario, args.hold).items():
            begun = time.process_time()
            found = answers.setdefault(name, Answers())
            run(realm, found, sample * args.peers)
            print(
                f"sample {sample} {name}: {time.process_time() - begun:.0f} s, {means(found)}",
                file=sys.stderr,
                flush=True,
            )
    first = _gain(answers["sessions"])
    rows = {}
    for name, found in answers.items():
        away = _gain(found) - first
        user = np.array(found.user)
        error = np.sqrt((np.bincount(user, away - away.mean()) ** 2).sum()) / len(user)
        rows[name] = {
            "hr@10": means(found)["all hr@10"],
            "ndcg@10": means(found)["all ndcg@10"],
            "difference": round(float(away.mean()), 4),
            "standard error": round(float(error), 4),
        }
    settings = {**vars(args), "scenario": args.scenario.name, "data": Path(args.data).name}
    result = {"made_by": made, "settings": settings, "questions": len(first), "rows": rows}
    print(json.dumps(result, indent=1))


def _runs(scenario: Scenario, hold: int) -> dict[str, Callable[[Realm, Answers, int], None]]:
    """How each row answers."""
    [method] = [m for m in scenario.methods if m.name == "sessions"]

    def live(
        world: Scenario, *, settings: tuple[str, ...] = (), rounds: int = 0
    ) -> Callable[[Realm, Answers, int], None]:
        def run(realm: Realm, found: Answers, first_user: int) -> None:
            learners = lived(world, method, realm, hold=hold, rounds=rounds, settings=settings)
            ask(learners, realm, found, first_user=first_user, repeats=False)

        return run

    def fewer(k: int) -> Scenario:
        return replace(scenario, neighbours=replace(scenario.neighbours, k=k))

    return {
        **{name: live(scenario, settings=settings) for name, settings in ROWS.items()},
        **{name: live(scenario, rounds=rounds) for name, rounds in ROUNDS.items()},
        **{name: live(fewer(k)) for name, k in NEIGHBOURS.items()},
        **{f"baseline {name}": _baseline(name, hold) for name in ("session_knn", "item_knn")},
        "baseline session_knn, whole histories": _whole(hold),
    }


def _baseline(name: str, hold: int) -> Callable[[Realm, Answers, int], None]:
    def run(realm: Realm, found: Answers, first_user: int) -> None:
        histories = [h.head(len(h) - hold) for h in realm.histories]
        model = BASELINES[name](realm.catalogue, histories)
        _ask(
            realm,
            found,
            first_user,
            hold,
            lambda user, at: model.scores(
                realm.histories[user].head(at), asked_at(realm.histories[user].head(at + 1))
            ),
        )

    return run


def _whole(hold: int) -> Callable[[Realm, Answers, int], None]:
    def run(realm: Realm, found: Answers, first_user: int) -> None:
        told = [
            part
            for h in realm.histories
            for part in stretches(h.item[: len(h) - hold], _WHOLE) or [h.item[: len(h) - hold]]
        ]
        neighbours = Neighbours(Sessions.of(told), len(realm.catalogue))
        _ask(
            realm,
            found,
            first_user,
            hold,
            lambda user, at: neighbours.scores(lately(realm.histories[user].item[:at])),
        )

    return run


def _ask(
    realm: Realm,
    found: Answers,
    first_user: int,
    hold: int,
    scores_of: Callable[[int, int], NDArray[np.float32]],
) -> None:
    """As ``tests.benchmarks.learners.ask`` where nothing is met twice."""
    for user, history in enumerate(realm.histories):
        for at in range(len(history) - hold, len(history) - 2):
            scores, item = scores_of(user, at).copy(), int(history.item[at])
            scores[history.item[:at]] = -np.inf
            found.user.append(first_user + user)
            found.is_new.append(True)
            found.rank.append(rank_of(scores, item))
            found.among_new.append(found.rank[-1])


def _gain(found: Answers) -> NDArray[np.float64]:
    return found.arrays()["all ndcg@10"]


if __name__ == "__main__":
    main()
