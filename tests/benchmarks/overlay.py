"""Whom simulated peers learn with, and how soon what one has learned reaches all.

    python -m tests.benchmarks.overlay SCENARIO.toml --data DATA.csv.gz --peers N [--set KEY=VALUE]

One round of the first method that exchanges anything is simulated; by then everybody has
chosen. Prints one JSON object: shares of links within a cell and a local network, the second
eigenvalue of averaging over neighbours, and how far peers differ after each of some rounds of it,
in parts of how far they differed before.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from peers.provenance import provenance
from peers.scenario import load_scenario
from peers.simulator.command import simulate
from peers.swarm.data import load_realm
from topology.cells import home_cell
from topology.graph import averaging, differences, second_eigenvalue

_ROUNDS = 8


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--data", default="")
    parser.add_argument("--peers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    args, made = parser.parse_args(), provenance()
    scenario = load_scenario(args.scenario, settings=args.settings)
    method = next(one for one in scenario.methods if one.name != "alone")
    count = args.peers or scenario.peers.count
    scenario = replace(
        scenario,
        seed=args.seed,
        peers=replace(scenario.peers, count=count),
        methods=(replace(method, rounds=1),),
        simulation=replace(scenario.simulation, validate=False, answers=False),
    )
    realm = load_realm(scenario, data=args.data)
    found = simulate(scenario, realm)["methods"][method.title]
    links = np.array(found["links"])
    cells = [home_cell(realm.catalogue, history) for history in realm.histories]
    cell = np.unique(cells, return_inverse=True)[1]
    lan = np.arange(count) // scenario.simulation.network.lan_peers
    matrix = averaging(count, links)
    left = differences(matrix, _ROUNDS, rng=np.random.default_rng(args.seed))
    print(
        json.dumps(
            {
                "settings": {
                    **vars(args),
                    "scenario": str(args.scenario),
                    "data": Path(args.data).name,
                },
                "made_by": made,
                "links": len(links),
                "within_cell": round(float((cell[links[:, 0]] == cell[links[:, 1]]).mean()), 3),
                "within_lan": round(float((lan[links[:, 0]] == lan[links[:, 1]]).mean()), 3),
                "second_eigenvalue": round(second_eigenvalue(matrix), 4),
                "differences": left.round(4).tolist(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
