"""Hundreds of real peers on one machine: time to be ready, memory, and what CPU time goes to.

    python -m tests.benchmarks.swarm_scale --peers 300 [--data CHECK_INS.csv] [--keep FOLDER]

Runs ``scenarios/scale.toml``; prints one JSON object, its keys as in ``docs/summary-schema.md``
(``p2prec swarm``), with the load of the machine before and after.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from peers.swarm.command import run_swarm

SCENARIO = Path(__file__).parents[2] / "scenarios" / "scale.toml"
_LEFT_OUT = {"methods", "spread", "validation", "links", "areas"}  # quality is not the question


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=300)
    parser.add_argument("--data", default="", help="check-ins; the synthetic city without")
    parser.add_argument("--scenario", type=Path, default=SCENARIO)
    parser.add_argument("--rounds", type=int, default=0, help="0 as the scenario says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the peers' folders and log here")
    args = parser.parse_args()
    before = os.getloadavg()[0]
    summary = run_swarm(
        args.scenario,
        peers=args.peers,
        data=args.data,
        seed=args.seed,
        rounds=args.rounds,
        keep=args.keep,
        show=False,
    )
    methods = {
        name: {key: value for key, value in row.items() if key not in _LEFT_OUT}
        for name, row in summary["methods"].items()
        if "seconds" in row
    }
    kept = {key: value for key, value in summary.items() if key not in _LEFT_OUT}
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    print(json.dumps({**kept, "methods": methods, "load_before_after": load}, indent=1))


if __name__ == "__main__":
    main()
