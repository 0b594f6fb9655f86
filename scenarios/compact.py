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
``compact.md`` and ``compact.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError, P2PRecError
from p2prec.kernels import use_compiled
from p2prec.models.recommender import Context
from p2prec.training.local import LocalLearner
from peers.asking import met_again, sizes_of
from peers.drawing import canvas, styles
from peers.provenance import provenance
from peers.scenario import Scenario, learner_config, scenario_of
from peers.swarm.data import load_realm
from scenarios.in_step import ask, ask_baseline, live
from scenarios.pages import made_by, rows_of

_BASELINE = "narrow"
_CURVE = (_BASELINE, "full")  # full tables of all dimensions
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
    path = Path(args.out) / "compact.json"
    rows: list[dict[str, Any]] = []
    if path.exists() and not args.again:
        found = json.loads(path.read_text(encoding="utf-8"))["rows"]
        rows = [row for row in found if _protocol(args).items() <= row.items()]
        if len(rows) < len(found):
            print(
                f"{len(found) - len(rows)} rows of other users or rounds are left out", flush=True
            )
    if args.page_only:
        _write(rows, args)
        return
    done = {(row["data"], row["model"], row["seed"]) for row in rows}
    for data in args.data:
        for seed in map(int, args.seeds.split(",")):
            for name in _names(args):
                if (Path(data).name, name, seed) in done:
                    continue
                rows.append(_measured(data, name, seed, args))
                print(rows[-1], flush=True)
                _write(rows, args)
            for name, table in (_READING_ALL | _OWN).items():
                if (Path(data).name, name, seed) not in done:
                    rows += _baseline(data, name, table, seed, args)
                    _write(rows, args)
    _write(rows, args)


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
    for table in args.tables.split(",") if args.tables else TABLES:
        for compression in map(int, args.compressions.split(",")):
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


def _write(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> None:
    out = Path(args.out)
    made = provenance()
    text = json.dumps({"made_by": made, "rows": rows}, indent=1)
    (out / "compact.json").write_text(text + "\n", encoding="utf-8")
    names = dict.fromkeys(row["data"] for row in rows)
    means = {name: _means([r for r in rows if r["data"] == name]) for name in names}
    _draw(means, out / "compact.png")
    lines = ["# Compact item tables", "", made_by(made), "", _ABOUT.format(**vars(args)), ""]
    lines += ["![Quality by bytes](compact.png)", ""]
    for name, found in means.items():
        lines += _page(name, found)
    lines += _claimed(means)
    for reason in sorted(
        {f"{r['table']}-{r['compression']}: {r['why']}" for r in rows if "why" in r}
    ):
        lines += [f"- {reason}"]
    (out / "compact.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


_ABOUT = """{users} users a seed, seeds {seeds}, of disjoint users, {rounds} rounds in step, each
peer sending to eight random others, who average; `{family}/{size}`, two epochs
a round, batches of eight, four sampled items an interaction. The same for every row; chosen with
the full table on 600 other users of MovieLens. Nothing is made up beside what is sent, nor clipped:
what protection costs would hide what a table costs. Quality over the full catalogue on the last ten
interactions of each user, each with those before it known, of the form that lies on the device:
mean and standard deviation over seeds.
*Most popular* and *item kNN* read what all users together have learned from, as no peer can; *own,
most frequent* is what needs nobody, where places are met again. *KiB* is what the embeddings take,
packed, a mean over peers at the end; popularity and bias of what a peer has heard of are not in it.
*of full* is NDCG@10 in parts of that of the full table; *to narrow* is the difference of NDCG@10 to
a full table of a smaller dimension, in half precision, the baseline that a compact table has to
beat, at as many measured KiB: on the line through the rows of *narrow* and *full* of the same seed,
over the logarithm of KiB, and at its end where a table is smaller still; with its 95 % interval
over seeds. Milliseconds are processor time of one round of training and one recommendation of the
median user, *peak KiB* the most memory that the round took beside what was there. Films
nobody meets twice: known ones do not compete."""


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """By table and compression: values over seeds."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        if "why" in row:
            continue
        values = found.setdefault((row["table"], row["compression"]), {})
        for key, value in row.items():
            if isinstance(value, int | float):
                values.setdefault(key, []).append(value)
    return found


def _page(name: str, found: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[str]:
    lines = [f"## {name}", ""]
    heads = ("table", "1 /", "KiB", "HR@10", "NDCG@10", "AUC", "of full", "to narrow")
    lines += rows_of((*heads, "train ms", "recommend ms", "peak KiB"))
    for (table, compression), row in sorted(found.items(), key=lambda one: (one[0][1], one[0][0])):
        gains = _to_narrow(found, row) if table not in _CURVE else np.empty(0)
        sized = "table_bytes" in row  # else a baseline, which has no table
        cells = (
            table,
            str(compression) if sized else "-",
            f"{np.mean(row['table_bytes']) / 1024:.1f}" if sized else "-",
            _spread(row["hr@10"]),
            _spread(row["ndcg@10"]),
            _spread(row["auc"]),
            _of_full(found, row),
            _difference(gains) if len(gains) else "-",
            f"{np.mean(row['train_ms']):.1f}" if sized else "-",
            f"{np.mean(row['recommend_ms']):.1f}" if sized else "-",
            f"{np.mean(row['peak_kib']):,.0f}" if sized else "-",
        )
        lines += rows_of(cells, head=False)
    return [*lines, ""]


_CLAIMS: Final = {
    "int8": "int8 loses little of a trained table (Jacob et al. 2018, of networks)",
    "int4": "as int8, at half of it",
    "magprune": "beats several learned methods at equal size (benchmark arXiv 2406.17335)",
    "pep": "97 to 99 % fewer parameters without loss, click-through on MovieLens 1M and "
    "Criteo; in re-tests of ranking below a narrow table at 80 and 90 %",
    "sseds": "90 % fewer parameters at strong click-through, Criteo and Avazu",
    "amtl": "60 % of the memory saved without loss",
    "autoemb": "better than one width on public streams; no figure of size",
    "optembed": "better click-through at a smaller size; in re-tests of ranking below PEP",
    "ciess": "at 80 % less NDCG@20 0.426 against 0.397 of narrow (MovieLens 1M, LightGCN)",
    "qrt": "lower loss than plain hashing at the same size (Criteo)",
    "tt": "hundred times smaller tables of click-through models at small loss (TT-Rec)",
    "stp": "30 times smaller, nearly no loss (Tmall, RetailRocket; with distillation)",
    "codes": "as stp, 8 times as fast to read",
    "cerp": "best of several budgets, Gowalla and Yelp 2020",
    "legcf": "best trade-off of size and accuracy on Gowalla, Yelp 2020, Amazon-book",
    "rule": "best under tight budgets on two sets",
    "pee": "best under changing budgets on two sets",
    "dcf": "8 bits better than 128 bits of other binary codes; nothing about real vectors",
    "hashgnn": "comparable with its continuous form",
}


def _claimed(means: Mapping[str, Mapping[tuple[str, int], Mapping[str, Any]]]) -> list[str]:
    """What the papers say beside what was measured: NDCG@10 in parts of the full table's."""
    wanted = (10, 50)
    heads = [f"{Path(name).name.split('.')[0]}, 1/{c}" for name in means for c in wanted]
    lines = ["## What the papers claim, and what is here", "", _CLAIMED, ""]
    lines += rows_of(("table", "claim", *heads, "beats narrow at each of these"))
    for table, claim in _CLAIMS.items():
        cells, beats = [], []
        for found in means.values():
            for compression in wanted:
                row = found.get((table, compression))
                gains = _to_narrow(found, row) if row is not None else np.empty(0)
                if row is None or not len(gains):
                    cells.append("-")
                    continue
                cells.append(_of_full(found, row))
                beats.append(bool(gains.mean() > 0))
        verdict = (
            "-" if not beats else "yes" if all(beats) else "no" if not any(beats) else "partly"
        )
        lines += rows_of((table, claim, *cells, verdict), head=False)
    return [*lines, ""]


_CLAIMED = """Claims are those of abstracts or of others' re-tests, on other data, models and
tasks, trained by a server on everybody's data; here a peer trains on one person's and hears of the
rest by gossip. Where a table is worse here, that is the first reason: a search sees one owner's
interactions, and where items share pieces (qrt, tt, stp, cerp, legcf) a merge mixes what owners
have learned of different items. Tables that keep rows and leave out what nobody has moved
(magprune, pep, amtl, autoemb, ciess, sseds, optembed) lose next to nothing at 1/10, since a row
that nobody has moved is the realm's start and costs no bytes; at 1/50 it depends on what a row is
for. Places are met again, so that the own ones must be kept as they are, which these tables do, and
codes, legcf, rule and pee do not. Films are new each time, so that something must be kept of each
film that was heard of, which codes, rule and pee do."""


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _of_full(found: Mapping[tuple[str, int], Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """NDCG@10 in parts of that of the full table, over the seeds that both have."""
    full = found.get(("full", 1), {"seed": (), "ndcg@10": ()})
    of = dict(zip(full["seed"], full["ndcg@10"], strict=True))
    pairs = [
        (ndcg, of[seed])
        for seed, ndcg in zip(row["seed"], row["ndcg@10"], strict=True)
        if seed in of
    ]
    if not pairs:
        return "-"
    ours, theirs = np.array(pairs).mean(axis=0)
    return f"{ours / theirs:.2f}"


def _to_narrow(
    found: Mapping[tuple[str, int], Mapping[str, Any]], row: Mapping[str, Any]
) -> NDArray[np.float64]:
    """NDCG@10 beyond that of full tables with as many bytes, of each seed that has two of them."""
    gains = []
    for number, seed in enumerate(row["seed"] if "table_bytes" in row else ()):
        curve = sorted(
            (bytes_, ndcg)
            for (table, _), full in found.items()
            if table in _CURVE
            for of, bytes_, ndcg in zip(
                full["seed"], full["table_bytes"], full["ndcg@10"], strict=True
            )
            if of == seed
        )
        if len(curve) > 1:
            sizes, ndcgs = np.array(curve).T
            at = np.log(row["table_bytes"][number])
            gains.append(row["ndcg@10"][number] - np.interp(at, np.log(sizes), ndcgs))
    return np.array(gains)


def _difference(gains: NDArray[np.float64]) -> str:
    """Mean over seeds, paired, since these are the same users."""
    n = len(gains)
    if n < 2:
        return f"{gains.mean():+.3f}"
    from scipy.stats import t

    half = float(t.ppf(0.975, n - 1) * gains.std(ddof=1) / np.sqrt(n))
    return f"{gains.mean():+.3f} ± {half:.3f}"


def _draw(means: Mapping[str, Mapping[tuple[str, int], Mapping[str, Any]]], path: Path) -> None:
    """NDCG@10 by bytes of the table, a line a table, a field a data set."""
    tables = list(dict.fromkeys(t for found in means.values() for t, size in found if size))
    looks = styles({table: {} for table in tables})
    with canvas(path, columns=len(means), width=6.5 * len(means), height=5.0) as axes:
        fields = np.atleast_1d(axes)
        for field, (name, found) in zip(fields, means.items(), strict=True):
            for table in tables:
                points = sorted(
                    (float(np.mean(row["table_bytes"])) / 1024, float(np.mean(row["ndcg@10"])))
                    for (of, _), row in found.items()
                    if of == table
                )
                if points:
                    wide = 3.0 if table == _BASELINE else 1.2
                    look = {**looks[table], "linewidth": wide}
                    field.plot(*zip(*points, strict=True), label=table, **look)
            field.set_xscale("log")
            field.set_xlabel("KiB of the table")
            field.set_title(name)
            field.grid(alpha=0.3)
        fields[0].set_ylabel("NDCG@10, full catalogue")
        shown = {}  # of all fields: a table may be in one of them only
        for field in fields:
            lines, names = field.get_legend_handles_labels()
            shown |= dict(zip(names, lines, strict=True))
        fields[-1].legend(
            shown.values(), shown.keys(), fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5)
        )


if __name__ == "__main__":
    try:
        main()
    except P2PRecError as error:
        sys.exit(f"compact: {error}")
