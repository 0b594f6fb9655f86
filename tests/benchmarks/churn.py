"""Memory of a simulation in which peers come, go, sleep and crash for weeks, by virtual day.

    python -m tests.benchmarks.churn --out churn.json

Simulates ``scenarios/churn.toml`` in this process. After each virtual day: resident memory of the
process, the device's share that is on line, peers that have left, and the sizes of what could grow
with time: names and adverts that are kept for the world, adverts and missed events of all peers.
``slope_kib_per_day`` is that of a straight line through the memory of the second half. Prints one
JSON object with its provenance, and writes it with ``--out``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.life import Phase
from peers.provenance import provenance
from peers.scenario import load_scenario
from peers.simulator.estimate import resident_bytes
from peers.simulator.hands import InProcess
from peers.simulator.run import Standing, live
from peers.simulator.shard import Shard
from peers.simulator.world import World
from peers.swarm.data import load_realm

SCENARIO = Path(__file__).parents[2] / "scenarios" / "churn.toml"
_DAY_S, _KIB = 86_400.0, 1_024


def standing(shard: Shard) -> dict[str, int | float]:
    """What there is at this moment."""
    peers = shard.peers.values()
    lives = [peer.life for peer in peers if peer.life is not None]
    return {
        "rss_mib": round(resident_bytes() / _KIB**2, 2),
        "joined": sum(peer.lives > 0 for peer in peers),
        "on_line": sum(not peer.asleep for peer in peers if peer.life is not None),
        "left": sum(life.phase is Phase.HALTED for life in lives),
        "crashes": sum(peer.counters["crashes"] for peer in peers),
        "peer_rounds": shard.peer_rounds,
        "names": len(shard._post.index_of),
        "shown": sum(map(len, shard._presence.places.shown.values())),
        "topics": sum(len(peer.topics) for peer in peers),
        "missed": sum(len(peer.missed) for peer in peers),
        "adverts": sum(len(life.adverts) for life in lives),
        "events": sum(1 for _ in shard._calendar.items()),
        "rows": sum(len(peer.learner.knowledge.table.rows) for peer in peers if peer.learner),
    }


def by_day(shard: Shard, days: list[dict[str, int | float]]) -> Callable[[Standing], None]:
    """Notes a line at the end of each virtual day."""

    def look(at: Standing) -> None:
        if at.virtual_s >= _DAY_S * (len(days) + 1):
            days.append({"day": len(days) + 1, **standing(shard)})
            print(days[-1], file=sys.stderr, flush=True)

    return look


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenario", type=Path, default=SCENARIO)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = provenance()  # of now: the files may change while it runs
    settings = [*args.settings, f"simulation.hours={24 * args.days + 1}"]
    scenario = replace(load_scenario(args.scenario, settings=settings), seed=args.seed)
    world = World(scenario, scenario.methods[0], load_realm(scenario, data=""))
    hand = InProcess(world, 0, 1)
    days: list[dict[str, int | float]] = []
    begun_s = time.process_time()
    live(world, [hand], between=by_day(hand.shard, days))
    second = days[len(days) // 2 :]
    line = np.polyfit([d["day"] for d in second], [d["rss_mib"] for d in second], 1)
    found: dict[str, Any] = {
        "peers": world.n,
        "rows": days,
        "seed": args.seed,
        "slope_kib_per_day": round(float(line[0]) * _KIB, 1),
        "cpu_s": round(time.process_time() - begun_s, 1),
        "made_by": made,
    }
    text = json.dumps(found, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
