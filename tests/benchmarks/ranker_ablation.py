"""What the ranker owes to which features, to its size, and to its start.

    python -m tests.benchmarks.ranker_ablation DATA.csv.gz

One network is trained on everybody's examples, by the very code that learns its start, and asked
for interactions before validation and test: the last ``--hold`` of each user but two, of every
third user. A feature is left out by making it constant; attention that sees nothing of visits is
the same for all of them. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.evaluation.metrics import rank_of
from p2prec.models.habits import HABIT_FEATURES, KIND_FEATURES
from p2prec.models.kinds import KINDS_OF_OTHERS
from p2prec.models.moments import PLACE_FEATURES, Timeline
from p2prec.models.ranker import Ranker
from p2prec.models.ranker_features import CANDIDATE_FEATURES
from p2prec.models.ranker_network import Start
from p2prec.models.recall import VISIT_FEATURES
from p2prec.models.recommender import Task
from p2prec.models.start import Scaling
from peers.files import read_check_in_file
from peers.provenance import provenance
from scenarios.pretrain import drawn, informed, trained

_NEVER = np.float32(1e9)  # a deviation beside which every value is nothing
_OF_OTHERS = (*KINDS_OF_OTHERS, "others go there")
_WHERE = ("near", "near and you just moved", "near where you have been", "near a place you know")
LEFT_OUT: dict[str, Sequence[str]] = {
    "all features": (),
    "without what others say": _OF_OTHERS,
    "without popularity": ("others go there",),
    "without how thinly places lie": ("few places around",),
    "without kinds of others": KINDS_OF_OTHERS,
    "without habits of places": HABIT_FEATURES,
    "without habits of kinds": KIND_FEATURES,
    "without distances": _WHERE,
    "attention that sees nothing of visits": VISIT_FEATURES,
}
_EVERY_USER, _EVERY_QUESTION = 3, 2


def main() -> None:
    """Train every variant, ask, print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--hold", type=int, default=12)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default="", help="names with commas; all where empty")
    args, made = parser.parse_args(), provenance()
    dataset = read_check_in_file(args.data).dataset
    interactions = dataset.interactions
    histories = [interactions.history(user) for user in range(interactions.n_users)]
    histories = [h for h in histories if len(h) > args.hold + 10]
    rows = {}
    wanted = args.rows.split(",") if args.rows else []
    for name, size, start, steps in _variants(args.size, args.steps, args.seed):
        if wanted and name not in wanted:
            continue
        begun = time.process_time()
        rows[name] = _one(
            dataset.catalogue,
            histories,
            size=size,
            start=start,
            steps=steps,
            hold=args.hold,
            seed=args.seed,
        )
        print(f"{name}: {rows[name]}, {time.process_time() - begun:.0f} s", file=sys.stderr)
    settings = {**vars(args), "data": args.data.name}
    print(json.dumps({"made_by": made, "settings": settings, "rows": rows}, indent=1))


def _variants(size: int, steps: int, seed: int) -> list[tuple[str, int, Start, int]]:
    """Name, size, start and steps of each."""
    start = Start.of_size(size)
    rows = [(name, size, without(start, names), steps) for name, names in LEFT_OUT.items()]
    fresh = replace(start, weights=drawn(size, np.random.default_rng(seed)))
    rows += [
        ("the start, untrained", size, start, 0),
        ("from a random start", size, fresh, steps),
    ]
    rows += [(f"width {n}", n, Start.of_size(n), steps) for n in Ranker.sizes if n != size]
    return rows


def without(start: Start, names: Sequence[str]) -> Start:
    """A start that does not see some features."""

    def blind(scaling: Scaling, features: Sequence[str]) -> Scaling:
        gone = np.isin(features, names)
        return replace(scaling, scale=np.where(gone, _NEVER, scaling.scale).astype(np.float32))

    return replace(
        start,
        places=blind(start.places, PLACE_FEATURES),
        candidates=blind(start.candidates, CANDIDATE_FEATURES),
        visits=blind(start.visits, VISIT_FEATURES),
    )


def _one(
    catalogue: Catalogue,
    histories: Sequence[History],
    *,
    size: int,
    start: Start,
    steps: int,
    hold: int,
    seed: int,
) -> dict[str, float]:
    known = [history.head(len(history) - hold) for history in histories]
    model = Ranker(catalogue, size, Task.RANKING, start=start)
    crowds = [informed(model, known)]
    weights = trained(crowds, start.weights, steps=steps, rng=np.random.default_rng(seed))
    model = Ranker(catalogue, size, Task.RANKING, start=replace(start, weights=weights))
    ranks, new = [], []
    for user, peer in enumerate(informed(model, known)):
        if user % _EVERY_USER:
            continue
        history, parameters = histories[user], peer.parameters()
        for at in range(len(history) - hold, len(history) - 2, _EVERY_QUESTION):
            timeline = Timeline(catalogue, history.head(at))
            moment = timeline.moment(at, float(history.timestamp_s[at]))
            item = int(history.item[at])
            ranks.append(rank_of(model.scoring(parameters, moment).scores(), item))
            new.append(item not in moment.own)
    rank, is_new = np.array(ranks), np.array(new)
    hit = rank <= 10
    gain = np.where(hit, 1.0 / np.log2(rank + 1.0), 0.0)
    parts = {"all": np.ones(len(rank), bool), "returning": ~is_new, "new": is_new}
    row = {"questions": len(rank), "new questions": int(is_new.sum())}
    return row | {
        f"{part} {name}": round(float(values[mask].mean()), 4)
        for part, mask in parts.items()
        for name, values in (("hr@10", hit), ("ndcg@10", gain))
    }


if __name__ == "__main__":
    main()
