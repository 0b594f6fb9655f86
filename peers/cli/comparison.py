"""Tables of a comparison, 80 columns wide: against one method, and of the sampled protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from p2prec.evaluation.metrics import PARTS
from peers.cli.tables import narrow_table


def print_comparison(summary: Mapping[str, Any]) -> None:
    """On standard output, what the table of the summary does not say."""
    console = Console(highlight=False)
    against = summary["against"]
    table = narrow_table(
        f"NDCG@10 minus that of {against}, 95 % interval; * p < 0.05, paired over users", *PARTS
    )
    for name, parts in summary["paired"].items():
        table.add_row(name, *(_gain(parts[part]["ndcg@10"]) for part in PARTS))
    console.print(table)
    sampled = {n: f["nearest_200"] for n, f in summary["figures"].items() if "nearest_200" in f}
    if not sampled:
        return
    table = narrow_table(
        "Another protocol: against the 200 nearest unknown places of the region",
        *(f"{part}\nHR@10 NDCG" for part in PARTS),
    )
    for name, row in sampled.items():
        table.add_row(name, *(f"{row[p]['hr@10']:.3f} {row[p]['ndcg@10']:.3f}" for p in PARTS))
    console.print(table)


def _gain(found: Mapping[str, float]) -> str:
    half = (found["high"] - found["low"]) / 2  # Student's interval is symmetric
    return f"{found['difference']:+.3f} ± {half:.3f}{'*' if found['p_t'] < 0.05 else ' '}"
