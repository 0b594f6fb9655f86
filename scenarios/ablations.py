"""Ablations of DCLR and MAC: ``changes/ablations.toml``, one table.

    python -m scenarios.ablations --data DATA --users 150 --seeds 3 --out docs/results

Every row is the frozen scenario of ``p2prec evaluate`` with one thing changed, simulated on the
same users, split and questions, and held against the unchanged method. Writes ``ablations.json``,
whose answers ``p2prec.evaluation.frame`` reads, and ``ablations.md``, anew after every seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from p2prec.errors import P2PRecError
from p2prec.evaluation.comparison import Comparison
from p2prec.evaluation.metrics import PARTS
from peers.evaluate import FROZEN
from peers.examination import Examination
from peers.provenance import provenance
from peers.scenario import Scenario, scenario_of
from peers.settings import convert, merged, read_toml
from peers.simulator.command import simulate
from peers.swarm.data import load_realm
from scenarios.pages import cell, gain, made_by, rows_of

_ROWS = Path(__file__).parent / "changes" / "ablations.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One changed thing.

    Attributes:
        name: Of the row in its part.
        of: A method of the frozen scenario.
        part: What is changed; "" for the unchanged method.
        set: Tables on top of those of the scenario.
        method: On top of the method's own table.
    """

    name: str
    of: str
    part: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    rows: tuple[Row, ...]


def ablations(path: Path = _ROWS) -> Iterator[tuple[Row, str, Scenario]]:
    """Every row, the name of what it is held against, and its scenario, which has one method.

    Names of scenarios' methods are unique: ``AGAINST: PART, NAME``.

    Raises:
        ConfigError: A row names no method, or what it changes makes no sense.
    """
    base = read_toml(FROZEN)
    against = ""
    for row in convert(read_toml(path), _File, source=str(path)).rows:
        against = against if row.part else row.name
        title = f"{against}: {row.part}, {row.name}" if row.part else row.name
        method = next((m for m in base["methods"] if m["name"] == row.of), {"name": row.of})
        tables = merged(base, row.set)
        tables["methods"] = [{**merged(method, row.method), "label": title}]
        yield row, against, scenario_of(tables, source=f"{path}, row {title!r}")


def main() -> None:
    """Simulate all rows, seed by seed; write what is there after each seed."""
    args = _arguments()
    wanted = [name.strip() for name in args.rows.split(";") if name.strip()]
    rows = [
        (against, scenario)
        for _, against, scenario in ablations()
        if not wanted or scenario.methods[0].title in wanted or against == scenario.methods[0].title
    ]
    made = provenance()  # of now: the files may change while it runs
    comparison: Comparison | None = None
    sent: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        realm, examination, answers = None, None, {}
        for number, (_, scenario) in enumerate(rows, 1):
            seeded = replace(scenario, seed=seed, peers=replace(scenario.peers, count=args.users))
            if realm is None or examination is None:
                realm = load_realm(seeded, data=args.data)
                examination = Examination(realm)
            summary = simulate(seeded, realm, processes=args.processes)
            answers |= summary.pop("answers")
            (title, found), *_ = summary["methods"].items()
            sent.setdefault(title, []).append(_spent(found))
            said = f"seed {seed}, {number} of {len(rows)}: {title}: {found['all']['ndcg@10']:.3f}"
            print(f"{said}, {summary['seconds']:.0f} s", file=sys.stderr, flush=True)
        if realm is None or examination is None:
            sys.exit("no row is named so; ablations.toml has their names")
        comparison = comparison or Comparison(len(realm.catalogue))
        comparison.add(seed, *examination.shared(answers))
        result = _result(made, rows, comparison, sent)
        if args.out:
            folder = Path(args.out)
            (folder / "ablations.json").write_text(json.dumps(result) + "\n")
            (folder / "ablations.md").write_text(page(result))
    if comparison is not None:
        print(page(_result(made, rows, comparison, sent)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="CSV of check-ins")
    parser.add_argument("--users", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=0, help="0 as the frozen scenario says")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", default="", help="names as in the table, with semicolons")
    parser.add_argument("--out", default="", help="folder of ablations.json and ablations.md")
    return parser.parse_args()


def _spent(found: Mapping[str, Any]) -> dict[str, float]:
    rounds = found["peer_rounds"] / max(1, len(found["areas"]))
    return {"bytes_per_peer": found["bytes_per_peer"], "rounds_per_peer": rounds}


def _result(
    made: Mapping[str, str],
    rows: Sequence[tuple[str, Scenario]],
    comparison: Comparison,
    sent: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, Any]:
    against = {scenario.methods[0].title: base for base, scenario in rows}
    summary = comparison.summary(against=against)
    return {
        "made_by": dict(made),
        "spent": {
            title: {key: float(np.mean([one[key] for one in found])) for key in found[0]}
            for title, found in sent.items()
        },
        **summary,
    }


def page(result: Mapping[str, Any]) -> str:
    """The table in Markdown."""
    figures, paired, against = result["figures"], result["paired"], result["against"]
    first = next(iter(figures.values()))
    seeds = sorted(set(result["answers"]["seed"]))
    lines = [
        "# Ablations of DCLR and MAC",
        "",
        made_by(result["made_by"]),
        "",
        (
            "Rows of `scenarios/changes/ablations.toml` on `peers/evaluate.toml`, each with one "
            "thing changed. "
            f"Seeds {', '.join(map(str, seeds))}; n = {first['all']['n']} questions, "
            f"{first['returning']['n']} returning and {first['new']['n']} new, the same in every "
            "row. HR@10 / NDCG@10 over the full catalogue with the spread of the seeds (standard "
            "deviation); the difference is of NDCG@10 over all to the unchanged method, with its "
            "95 % interval over users, paired; * where p < 0.05, not corrected for the number of "
            "rows."
        ),
    ]
    for base in dict.fromkeys(against.values()):
        lines += ["", f"## {base}", ""]
        lines += rows_of(("row", *PARTS, f"minus {base}", "rounds", "KiB sent a peer"))
        for title in (t for t, b in against.items() if b == base):
            spent = result["spent"][title]
            cells = [
                title.removeprefix(f"{base}: "),
                *(cell(result, title, part) for part in PARTS),
                gain(paired[title]["all"]["ndcg@10"]) if title in paired else "-",
                f"{spent['rounds_per_peer']:.1f}",
                f"{spent['bytes_per_peer'] / 1024:,.0f}",
            ]
            lines += rows_of(cells, head=False)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except P2PRecError as error:
        sys.exit(f"ablations: {error}")
