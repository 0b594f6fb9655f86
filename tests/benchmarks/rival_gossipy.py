"""Matrix factorisation by gossip, gossipy's and ours, side by side on MovieLens 100K.

    python -m tests.benchmarks.rival_gossipy DATA_FOLDER --out docs/results

Same ratings and split (a random tenth of each user's held back), same random 20-regular graph, as
many factors, biases on both sides, one message a peer and round to a random neighbour, one pass
over the own ratings a message or round. The sides are processes of one thread that take turns of
a few rounds, so that a busy machine slows all of them; begin and import are not in their time.

gossipy is installed by pip into an environment that is thrown away, or taken from a checkout of
its source (``--source``). Its row *corrected* undoes a slip in its merge, which halves every
factor each time; it is the row to beat. Rates were chosen with ``--fold validation``, of at
least as many for gossipy as for ours.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from tests.benchmarks.results import Results
from tests.benchmarks.rival_sides import Contender, compare, ours, parser, theirs
from tests.benchmarks.rival_table import table

# Chosen on validation after 40 rounds, of fourteen pairs: factors overflow at a rate of 0.05 and
# more, or with less regularisation.
_RATE, _REG = 0.03, 0.03


def main() -> None:
    """Let all sides take turns; measure after every ten rounds."""
    asked = parser(__doc__, "rival_gossipy", rounds=60, turn=5, seeds="0,1,2")
    asked.add_argument("--rate", type=float, default=_RATE, help="gossipy's learning rate")
    asked.add_argument("--reg", type=float, default=_REG, help="gossipy's regularisation")
    asked.add_argument("--source", default="", help="checkout of gossipy instead of its release")
    args = asked.parse_args()
    key = ("row", "seed", "factors", "fold", "round", "people")
    results = Results(Path(args.out) if args.out else None, "rival_gossipy", key=key, table=table)
    compare(args, results, ["gossipy-dfl"], partial(_contenders, args))


def _contenders(args: argparse.Namespace, python: Path, work: Path) -> list[Contender]:
    """Ours: whole tables in each message, as gossipy sends them, the best-known, the simulator."""
    order = {"factors": args.factors, "rate": args.rate, "reg": args.reg}
    more = {"PYTHONPATH": str(Path(args.source).resolve())} if args.source else {}
    script = "rival_gossipy_side.py"
    return [
        theirs("gossipy as shipped", python, script, work, {**order, "corrected": False}, **more),
        theirs("gossipy corrected", python, script, work, {**order, "corrected": True}, **more),
        ours("p2prec whole tables", work, args),
        ours("p2prec 512 rows a message", work, args, rows=512),
        ours("p2prec whole simulator", work, args, side="rival_simulator_side"),
    ]


if __name__ == "__main__":
    main()
