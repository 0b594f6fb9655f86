"""Flower's side: runs in its own environment, where nothing of this project is installed.

    python rival_flower_side.py WORK.npz '{"factors": 8, "rate": 1, "own_rate": 0.1, "reg": 0.01}'

Everything but one client's pass is Flower's own: its simulation with Ray's workers, its server,
its federated averaging of all clients in every round. Nobody is evaluated while the clock runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from numpy.typing import NDArray
from rival_flower_client import ARRAYS, METRICS, USER, VALUES, WEIGHT, app
from rival_work import Cost, Side, Work, serve

_START = 0.1  # standard deviation of the films' factors at first
_LOOPBACK = "127.0.0.1"


class _Family:
    """What this process and all that came of it cost: Ray has some of its own.

    Attributes:
        peak_mib: The most memory that was seen, what they share counted once.
    """

    def __init__(self) -> None:
        self._first = psutil.Process()
        self.peak_mib = 0.0

    def cpu_s(self) -> float:
        """Processor time so far, with that of processes that have ended."""
        return sum(sum(times[:4]) for times in self._each(lambda p: p.cpu_times()))

    def look(self) -> None:
        """At the memory that is held now."""
        held = sum(self._each(lambda p: p.memory_full_info().pss)) / (1 << 20)
        self.peak_mib = max(self.peak_mib, held)

    def _each(self, ask: Callable[[psutil.Process], Any]) -> list[Any]:
        found = []
        for process in (self._first, *self._first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # one may end meanwhile
                found.append(ask(process))
        return found


class _Averaging(FedAvg):  # type: ignore[misc]
    """Of all clients; looks at the memory when all of them have answered, which is most of it."""

    def __init__(self, clients: int, family: _Family) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=clients, weighted_by_key=WEIGHT)
        self._clients, self._family = clients, family

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """As FedAvg does, which would do without clients that failed."""
        held = _whole(replies, self._clients)
        self._family.look()
        averaged: tuple[ArrayRecord | None, MetricRecord | None] = super().aggregate_train(
            server_round, held
        )
        return averaged


def _whole(replies: Iterable[Message], clients: int) -> list[Message]:
    held = list(replies)
    if len(held) != clients or any(reply.has_error() for reply in held):
        raise RuntimeError(f"{clients} clients were asked, and some failed")
    return held


def _begin(grid: Grid, family: _Family) -> Side:
    path, options = sys.argv[1], json.loads(sys.argv[2])
    work = Work.load(Path(path))
    n, factors = len(work.graph), options["factors"]
    rng = np.random.default_rng(work.seed)
    table = np.zeros((work.n_films, factors + 1), np.float32)
    table[:, :-1] = rng.normal(0.0, _START, (work.n_films, factors))
    arrays = ArrayRecord({VALUES: Array(table)})
    config = ConfigRecord({"work": path, **{k: options[k] for k in ("rate", "own_rate", "reg")}})
    strategy, lived = _Averaging(n, family), 0

    def live(rounds: int) -> None:
        nonlocal arrays, lived
        done = strategy.start(grid, arrays, num_rounds=rounds, train_config=config)
        arrays = done.arrays
        lived += rounds

    def sent() -> tuple[int, int]:
        messages = 2 * n * lived  # a table to each client, and one back
        return messages, messages * len(arrays[VALUES].data)

    def said() -> NDArray[np.float32]:
        return np.concatenate(_asked(grid, arrays, config, n, n))

    # Workers start with the first clients that are asked, and read the ratings; the other side's
    # imports are not in its time either.
    _asked(grid, arrays, config, n, 2 * options["workers"])
    family.look()
    return Side(live=live, sent=sent, said=said)


def _asked(
    grid: Grid, arrays: ArrayRecord, config: ConfigRecord, clients: int, some: int
) -> list[NDArray[np.float32]]:
    """What some of the clients say, by user."""
    asking = FedAvg(
        fraction_evaluate=some / clients, min_evaluate_nodes=some, min_available_nodes=clients
    )
    replies = grid.send_and_receive(asking.configure_evaluate(0, arrays, config, grid))
    by_user = {
        int(reply.content[METRICS][USER]): reply.content[ARRAYS][VALUES].numpy()
        for reply in _whole(replies, some)
    }
    return [by_user[user] for user in sorted(by_user)]


def main() -> None:
    """Serve from within Flower's server, which lives as long as its simulation."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    work, workers = Work.load(Path(sys.argv[1])), json.loads(sys.argv[2])["workers"]
    server, family = ServerApp(), _Family()

    @server.main()  # type: ignore[untyped-decorator]
    def answer(grid: Grid, context: Context) -> None:
        del context
        cost = Cost(cpu_s=family.cpu_s, peak_mib=lambda: family.peak_mib)
        serve(lambda: _begin(grid, family), cost)

    run_simulation(
        server_app=server,
        client_app=app,
        num_supernodes=len(work.graph),
        backend_config={
            "init_args": {
                "num_cpus": workers,
                "_node_ip_address": _LOOPBACK,
                "log_to_driver": False,
                "logging_level": logging.ERROR,
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main()
