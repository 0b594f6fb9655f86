"""``make demo``: a synthetic city, real peers, one table, two pictures."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from p2prec.errors import P2PRecError, StoppedByUserError

_NOTHING_RAN = "demo: interrupted: no process was running"


def main() -> None:
    """Run ``scenarios/demo.toml`` and keep its results in ``results/demo``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("peers", "rounds"):
        parser.add_argument(
            f"--{name}", type=int, default=0, help=f"{name}; 0 as the scenario says"
        )
    arguments = parser.parse_args()
    folder = Path("results/demo")
    signal.signal(signal.SIGINT, _leave)
    from peers.swarm.command import run_swarm  # takes a moment, in which Ctrl-C may come

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_swarm(
            Path(__file__).with_name("demo.toml"),
            peers=arguments.peers,
            rounds=arguments.rounds,
            pictures=folder,
        )
    except KeyboardInterrupt:
        print(_NOTHING_RAN, file=sys.stderr)
        sys.exit(130)
    except P2PRecError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(130 if isinstance(error, StoppedByUserError) else 1)
    print(f"Pictures and summary.json are in {folder}/")


def _leave(_number: int, _frame: object) -> None:
    """End at once: nothing runs while libraries load, and one of them may swallow an exception."""
    os.write(sys.stderr.fileno(), _NOTHING_RAN.encode() + b"\n")
    os._exit(130)


if __name__ == "__main__":
    main()
