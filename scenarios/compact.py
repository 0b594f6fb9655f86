"""Quality against bytes of every item table: table and picture.

    python -m scenarios.compact --data ml-100k --data foursquare_nyc-10core.csv.gz --out OUT

For every table at every compression, and for the full table: the same users, rounds and settings
(``_TRAINING``), matrix factorisation, peers who average what random others send (``in_step.py``).
Quality is that of the packed form over the full catalogue, on the last ten interactions of each
user, each with those before it known. ``narrow``, a full table of a smaller dimension, is the
baseline of as many bytes that every other table has to beat; what a recommender must beat at all,
popularity and item kNN over all users, has rows of its own. Training and recommending are timed,
and the most memory of a round of training is measured, on one user's learner in this process,
without compiled loops. Writes ``compact.json`` (which goes on where it was broken off),
``compact.md`` and ``compact.png`` (``compact_page.py``). Rows say which commit measured them, where
it was not the one that began.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError, P2PRecError
from p2prec.kernels import use_compiled
from p2prec.models.recommender import Context
from p2prec.training.local import LocalLearner
from peers.asking import met_again, sizes_of
from peers.provenance import provenance
from peers.scenario import Scenario, learner_config, scenario_of
from peers.swarm.data import load_realm
from scenarios.compact_page import write_page
from scenarios.compact_rows import NARROW
from scenarios.in_step import ask, ask_baseline, live

_CURVE = (2, 20)  # of narrow: what others are held against is a line through its rows
_HOLD = 10  # questions of each user
_READING_ALL: Final = {"popular": "most popular", "item_knn": "item kNN"}
_OWN: Final = {"most_frequent": "own, most frequent"}  # where places are met again
_DEGREE = 8
# Chosen with the full table on 600 other users of MovieLens 100K (seeds 0 to 2 with 200 users):
# NDCG@10 0.045 where what is most popular has 0.032. With 100 users, 16 sampled items, batches of
# 32 and a dilution of 0.5 both have 0.030: a dilution pulls what few know back to the start in
# every merge.
_TRAINING: Final = {"negatives": 4, "batch_size": 8}
_MIXING: Final = {"dilution": 0.0}
# What pseudo items cost is the same for every table, and would hide what a table costs.
_PROTECTION: Final = {"method": "none"}
_TIMES = 5  # of which the best counts


def main() -> None:
    """Measure what is missing, write after each."""
    args = _arguments()
    use_compiled()  # the same bytes
    known = _known(args)
    rows: list[dict[str, Any]] = known["rows"]
    if args.page_only:
        _write(known, args)
        return
    made = {"commit": provenance()["commit"]}  # of each row: others may be older
    done = {(row["data"], row["model"], row["seed"]) for row in rows}
    for data in args.data:
        for seed in map(int, args.seeds.split(",")):
            for name in _names(args):
                if (Path(data).name, name, seed) in done:
                    continue
                rows.append(_measured(data, name, seed, args) | made)
                print(rows[-1], flush=True)
                _write(known, args)
            for name, table in (_READING_ALL | _OWN).items():
                if (Path(data).name, name, seed) not in done:
                    rows += [row | made for row in _baseline(data, name, table, seed, args)]
                    _write(known, args)
    _write(known, args)


def _known(args: argparse.Namespace) -> dict[str, Any]:
    """What is measured already, and by what; items of each catalogue."""
    path = Path(args.out) / "compact.json"
    known: dict[str, Any] = {"made_by": provenance(), "items": {}, "rows": []}
    if path.exists() and not args.again:
        known |= json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in known["rows"] if _protocol(args).items() <= row.items()]
        if len(rows) < len(known["rows"]):
            n = len(known["rows"]) - len(rows)
            print(f"{n} rows of other users or rounds are left out", flush=True)
        known["rows"] = rows
    plain = _scenario(f"{args.family}/{args.size}", 0, args)
    for data in args.data:
        if Path(data).name not in known["items"]:
            known["items"][Path(data).name] = len(load_realm(plain, data=data).catalogue)
    return known


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True, help="may be repeated")
    parser.add_argument("--out", required=True, help="folder")
    parser.add_argument("--family", default="mf")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--tables", default="", help="with commas; all where empty")
    parser.add_argument("--compressions", default="4,10,50,100", help="with commas")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seeds", default="6,7,8", help="with commas; of disjoint users")
    parser.add_argument("--page-only", action="store_true", help="write what is measured so far")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    return parser.parse_args()


def _protocol(args: argparse.Namespace) -> dict[str, int | str]:
    """What rows must have in common to stand in one table."""
    return {
        "users": args.users,
        "rounds": args.rounds,
        "hold": _HOLD,
        "protection": _PROTECTION["method"],
    }


def _names(args: argparse.Namespace) -> Iterator[str]:
    yield f"{args.family}/{args.size}"
    compressions = {int(compression) for compression in args.compressions.split(",")}
    for table in args.tables.split(",") if args.tables else TABLES:
        further = _CURVE if table == NARROW and not args.tables else ()
        for compression in sorted(compressions.union(further)):
            if 1 < compression <= TABLES[table].smallest:
                yield f"{args.family}/{args.size}/{table}-{compression}"


def _scenario(name: str, seed: int, args: argparse.Namespace) -> Scenario:
    scenario = scenario_of(
        {
            "name": "compact",
            "discovery": 1.0,
            "data": {"kind": "check_ins"},
            "peers": {"count": args.users},
            "training": _TRAINING,
            "protection": _PROTECTION,
            "methods": [{"name": "epidemic", "models": [name], "options": _MIXING}],
        },
        source="scenarios/compact.py",
    )
    return replace(scenario, seed=seed)


def _measured(data: str, name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    parts = name.split("/")
    table, _, compression = parts[2].rpartition("-") if len(parts) > 2 else ("full", "", "1")
    row: dict[str, Any] = {
        "data": Path(data).name,
        "model": name,
        "table": table,
        "compression": int(compression),
        "seed": seed,
        **_protocol(args),
    }
    try:
        scenario = _scenario(name, seed, args)
        realm = load_realm(scenario, data=data)
        config = learner_config(scenario, scenario.methods[0], name)
        learners = live(realm, config, hold=_HOLD, rounds=args.rounds, degree=_DEGREE, seed=seed)
    except ConfigError as error:  # a catalogue may be too small for a table
        return row | {"why": str(error)}
    sizes = [sizes_of(learner) for learner in learners]
    found = ask(learners, realm, hold=_HOLD)
    history = sorted(realm.histories, key=len)[len(realm.histories) // 2].head(-_HOLD)
    return row | {
        **{size: round(float(np.mean([one[size] for one in sizes]))) for size in sizes[0]},
        **{name: round(value, 5) for name, value in found.means().items()},
        "questions": len(found.user),
        **_costs(LocalLearner(realm.catalogue, config, history=history, seed=seed)),
    }


def _baseline(
    data: str, name: str, table: str, seed: int, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """The row of a baseline; none where it would be another one's, since nothing is met twice."""
    realm = load_realm(_scenario(f"{args.family}/{args.size}", seed, args), data=data)
    if name in _OWN and not met_again(realm.histories):
        return []
    means = ask_baseline(name, realm, hold=_HOLD).means()
    row = {"data": Path(data).name, "model": name, "table": table, "compression": 0, "seed": seed}
    row |= _protocol(args)
    return [row | {key: round(value, 5) for key, value in means.items()}]


def _costs(learner: LocalLearner) -> dict[str, float]:
    """Milliseconds of a round of training and of a recommendation; most memory of a round."""
    use_compiled(wanted=False)  # as on a device
    now = Context(timestamp_s=int(learner.knowledge.history.timestamp_s[-1]) + 3_600)
    tracemalloc.start()
    learner.train(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    train, recommend = [], []
    for round_ in range(1, _TIMES + 1):
        begun = time.process_time()
        learner.train(round_)
        between = time.process_time()
        learner.recommend(now, 10, new_only=False)
        train.append(between - begun)
        recommend.append(time.process_time() - between)
    use_compiled()
    return {
        "train_ms": round(1e3 * min(train), 2),
        "recommend_ms": round(1e3 * min(recommend), 2),
        "peak_kib": round(peak / 1024),
    }


def _write(known: Mapping[str, Any], args: argparse.Namespace) -> None:
    out = Path(args.out)
    (out / "compact.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    write_page(known, out, about=vars(args))


if __name__ == "__main__":
    try:
        main()
    except P2PRecError as error:
        sys.exit(f"compact: {error}")
