"""What every recommender is worth with every item table, on the synthetic city: ``models.json``.

    python -m scenarios.measure_models

A simulation of each pair: the same people, seeds, rounds and settings, neighbours who average;
quality is that of the form that lies on the device. Writes ``peers/models.json``, which
``p2prec models`` shows and by which ``memory_budget`` chooses. Rows that are there already are
kept, unless ``--again``; those of pairs that cannot be say why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final

from p2prec.embeddings.table import COMPRESSIONS
from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError
from p2prec.models.families import FAMILIES, parse_model
from peers.budget import MEASURED
from peers.provenance import provenance
from peers.scenario import scenario_of
from peers.simulator.command import simulate
from peers.swarm.data import load_realm

SIZES: Final = (16, 32)
USUAL: Final = (4, 10, 50)  # compressions; a table that cannot be as small has the next one


def main() -> None:
    """Measure what is missing, write after each."""
    args = _arguments()
    known: dict[str, Any] = {}
    if MEASURED.exists() and not args.again:
        known = json.loads(MEASURED.read_text(encoding="utf-8"))["models"]
    for name in args.models.split(",") if args.models else _names():
        if name not in known or (args.models and args.again):
            known[name] = _measured(name, users=args.users, rounds=args.rounds)
            print(name, known[name], flush=True)
            _write(known, args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="", help="names with commas; all where empty")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--again", action="store_true", help="also what is known")
    return parser.parse_args()


def _names() -> Iterator[str]:
    for family, kind in FAMILIES.items():
        for size in [s for s in SIZES if s in kind.sizes] or kind.sizes[:1]:
            for table, form in TABLES.items():
                able = [c for c in COMPRESSIONS if c <= form.smallest]
                for compression in sorted({max(c for c in able if c <= want) for want in USUAL}):
                    suffix = "" if table == "full" else f"/{table}-{compression}"
                    yield f"{family}/{size}{suffix}"


def _measured(name: str, *, users: int, rounds: int) -> dict[str, Any]:
    family, *_ = name.split("/")
    table = name.split("/")[2].rpartition("-")[0] if name.count("/") > 1 else "full"
    row: dict[str, Any] = {"recommender": family, "table": table}
    try:
        parse_model(name)
        scenario = scenario_of(
            {
                "name": "models",
                "discovery": 1.0,
                "data": {"kind": "city", "users": users},
                "peers": {"count": users},
                "schedule": {"round_interval_s": 600, "inbox_timeout_s": 120, "max_rounds": rounds},
                "simulation": {"validate": False},
                "methods": [{"name": "epidemic", "models": [name]}],
            },
            source="scenarios/measure_models.py",
        )
        realm = load_realm(scenario, data="")
        found = simulate(scenario, realm, processes=1, label="", quiet=True)
    except ConfigError as error:
        return row | {"why": str(error)}
    method = found["methods"]["epidemic"]
    return row | {
        "bytes": method["model_bytes"],
        "hr@10": method["all"]["hr@10"],
        "ndcg@10": method["all"]["ndcg@10"],
        "seconds": method["seconds"],
    }


def _write(models: dict[str, Any], args: argparse.Namespace) -> None:
    made = provenance() | {"users": args.users, "rounds": args.rounds, "seed": 0}
    MEASURED.write_text(
        json.dumps({"made_by": made, "models": dict(sorted(models.items()))}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
