"""Tables of methods on standard output, at most 80 columns wide."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from p2prec.evaluation.metrics import PARTS


def print_table(summary: dict[str, Any]) -> None:
    """Methods and baselines by hit rate and NDCG at 10; on standard output, 80 columns wide."""
    rows = summary["methods"].values()
    asked = {part: max(row[part]["n"] for row in rows) for part in PARTS}
    table = narrow_table(
        f"{summary['scenario']}: {summary['peers']} peers",
        *(f"{part}\nn={asked[part]}\nHR@10  NDCG" for part in PARTS),
        "KiB a\npeer\nsent",
        "sec-\nonds",
    )
    for name, row in summary["methods"].items():
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else "-"
        answered = row["all"]["n"]
        label = name if answered == asked["all"] else f"{name} (n={answered})"
        table.add_row(
            label,
            *(_figures(row[part]) for part in PARTS),
            f"{row['bytes_per_peer'] / 1024:.0f}",
            seconds,
        )
    console = Console(highlight=False)
    console.print(table)
    found, memory = summary["discovered_by"], summary["uss_mib"]
    console.print(
        f"ready in {summary['seconds_to_ready']:.1f} s, {summary['seconds']:.0f} s in all; "
        f"lost: {summary['lost']}\n"
        f"private memory a peer {memory['p50']:.1f} MiB (max {memory['max']:.1f})\n"
        f"messages: {summary['messages']['tcp']} TCP, {summary['messages']['mqtt']} MQTT\n"
        f"peers discovered: {found['mdns']} by mDNS, {found['mqtt']} by MQTT"
    )
    seeds = summary["spread"]["seeds"]
    if len(seeds) > 1:
        spread = narrow_table(f"HR@10 over seeds {', '.join(map(str, seeds))}", *PARTS)
        for name, row in summary["spread"]["methods"].items():
            rates = [row[p]["hr@10"] for p in PARTS]
            spread.add_row(name, *(f"{r['mean']:.3f} ± {r['sd']:.3f}" for r in rates))
        console.print(spread)


def _figures(part: dict[str, float]) -> str:
    """Nobody's answers are no bad answers."""
    return f"{part['hr@10']:.3f} {part['ndcg@10']:.3f}" if part["n"] else "-"


def narrow_table(title: str, *numbers: str) -> Table:
    """Names to the left, numbers to the right; where it is narrow, only names are cut."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", vertical="bottom", overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
