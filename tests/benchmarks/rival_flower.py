"""Matrix factorisation with a server in Flower's simulation, and ours, on MovieLens 100K.

    python -m tests.benchmarks.rival_flower DATA_FOLDER --out docs/results

Flower has no gossip: its clients learn with a server. The same work is what a client does and what
it sends: one pass over the own ratings a round, one table of all films' factors and biases to each
client and one back. Processor time and memory of Flower's side are those of all its processes; the
sides take turns; begin and import are not in the time.

Flower is installed by pip into an environment that is thrown away. Its telemetry and Ray's are off.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

from tests.benchmarks.results import Result, Results
from tests.benchmarks.rival_sides import Contender, compare, ours, parser, theirs
from tests.benchmarks.rival_table import Columns, page

_PACKAGES = ("flwr[simulation]==1.42.0", "psutil")
_FLOWER, _SPEED = "Flower", "peer_rounds_per_cpu_s"
# Chosen on validation after 60 rounds, of 27 triples. Films move far: a client's table counts by
# its part of all ratings, however few clients rated a film.
_RATES = {"rate": 1.0, "own_rate": 0.1, "reg": 0.03}
_HEAD = """# Beside Flower

{origin}

MovieLens 100K, one user a client, a random tenth of each user's ratings held back. Flower 1.42.0
from PyPI, its simulation with two of Ray's workers, one for each core; it has no gossip, so that
its clients learn with a server: federated averaging (its `FedAvg`) of all clients in every round,
weighted by their ratings. A client is NumPy alone and makes one pass over its ratings a round, in
steps of 32; what is the user's own stays in the state that Flower keeps for each client. Nobody is
evaluated within the time. *p2prec with a server* is federated averaging too (`server_fedavg`), with
Adagrad's steps at the rates chosen for gossip, and begins anew with each turn of ten rounds, which
is in its time. *p2prec whole tables* is another algorithm, gossip as
[beside gossipy](rival_gossipy.md): the same pass, and one table a peer and round. Both are learners
in step, without a network.

RMSE is the mean over users, clipped to 1 to 5, with the pooled one in brackets and the unclipped
one beside it. Rates were chosen on validation after 60 rounds, of 27 triples for Flower (rates of
films and users, regularisation), of ten pairs for *p2prec with a server*, of which that in use for
gossip was the best, all with 943 people. CPU time is that of the rounds alone, of all processes:
the workers and Ray's own are in Flower's, and so is looking at their memory once a round. Peak
memory of Flower's side is the sum over its processes of their proportional set sizes, looked at
once a round, and that of p2prec the peak of its one process. KiB sent are those of one way,
p2prec's with two bytes a float, Flower's with four; with a server as much comes back. The sides
take turns of ten rounds in one run. Every value is in [rival_flower.json](rival_flower.json).

Not here: decentralizepy is not on PyPI, and from its source runs one process a peer, of 222 MiB
each and 98 s to start 16 of them, with a model of one fixed size. p2pfl is (0.4.4), but its nodes
are threads that vote before each round: 16 of them took 18 s a round of a small network, which for
943 nodes in one process leaves no comparison.
"""


def main() -> None:
    """Let the sides take turns; measure after every ten rounds."""
    asked = parser(__doc__, "rival_flower", rounds=60, turn=10, seeds="0")
    asked.add_argument("--workers", type=int, default=2, help="processes of Flower's clients")
    for name, value in _RATES.items():
        asked.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    args = asked.parse_args()
    key = ("row", "seed", "factors", "fold", "round", "people")
    table = partial(page, _HEAD, columns=_columns)
    results = Results(Path(args.out) if args.out else None, "rival_flower", key=key, table=table)
    compare(args, results, _PACKAGES, partial(_contenders, args))


def _contenders(args: argparse.Namespace, python: Path, work: Path) -> list[Contender]:
    order = {name: getattr(args, name) for name in ("factors", "workers", *_RATES)}
    here = str(work.parent)
    environment = {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_HOME": here,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": here,
    }
    return [
        theirs(_FLOWER, python, "rival_flower_side.py", work, order, **environment),
        ours("p2prec with a server", work, args, server=True),
        ours("p2prec whole tables", work, args),
    ]


def _columns(results: Sequence[Result]) -> Columns:
    flower = [float(r[_SPEED]) for r in results if r["row"] == _FLOWER]
    columns: dict[str, Callable[[Result], float]] = {
        "CPU ms a peer-round": lambda r: 1_000 / float(r[_SPEED]),
        "wall s a round": lambda r: float(r["wall_s"]) / float(r["round"]),
    }
    if flower:
        columns["times Flower's speed"] = lambda r: float(r[_SPEED]) / mean(flower)
    return columns


if __name__ == "__main__":
    main()
