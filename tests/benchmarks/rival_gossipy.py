"""Matrix factorisation by gossip, gossipy's and ours, side by side on MovieLens 100K.

    python -m tests.benchmarks.rival_gossipy DATA_FOLDER --out docs/results

Same ratings and split (a random tenth of each user's held back), same random 20-regular graph, as
many factors, biases on both sides, one message a peer and round to a random neighbour, one pass
over the own ratings a message or round. The sides are processes of one thread that take turns of
a few rounds, so that a busy machine slows all of them; begin and import are not in their time.

gossipy is installed by pip into an environment that is thrown away, or taken from a checkout of
its source (``--source``). Its row *corrected* undoes a slip in its merge, which halves every
factor each time; it is the row to beat. Rates were chosen with ``--fold validation``, of at
least as many for gossipy as for ours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from p2prec.models.recommender import Task
from tests.benchmarks.films_asked import Films, Person, rating_quality, read_films
from tests.benchmarks.other_environment import interpreter
from tests.benchmarks.results import Results
from tests.benchmarks.rival_table import table
from tests.benchmarks.rival_work import Work

_DEGREE = 20
_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parent.parent
# Chosen on validation after 40 rounds, of nine pairs for ours, of fourteen for gossipy's, whose
# factors overflow at a rate of 0.05 and more, or with less regularisation.
_RATE, _REG = 0.03, 0.03
_OURS = ("training.learning_rate=0.02", "training.reg=0.2")


@dataclass(frozen=True, slots=True)
class Contender:
    """How one side is started."""

    row: str
    command: Sequence[str]
    environment: dict[str, str]


def main() -> None:
    """Let all sides take turns; measure after every ten rounds."""
    args = _arguments()
    key = ("row", "seed", "factors", "fold", "round")
    results = Results(Path(args.out) if args.out else None, "rival_gossipy", key=key, table=table)
    with tempfile.TemporaryDirectory() as folder:
        python = interpreter(Path(args.venv or folder), "gossipy-dfl")
        for seed in map(int, args.seeds.split(",")):
            films = read_films(
                Path(args.data), Task.RATING, split="random", fold=args.fold, seed=seed
            )
            work = Path(folder) / f"work-{seed}.npz"
            _work(films, seed).save(work)
            contenders = [*_gossipy(python, work, args), *_ours(work, args)]
            about = {"seed": seed, "factors": args.factors, "fold": args.fold}
            chosen = [c for c in contenders if not args.rows or c.row in args.rows.split(",")]
            _compete(chosen, films.people, args, about, results)
    print(results.table())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA_FOLDER")
    parser.add_argument("--out", default="", help="folder of rival_gossipy.json and .md")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--turn", type=int, default=5, help="rounds that a side runs at a time")
    parser.add_argument("--fold", choices=["validation", "test"], default="test")
    parser.add_argument("--rows", default="", help="with commas; all where empty")
    parser.add_argument("--rate", type=float, default=_RATE, help="gossipy's learning rate")
    parser.add_argument("--reg", type=float, default=_REG, help="gossipy's regularisation")
    parser.add_argument("--set", dest="settings", action="append", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--venv", default="", help="keep gossipy's environment here")
    parser.add_argument("--source", default="", help="checkout of gossipy instead of its release")
    return parser.parse_args()


def _work(films: Films, seed: int) -> Work:
    def rows(user: int, person: Person, part: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        history = getattr(person, part)
        return np.column_stack([np.full(len(history), user), history.item, history.rating])

    n = len(films.people)
    graph = nx.random_regular_graph(_DEGREE, n, seed=seed)
    return Work(
        n_films=len(films.catalogue),
        known=np.concatenate([rows(u, p, "known") for u, p in enumerate(films.people)]),
        asked=np.concatenate([rows(u, p, "asked") for u, p in enumerate(films.people)]),
        graph=np.array([sorted(graph[user]) for user in range(n)]),
        seed=seed,
    )


def _gossipy(python: Path, work: Path, args: argparse.Namespace) -> list[Contender]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if args.source:
        environment["PYTHONPATH"] = str(Path(args.source).resolve())
    contenders = []
    for row, corrected in {"gossipy as shipped": False, "gossipy corrected": True}.items():
        options = {"factors": args.factors, "rate": args.rate, "reg": args.reg}
        order = json.dumps({**options, "corrected": corrected})
        script = _HERE / "rival_gossipy_side.py"
        contenders.append(Contender(row, (str(python), str(script), str(work), order), environment))
    return contenders


def _ours(work: Path, args: argparse.Namespace) -> list[Contender]:
    """Whole tables in each message, as gossipy sends them, the best-known rows, the simulator."""
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    contenders = []
    for row, rows, side in (
        ("p2prec whole tables", 1_682, "rival_our_side"),
        ("p2prec 512 rows a message", 512, "rival_our_side"),
        ("p2prec whole simulator", 1_682, "rival_simulator_side"),
    ):
        settings = list(args.settings or _OURS)
        order = json.dumps({"factors": args.factors, "rows": rows, "set": settings})
        command = (sys.executable, "-m", f"tests.benchmarks.{side}", str(work), order)
        contenders.append(Contender(row, command, environment))
    return contenders


def _compete(
    contenders: Sequence[Contender],
    people: Sequence[Person],
    args: argparse.Namespace,
    about: dict[str, int | str],
    results: Results,
) -> None:
    ends = np.cumsum([len(p.asked) for p in people])[:-1]
    sides = [(c, _started(c)) for c in contenders]
    spent = {c.row: {"cpu_s": 0.0, "wall_s": 0.0} for c in contenders}
    try:
        begun = {c.row: _answer(side, c) for c, side in sides}
        for round_ in range(args.turn, args.rounds + 1, args.turn):
            ask = round_ % 10 == 0 or round_ == args.rounds
            for contender, side in sides:
                said = _answer(side, contender, {"rounds": args.turn, "ask": ask})
                row = spent[contender.row]
                for clock in row:
                    row[clock] += said.pop(clock)
                if not ask:
                    continue
                raw = np.split(np.array(said.pop("said")), ends)
                quality = _quality(people, raw)
                result = {**about, "row": contender.row, "round": round_, **quality, **row, **said}
                result["peer_rounds_per_cpu_s"] = round_ * len(people) / row["cpu_s"]
                results.add({**result, **begun[contender.row]})
                print(json.dumps(results.all[-1]), file=sys.stderr, flush=True)
    finally:
        for _, side in sides:
            side.communicate()  # its input ends, and so does it


def _quality(
    people: Sequence[Person], said: Sequence[np.ndarray[Any, np.dtype[np.float64]]]
) -> dict[str, float]:
    """Clipped to the scale, and as said, which is how gossipy measures itself."""
    whole = []
    for person, ratings in zip(people, said, strict=True):
        scores = np.zeros(int(person.asked.item.max()) + 1)
        scores[person.asked.item] = ratings
        whole.append(scores)
    unclipped = rating_quality(people, whole, clip=False)["rmse"]
    return {**rating_quality(people, whole), "unclipped_rmse": unclipped}


def _started(contender: Contender) -> subprocess.Popen[str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.Popen(
        contender.command,
        cwd=_REPOSITORY,
        env={**contender.environment, **threads},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _answer(
    side: subprocess.Popen[str], contender: Contender, order: dict[str, int | bool] | None = None
) -> dict[str, Any]:
    assert side.stdin is not None
    assert side.stdout is not None
    if order is not None:
        side.stdin.write(json.dumps(order) + "\n")
        side.stdin.flush()
    line = side.stdout.readline()
    if not line:
        sys.exit(f"{contender.row} ended early; its command was {' '.join(contender.command)}")
    answer: dict[str, Any] = json.loads(line)
    return answer


if __name__ == "__main__":
    main()
