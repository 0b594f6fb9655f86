"""``make demo``: a synthetic city, real peers, one table, two pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from p2prec.errors import P2PRecError, StoppedByUserError
from peers.swarm.command import run_swarm


def main() -> None:
    """Run ``scenarios/demo.toml`` and keep its results in ``results/demo``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="rounds; 0 as the scenario says")
    arguments = parser.parse_args()
    folder = Path("results/demo")
    try:
        run_swarm(Path(__file__).with_name("demo.toml"), rounds=arguments.rounds, pictures=folder)
    except P2PRecError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(130 if isinstance(error, StoppedByUserError) else 1)
    print(f"Pictures and summary.json are in {folder}/")


if __name__ == "__main__":
    main()
