"""Our whole simulator: discovery, hellos, a broker, encoding and the clock are in its time.

python -m tests.benchmarks.rival_simulator_side WORK.npz '{"factors": 8, "rows": 1682, "set": []}'

Each peer learns from one other, chosen at random once it has met some, so that there is one message
a peer and round as on the other sides; but it is the same neighbour each time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import peers  # noqa: F401 - before NumPy, as in a peer: it says how many threads NumPy takes

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray

from p2prec.data.interactions import History
from p2prec.models.recommender import Context
from p2prec.training.config import ProtectionConfig
from peers.config import NeighbourConfig, ScheduleConfig
from peers.scenario import MethodConfig, PeersConfig, Scenario
from peers.simulator.config import SimulationConfig
from peers.simulator.hands import InProcess
from peers.simulator.run import Standing, live
from peers.simulator.world import World
from peers.swarm.data import Realm
from tests.benchmarks.rival_our_side import films, history
from tests.benchmarks.rival_work import Side, Work, serve


class _EnoughError(Exception):
    """So many rounds were asked for."""


def _begin() -> Side:
    torch.set_num_threads(1)
    work, options = Work.load(Path(sys.argv[1])), json.loads(sys.argv[2])
    n = len(work.graph)
    training: dict[str, float | int | str | bool] = {"epochs": 1}
    for setting in options["set"]:
        key, value = setting.split("=")
        training[key.removeprefix("training.")] = float(value)
    method = MethodConfig(
        name="epidemic",
        models=(f"mf/{options['factors']}/rating",),
        options={"max_rows": float(options["rows"]), "dilution": 0.0},
        training=training,
    )
    scenario = Scenario(
        name="rival",
        seed=work.seed,
        discovery=1.0,
        peers=PeersConfig(count=n, mdns_only=0.0, mqtt_only=1.0),
        methods=(method,),
        protection=ProtectionConfig(method="none"),
        neighbours=NeighbourConfig(k=1, selection="random"),
        schedule=ScheduleConfig(
            round_interval_s=600.0,
            inbox_timeout_s=120.0,
            max_rounds=1_000_000,
            min_neighbours=1,
            settle_s=60.0,
        ),
        simulation=SimulationConfig(validate=False),
    )
    histories = tuple(_with_targets(history(known)) for known in work.of_each(work.known))
    users = tuple(map(str, range(n)))
    world = World(
        scenario, method, Realm(catalogue=films(work.n_films), histories=histories, users=users)
    )
    hand = InProcess(world, 0, 1)
    asked = [of[:, 0].astype(np.int64) for of in work.of_each(work.asked)]
    lived, standing = 0, Standing()

    def between(now: Standing) -> None:
        nonlocal standing
        standing = now
        if hand.shard.peer_rounds >= lived * n:
            raise _EnoughError

    def some_rounds(rounds: int) -> None:
        nonlocal lived
        lived += rounds
        try:
            live(world, [hand], start=standing, between=between)
        except _EnoughError:
            return

    def sent() -> tuple[int, int]:
        counters = [peer.counters for peer in hand.shard.peers.values()]
        return sum(c["said.share"] for c in counters), sum(c["payload_bytes"] for c in counters)

    def said() -> NDArray[np.float32]:
        learners = [hand.shard.peers[i].learner for i in range(n)]
        scores = [x.scores(Context(timestamp_s=0)) for x in learners if x is not None]
        return np.concatenate([s[of] for s, of in zip(scores, asked, strict=True)])

    return Side(live=some_rounds, sent=sent, said=said)


def _with_targets(known: History) -> History:
    """With two more at its end, which a simulated peer does not learn from."""
    last = known.timestamp_s[-1] + np.arange(1, 3)
    return History(
        item=np.append(known.item, known.item[-2:]),
        timestamp_s=np.append(known.timestamp_s, last),
        rating=np.append(known.rating, known.rating[-2:]),
    )


if __name__ == "__main__":
    serve(_begin)
