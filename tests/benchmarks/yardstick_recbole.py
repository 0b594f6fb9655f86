"""Centralised models of RecBole as an outside yardstick, on exactly our split and questions.

    python -m tests.benchmarks.yardstick_recbole DATA --out docs/results

DATA is a CSV of check-ins or the folder of MovieLens 100K. RecBole trains on all users'
interactions but the last two of each, stops early on the last but one, and scores all items for
the last one; the scores are ranked here, over the full catalogue and by the same rules for ties
and for films that are known as in ``p2prec evaluate``. Each model has the same budget: so many
tries of at most so many minutes of CPU, chosen between by NDCG@10 on validation. RecBole is
installed by pip into an environment that is thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2prec.evaluation.answers import Answer
from p2prec.evaluation.metrics import PARTS, quality
from peers.evaluate import FROZEN
from peers.evaluate_rows import baseline_answers
from peers.examination import Examination
from peers.scenario import load_scenario
from peers.swarm.data import load_realm, usable_users
from tests.benchmarks.films_table import spread_of
from tests.benchmarks.other_environment import interpreter
from tests.benchmarks.results import Result, Results

_SIDE = Path(__file__).with_name("yardstick_recbole_side.py")
_METRICS = ("hr@10", "ndcg@10")
_RATES = (0.001, 0.003)
_MINUTES = 6.0
_SETTINGS: dict[str, dict[str, Any]] = {
    "BPR": {},
    "LightGCN": {},
    # One small layer over twenty interactions: what two cores can train to an end.
    "SASRec": {
        "train_neg_sample_args": None,  # the softmax over all items
        "MAX_ITEM_LIST_LENGTH": 20,
        "train_batch_size": 512,
        "n_layers": 1,
        "inner_size": 64,
        "repeatable": True,  # RecBole asks for it; known films are left out when we rank
    },
}
_HEAD = """# RecBole as an outside yardstick

{origin}

Centralised models of RecBole 1.2.1 from PyPI, which read everybody's history, as no peer can. Same
users, split and questions as `p2prec evaluate`: trained on all but the last two interactions of
each user, early stopping on the last but one, asked for the last; full catalogue, an equal score
counts against the right item. Repeated visits stay in training, and known places compete; known
films do not. Settings are RecBole's own but for those in `tests/benchmarks/yardstick_recbole.py`;
each model had {tries} tries (learning rates {rates}) of at most {minutes} minutes of one core, and
the better one on validation is shown. *stopped* says why its training ended: the validation figure
fell, or the minutes were over. Baselines of the project stand beside it, on the same questions.
Every value is in [recbole.json](recbole.json), with its commit.
"""


def main() -> None:
    """Train, score, rank."""
    args = _arguments()
    results = Results(
        Path(args.out) if args.out else None, "recbole", key=("data", "row", "seed"), table=table
    )
    frozen = load_scenario(FROZEN)
    count = args.users or usable_users(frozen, data=args.data)
    scenario = replace(frozen, peers=replace(frozen.peers, count=count))
    realm = load_realm(scenario, data=args.data)
    examination = Examination(realm)
    new = [question.is_new for question in examination.questions]
    data = Path(args.data).name.removesuffix(".gz").removesuffix(".csv")
    about: Result = {"data": data, "users": count, "new": int(np.sum(new))}

    def keep(row: str, seed: int, answers: Sequence[Answer], more: Result) -> None:
        found = quality([answer.rank for answer in answers], new)
        flat = {f"{part} {name}": found[part][name] for part in PARTS for name in _METRICS}
        results.add({**about, "row": row, "seed": seed, **flat, **more})
        print(json.dumps(results.all[-1]), file=sys.stderr, flush=True)

    for row, answers in baseline_answers(realm, examination).items():
        keep(row, 0, answers, {})
    with tempfile.TemporaryDirectory() as folder:
        python = interpreter(Path(args.venv or folder), "recbole==1.2.1")
        work = Path(folder) / "work.npz"
        np.savez(
            work,
            user=np.repeat(np.arange(count), [len(h) for h in realm.histories]),
            item=np.concatenate([h.item for h in realm.histories]),
            n_items=len(realm.catalogue),
        )
        for seed in map(int, args.seeds.split(",")):
            for model in args.models.split(","):
                scores, said = _side(python, work, model, examination, args, seed=seed)
                answers = [examination.answer(user, row) for user, row in enumerate(scores)]
                keep(f"RecBole {model}", seed, answers, said)
    print(results.table())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--out", default="", help="folder of recbole.json and recbole.md")
    parser.add_argument("--models", default=",".join(_SETTINGS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--users", type=int, default=0, help="only so many of them; 0 for all")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="of CPU, of one try")
    parser.add_argument("--venv", default="", help="keep RecBole's environment here")
    return parser.parse_args()


def _side(
    python: Path,
    work: Path,
    model: str,
    examination: Examination,
    args: argparse.Namespace,
    *,
    seed: int,
) -> tuple[NDArray[np.float32], Result]:
    """Scores of all items for all users, and what was chosen."""
    out = work.with_name("scores.npz")
    order = {
        "model": model,
        "seed": seed,
        "tries": [{"learning_rate": rate} for rate in _RATES],
        "settings": _SETTINGS[model],
        "repeats": examination.repeats,
        "epochs": 300,
        "patience": 10,
        "minutes": args.minutes,
    }
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | threads
    command = [str(python), "-W", "ignore", str(_SIDE), str(work), str(out), json.dumps(order)]
    done = subprocess.run(
        command, env=environment, cwd=work.parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"RecBole's {model} failed:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    chosen = said["chosen"]
    return np.load(out)["scores"], {
        "learning_rate": chosen["settings"]["learning_rate"],
        "validation ndcg@10": chosen["valid_ndcg@10"],
        "all ndcg@10 by RecBole": chosen["test_ndcg@10"],
        "epochs": chosen["epochs"],
        "stopped": chosen["ended"],
        "minutes": args.minutes,
        "seconds": sum(one["seconds"] for one in said["tries"]),
    }


def table(results: Sequence[Result], origin: str) -> str:
    """One table for each data set, best rows first.

    Args:
        results: Of all data sets.
        origin: Where they come from.
    """
    minutes = max((float(r["minutes"]) for r in results if "minutes" in r), default=_MINUTES)
    rates = " and ".join(map(str, _RATES))
    parts = [_HEAD.format(origin=origin, tries=len(_RATES), rates=rates, minutes=f"{minutes:g}")]
    for data in dict.fromkeys(r["data"] for r in results):
        rows: dict[str, list[Result]] = {}
        for result in results:
            if result["data"] == data:
                rows.setdefault(str(result["row"]), []).append(result)
        first = next(iter(rows.values()))[0]
        returning = int(first["users"]) - int(first["new"])
        parts.append(
            f"## {data}\n\n{first['users']} users; n = {returning} returning, {first['new']} new. "
            "HR@10 / NDCG@10, mean over seeds.\n"
        )
        parts.append("| row | all | returning | new | rate | epochs, stopped | seeds | s |")
        parts.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
        parts += [_line(row, found) for row, found in sorted(rows.items(), key=_by_ndcg)]
        parts.append("")
    return "\n".join(parts)


def _by_ndcg(row: tuple[str, list[Result]]) -> float:
    return -float(np.mean([float(r["all ndcg@10"]) for r in row[1]]))


def _line(row: str, found: list[Result]) -> str:
    cells = [" / ".join(spread_of(found, f"{part} {name}") for name in _METRICS) for part in PARTS]
    if "epochs" not in found[0]:
        return f"| {row} | {' | '.join(cells)} | - | - | - | - |"
    rates = ", ".join(dict.fromkeys(str(r["learning_rate"]) for r in found))
    stopped = ", ".join(f"{r['epochs']} {r['stopped']}" for r in found)
    seconds = np.mean([float(r["seconds"]) for r in found])
    return f"| {row} | {' | '.join(cells)} | {rates} | {stopped} | {len(found)} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
