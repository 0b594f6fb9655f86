"""Hold the simulator against reality: one scenario as a swarm and as a simulation.

    python -m scenarios.fidelity [SCENARIO.toml] [--data CSV] [--peers N] [--seeds N]

Prints one JSON object: for each method quality, bytes, messages and rounds of both, by seed, and
whether their difference lies within the spread of the seeds. What made it stands beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from peers.provenance import provenance
from peers.simulator.command import run_simulation
from peers.swarm.command import run_swarm

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
    print(json.dumps({**result, "methods": found}, indent=1))


def _compared(name: str, rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for figure, read in (
        ("hr@10", lambda row: row["all"]["hr@10"]),
        ("ndcg@10", lambda row: row["all"]["ndcg@10"]),
        ("bytes_per_peer", lambda row: row["bytes_per_peer"]),
        ("rounds", lambda row: len(row["validation"])),
    ):
        swarm, simulation = (
            np.array([read(both[which]["methods"][name]) for both in rows], float)
            for which in range(2)
        )
        spread = float(swarm.std(ddof=1)) if len(swarm) > 1 else 0.0
        difference = float(simulation.mean() - swarm.mean())
        result[figure] = {
            "swarm": swarm.tolist(),
            "simulation": simulation.tolist(),
            "difference": difference,
            "spread_of_seeds": spread,
            "within": bool(abs(difference) <= spread),
        }
    return result


if __name__ == "__main__":
    main()
