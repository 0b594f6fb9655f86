"""The work that both sides of a comparison get, and how they are spoken to.

A side is a process. It reads one JSON object a line: ``{"rounds": 5, "ask": true}``, and answers
with one: ``cpu_s`` and ``wall_s`` of these rounds alone, ``messages`` and ``bytes`` sent so far,
``peak_mib`` of its memory and, where asked, ``said``: the ratings of all asked films in the order
of the work. The first line that it writes says how long it took to begin.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Ratings, who knows whom, and the seed of everything that a side draws.

    Attributes:
        n_films: Films.
        known: Shape ``(n, 3)``: user, film, rating; ordered by user.
        asked: Shape ``(n, 3)``, likewise.
        graph: Shape ``(n_users, degree)``, neighbours.
        seed: Of a side's own draws.
    """

    n_films: int
    known: NDArray[np.float64]
    asked: NDArray[np.float64]
    graph: NDArray[np.int64]
    seed: int

    def save(self, path: Path) -> None:
        """As one file of plain arrays."""
        np.savez(
            path,
            n_films=self.n_films,
            known=self.known,
            asked=self.asked,
            graph=self.graph,
            seed=self.seed,
        )

    @classmethod
    def load(cls, path: Path) -> Work:
        """What ``save`` wrote."""
        with np.load(path, allow_pickle=False) as held:
            return cls(
                n_films=int(held["n_films"]),
                known=held["known"],
                asked=held["asked"],
                graph=held["graph"],
                seed=int(held["seed"]),
            )

    def of_each(self, ratings: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Films and ratings of each user, shape ``(n, 2)``."""
        users = np.arange(1, len(self.graph))
        return np.split(ratings[:, 1:], np.searchsorted(ratings[:, 0], users))


@dataclass(frozen=True, slots=True)
class Side:
    """What a side can do.

    Attributes:
        live: Some rounds.
        sent: Messages and bytes so far.
        said: Ratings of the asked films.
    """

    live: Callable[[int], None]
    sent: Callable[[], tuple[int, int]]
    said: Callable[[], NDArray[np.floating]]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


@dataclass(frozen=True, slots=True)
class Cost:
    """How to tell what a side costs.

    Attributes:
        cpu_s: Processor time so far.
        peak_mib: The most memory so far.
    """

    cpu_s: Callable[[], float] = time.process_time
    peak_mib: Callable[[], float] = _peak_mib


_OWN = Cost()  # a side of one process


def serve(begin: Callable[[], Side], cost: Cost = _OWN) -> None:
    """Answer until the input ends; whatever else writes to the output goes to the errors."""
    out, sys.stdout = sys.stdout, sys.stderr
    began = cost.cpu_s()
    side = begin()
    print(json.dumps({"begin_cpu_s": cost.cpu_s() - began}), file=out, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        cpu, wall = cost.cpu_s(), time.perf_counter()
        side.live(order["rounds"])
        cpu, wall = cost.cpu_s() - cpu, time.perf_counter() - wall
        messages, sent = side.sent()
        answer = {"cpu_s": cpu, "wall_s": wall, "messages": messages, "bytes": sent}
        answer["peak_mib"] = cost.peak_mib()
        if order["ask"]:
            answer["said"] = side.said().tolist()
        print(json.dumps(answer), file=out, flush=True)
