"""Two sides at the same work: how they are told of it, take turns, and are measured.

Ratings and split are the same (a random tenth of each user's held back). The sides are processes
that take turns of a few rounds, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from p2prec.models.recommender import Task
from tests.benchmarks.films_asked import Person, rating_quality, read_films
from tests.benchmarks.other_environment import interpreter
from tests.benchmarks.results import Results
from tests.benchmarks.rival_work import Work

_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parent.parent
_DEGREE = 20
_FILMS = 1_682  # rows of a whole table
# Chosen on validation of nine pairs, for gossip with one message a round, after 40 rounds.
OURS = ("training.learning_rate=0.02", "training.reg=0.2")


@dataclass(frozen=True, slots=True)
class Contender:
    """How one side is started."""

    row: str
    command: Sequence[str]
    environment: dict[str, str]


def parser(doc: str | None, name: str, *, rounds: int, turn: int, seeds: str) -> Any:
    """What every comparison can be told.

    Args:
        doc: Of the comparison.
        name: Of its files.
        rounds: In all, where nothing else is said.
        turn: Rounds of a turn, likewise.
        seeds: Likewise.
    """
    asked = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("data", metavar="DATA_FOLDER")
    asked.add_argument("--out", default="", help=f"folder of {name}.json and .md")
    asked.add_argument("--seeds", default=seeds)
    asked.add_argument("--factors", type=int, default=8)
    asked.add_argument("--rounds", type=int, default=rounds)
    asked.add_argument("--turn", type=int, default=turn, help="rounds that a side runs at a time")
    asked.add_argument("--fold", choices=["validation", "test"], default="test")
    asked.add_argument("--rows", default="", help="with commas; all where empty")
    asked.add_argument("--people", type=int, default=0, help="only so many of them; 0 for all")
    asked.add_argument("--set", dest="settings", action="append", metavar="SECTION.KEY=VALUE")
    asked.add_argument("--venv", default="", help="keep the other side's environment here")
    return asked


def compare(
    args: argparse.Namespace,
    results: Results,
    packages: Sequence[str],
    contenders: Callable[[Path, Path], Sequence[Contender]],
) -> None:
    """Let all sides take turns, seed by seed; prints the table.

    Args:
        args: As ``parser`` reads them.
        results: What is measured is kept there.
        packages: Of the other side, for an environment of its own.
        contenders: The sides, of that environment's interpreter and of the file of the work.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = interpreter(Path(args.venv or folder), *packages)
        for seed in map(int, args.seeds.split(",")):
            films = read_films(
                Path(args.data), Task.RATING, split="random", fold=args.fold, seed=seed
            )
            people = films.people[: args.people or None]
            work = Path(folder) / f"work-{seed}.npz"
            _work(people, len(films.catalogue), seed).save(work)
            about: dict[str, int | str] = {"seed": seed, "factors": args.factors}
            about |= {"fold": args.fold, "people": len(people)}
            sides = contenders(python, work)
            chosen = [c for c in sides if not args.rows or c.row in args.rows.split(",")]
            _compete(chosen, people, args, about, results)
    print(results.table())


def theirs(
    row: str, python: Path, script: str, work: Path, order: dict[str, Any], **more: str
) -> Contender:
    """Another project's side, which nothing of this project is told to.

    Args:
        row: Its name.
        python: The interpreter of its environment.
        script: Its file beside this one.
        work: File of the work.
        order: What the side is told.
        more: Variables of its environment.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | more
    return Contender(
        row, (str(python), str(_HERE / script), str(work), json.dumps(order)), environment
    )


def ours(
    row: str, work: Path, args: argparse.Namespace, *, side: str = "rival_our_side", **order: Any
) -> Contender:
    """A side of this project.

    Args:
        row: Its name.
        work: File of the work.
        args: Factors and settings.
        side: Its module.
        order: What else it is told.
    """
    order = {"factors": args.factors, "rows": _FILMS, "set": list(args.settings or OURS), **order}
    command = (sys.executable, "-m", f"tests.benchmarks.{side}", str(work), json.dumps(order))
    return Contender(row, command, {**os.environ, "PYTHONPATH": str(_REPOSITORY)})


def _work(people: Sequence[Person], n_films: int, seed: int) -> Work:
    def rows(user: int, person: Person, part: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        history = getattr(person, part)
        return np.column_stack([np.full(len(history), user), history.item, history.rating])

    n = len(people)
    graph = nx.random_regular_graph(min(_DEGREE, n - 1), n, seed=seed)
    return Work(
        n_films=n_films,
        known=np.concatenate([rows(u, p, "known") for u, p in enumerate(people)]),
        asked=np.concatenate([rows(u, p, "asked") for u, p in enumerate(people)]),
        graph=np.array([sorted(graph[user]) for user in range(n)]),
        seed=seed,
    )


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
