"""What a round of learning costs: microseconds and bytes a peer, from few peers to many.

    python -m tests.benchmarks.learning_speed --peers 100,1000,10000 --family mf --task rating

Peers with some hundred interactions each with made-up items learn for some rounds; each sends what
it learned to one random peer, as in gossip learning, or to ``--degree`` of them. Only training,
making updates and merging are measured, in CPU time of this process. With ``--profile`` the
functions in which the time went follow. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import sys
import time
from collections.abc import Sequence

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np

from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.kernels import use_compiled
from p2prec.models.recommender import Task
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import (
    LocalLearner,
    merge_together,
    payloads_together,
    train_together,
)
from peers.provenance import provenance
from peers.simulator.estimate import resident_bytes
from scenarios.in_step import arrived

_PHASES = ("train", "payloads", "merge")


def main() -> None:
    """Build, learn, print."""
    args, made = _arguments(), provenance()
    use_compiled(wanted=not args.numpy)
    _measured(100, args, cProfile.Profile())  # compiles, or loads what was compiled
    rows = {}
    profile = cProfile.Profile()
    for n in map(int, args.peers.split(",")):
        rows[n] = _measured(n, args, profile)
        print(n, rows[n], file=sys.stderr, flush=True)
    print(json.dumps({"made_by": made, **vars(args), "rows": rows}))
    if args.profile:
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(25)
        print(text.getvalue(), file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default="100,1000,10000", help="numbers with commas")
    parser.add_argument("--items", type=int, default=1_682)
    parser.add_argument("--interactions", type=int, default=95, help="median of a peer")
    parser.add_argument("--family", default="mf")
    parser.add_argument("--size", type=int, default=8, help="of embeddings")
    parser.add_argument("--task", choices=list(Task), default=Task.RATING)
    parser.add_argument("--method", default="epidemic")
    parser.add_argument("--protection", choices=["none", "default"], default="none")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--degree", type=int, default=1, help="recipients of each update")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--numpy", action="store_true", help="without compiled kernels")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def _measured(n: int, args: argparse.Namespace, profile: cProfile.Profile) -> dict[str, float]:
    rng = np.random.default_rng(args.seed)
    before = resident_bytes()
    learners = _learners(n, args, rng)
    spent = dict.fromkeys(_PHASES, 0.0)
    last = dict.fromkeys(_PHASES, 0.0)
    for round_ in range(args.rounds):
        last = _round(learners, round_, args.degree, rng, profile if args.profile else None)
        spent = {phase: spent[phase] + last[phase] for phase in _PHASES}
    microseconds = {phase: round(spent[phase] / args.rounds / n * 1e6, 1) for phase in _PHASES}
    held = [len(learner.knowledge.table.rows) for learner in learners]
    return {
        **microseconds,
        "all": round(sum(microseconds.values()), 1),
        "last_round": round(sum(last.values()) / n * 1e6, 1),
        "peer_rounds_per_s": round(n * args.rounds / sum(spent.values())),
        "rows_per_peer": round(float(np.mean(held))),
        "bytes_per_peer": round((resident_bytes() - before) / n),
    }


def _learners(n: int, args: argparse.Namespace, rng: np.random.Generator) -> list[LocalLearner]:
    catalogue = Catalogue.build(
        item_ids=[str(i) for i in range(args.items)],
        latitude_deg=rng.uniform(50.0, 51.0, args.items),
        longitude_deg=rng.uniform(4.0, 5.0, args.items),
        category_names=[str(i % 20) for i in range(args.items)],
    )
    config = LearnerConfig(
        model=ModelConfig(family=args.family, embedding_size=args.size, task=Task(args.task)),
        training=TrainingConfig(epochs=1, batch_size=args.batch, negatives=4, reg=0.1),
        collaboration=CollaborationConfig(method=args.method),
        protection=ProtectionConfig(method=args.protection),
    )
    popularity = 1.0 / np.arange(1, args.items + 1) ** 0.7
    line = np.cumsum(popularity / popularity.sum())
    return [
        LocalLearner(
            catalogue, config, history=_history(args, line, rng), seed=user, device_seed=user
        )
        for user in range(n)
    ]


def _history(args: argparse.Namespace, line: np.ndarray, rng: np.random.Generator) -> History:
    n = max(3, int(args.interactions * np.exp(rng.normal(0.0, 0.5))))
    items = np.minimum(np.searchsorted(line, rng.random(n)), args.items - 1).astype(np.int32)
    if args.family == "mf":  # nobody rates an item twice
        items = rng.permutation(np.unique(items))
    return History(
        item=items,
        timestamp_s=np.sort(rng.integers(0, 90 * 86_400, len(items))),
        rating=rng.integers(1, 6, len(items)).astype(np.float32),
    )


def _round(
    learners: Sequence[LocalLearner],
    round_: int,
    degree: int,
    rng: np.random.Generator,
    profile: cProfile.Profile | None,
) -> dict[str, float]:
    n = len(learners)
    rounds = [round_] * n
    if profile:
        profile.enable()
    began = time.process_time()
    train_together(learners, rounds)
    trained = time.process_time()
    said = payloads_together(learners, rounds, degrees=[degree] * n)
    spoken = time.process_time()
    inboxes: list[list[Received]] = [[] for _ in learners]
    for sender, to in enumerate(rng.integers(1, n, (n, degree))):
        for payload in said[sender]:
            learners[sender].left(payload)
        for recipient in set(((sender + to) % n).tolist()):
            inboxes[recipient] += arrived(sender, said[sender])
    delivered = time.process_time()
    merge_together(learners, rounds, inboxes)
    merged = time.process_time()
    if profile:
        profile.disable()
    return {
        "train": trained - began,
        "payloads": spoken - trained,
        "merge": merged - delivered,
    }


if __name__ == "__main__":
    main()
