"""What every recommender is worth with every item table, on the synthetic city: ``models.json``.

    python -m scenarios.measure_models

The same people, rounds and settings for each pair; peers average what random others send
(``in_step.py``), and are asked for their newest interactions; quality is that of the form that lies
on the device. Writes ``peers/models.json``, which ``p2prec models`` shows and by which
``memory_budget`` chooses. Rows that are there already are kept, unless ``--again``, and the file
says which are of a later commit; those of pairs that cannot be say why.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any, Final

from p2prec.collaboration.methods import method_for
from p2prec.embeddings.tables import TABLES, compressions_of
from p2prec.errors import ConfigError
from p2prec.models.families import FAMILIES, parse_model
from peers.asking import sizes_of
from peers.provenance import provenance
from peers.scenario import learner_config, scenario_of
from peers.swarm.data import load_realm
from peers.worth import MEASURED
from scenarios.in_step import ask, live

USUAL: Final = 10  # compression; a table that cannot be as small has the next one
FURTHER: Final = {  # of one family more, so that a budget has a choice
    "mf": ((16, (1, 10)), (32, (1, 4, 10, 50))),
    "ranker": ((8, (1,)), (16, (1,)), (32, (1,))),
}
_HOLD = 10  # questions of each user
_DEGREE = 4


def main() -> None:
    """Measure what is missing, write after each."""
    args = _arguments()
    known: dict[str, Any] = {}
    now = provenance() | {"users": args.users, "rounds": args.rounds, "seed": 0}
    made = now | {"later": {}}
    if MEASURED.exists() and (args.models or not args.again):
        written = json.loads(MEASURED.read_text(encoding="utf-8"))
        made, known = {"later": {}} | written["made_by"], written["models"]
    for name in args.models.split(",") if args.models else _names():
        if name not in known or args.again:
            known[name] = _measured(name, users=args.users, rounds=args.rounds)
            if now["commit"] != made["commit"]:
                made["later"][name] = now["commit"]
            print(name, known[name], flush=True)
            _write(known, made)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="", help="names with commas; all where empty")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--again", action="store_true", help="also what is known")
    return parser.parse_args()


def _names() -> Iterator[str]:
    for family, kind in FAMILIES.items():
        usual = ((min(kind.sizes, key=lambda size: abs(size - 16)), (USUAL,)),)
        for size, compressions in FURTHER.get(family, usual):
            for table in TABLES:
                able = compressions_of(table)
                for compression in sorted({max(c for c in able if c <= w) for w in compressions}):
                    if table == "full" or compression > 1:
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
                "methods": [{"name": method_for(family), "models": [name]}],
            },
            source="scenarios/measure_models.py",
        )
        realm = load_realm(scenario, data="")
        config = learner_config(scenario, scenario.methods[0], name)
        begun = time.process_time()
        learners = live(realm, config, hold=_HOLD, rounds=rounds, degree=_DEGREE, seed=0)
        sizes = [sizes_of(learner) for learner in learners]
        found = ask(learners, realm, hold=_HOLD).means()
    except ConfigError as error:
        return row | {"why": str(error)}
    return row | {
        "bytes": round(sum(size["model_bytes"] for size in sizes) / len(sizes)),
        "hr@10": round(found["hr@10"], 4),
        "ndcg@10": round(found["ndcg@10"], 4),
        "questions": _HOLD * users,
        "cpu_s": round(time.process_time() - begun, 1),
    }


def _write(models: dict[str, Any], made: dict[str, Any]) -> None:
    MEASURED.write_text(
        json.dumps({"made_by": made, "models": dict(sorted(models.items()))}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
