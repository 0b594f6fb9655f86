"""Hold the simulator against reality: one scenario as a swarm and as a simulation.

    python -m scenarios.fidelity [SCENARIO.toml] [--data CSV] [--peers N] [--seeds N]

Prints one JSON object: for each method quality, bytes and rounds of both, by seed, and the messages
of all methods together by kind; the mean difference, its 95 % interval over seeds, and whether it
lies within the spread of the swarm's seeds. What made it stands beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from p2prec.evaluation.statistics import half_width
from peers.provenance import provenance
from peers.simulator.command import run_simulation
from peers.swarm.command import run_swarm

Summary = Mapping[str, Any]
Both = tuple[Summary, Summary]  # of the swarm and of the simulation, with one seed

_SCENARIO = Path(__file__).with_name("fidelity.toml")


def main() -> None:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path, nargs="?", default=_SCENARIO)
    parser.add_argument("--data", default="")
    parser.add_argument("--peers", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    made, rows = provenance(), []
    for seed in range(args.seeds):
        asked: dict[str, Any] = {"data": args.data, "peers": args.peers, "seed": seed}
        swarm = run_swarm(args.scenario, **asked, show=False)
        rows.append((swarm, run_simulation(args.scenario, **asked, show=False)))
    learned = [name for name, row in rows[0][0]["methods"].items() if "validation" in row]
    found = {name: _compared(name, rows) for name in learned}
    result = {"made_by": made, "scenario": rows[0][0]["scenario"], "seeds": args.seeds}
    kinds = sorted({kind for both in rows for row in both for kind in row["messages_by_kind"]})
    messages = {kind: _figure(rows, partial(_sent, kind)) for kind in kinds}
    print(json.dumps({**result, "methods": found, "messages": messages}, indent=1))


def _sent(kind: str, summary: Summary) -> float:
    return float(summary["messages_by_kind"].get(kind, 0))


def _compared(name: str, rows: Sequence[Both]) -> dict[str, Any]:
    return {
        figure: _figure(rows, lambda summary, read=read: read(summary["methods"][name]))
        for figure, read in (
            ("hr@10", lambda row: row["all"]["hr@10"]),
            ("ndcg@10", lambda row: row["all"]["ndcg@10"]),
            ("bytes_per_peer", lambda row: row["bytes_per_peer"]),
            ("rounds", lambda row: len(row["validation"])),
        )
    }


def _figure(rows: Sequence[Both], read: Callable[[Summary], float]) -> dict[str, Any]:
    swarm, simulation = (np.array([read(both[i]) for both in rows], float) for i in range(2))
    spread = float(swarm.std(ddof=1)) if len(swarm) > 1 else 0.0
    differences = simulation - swarm
    mean = float(differences.mean())
    half = half_width(differences) if len(differences) > 1 else 0.0
    return {
        "swarm": swarm.tolist(),
        "simulation": simulation.tolist(),
        "difference": mean,
        "interval": [mean - half, mean + half],
        "spread_of_seeds": spread,
        "within": bool(abs(mean) <= spread),
    }


if __name__ == "__main__":
    main()
