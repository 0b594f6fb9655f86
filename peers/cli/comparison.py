"""Tables of a comparison, 80 columns wide: one for each thing that must not share a table."""

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
    if "clicks" in summary:
        _print_clicks(summary["clicks"])
    if "ratings" in summary:
        _print_ratings(summary["ratings"])
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


def _print_clicks(clicks: Mapping[str, Any]) -> None:
    """Ranks and surprise of models that learn clicks."""
    table = narrow_table(
        "Another task: will it be clicked on? Log loss as if one of five shown had been",
        "HR@10  NDCG",
        "AUC",
        "log loss",
        "KiB a\npeer\nsent",
    )
    for name, found in clicks["figures"].items():
        row = found["all"]
        table.add_row(
            name,
            f"{row['hr@10']:.3f} {row['ndcg@10']:.3f}",
            f"{row['auc']:.3f}",
            f"{row['log_loss']:.3f}",
            _sent(clicks, name),
        )
    Console(highlight=False).print(table)


def _print_ratings(ratings: Mapping[str, Any]) -> None:
    """Errors of models that learn ratings, best first."""
    against = ratings["against"]
    table = narrow_table(
        f"Another task: which rating? Squared error minus that of {against}; * p < 0.05",
        "RMSE",
        "95 %",
        "MAE",
        f"minus\n{against}",
        "KiB a\npeer\nsent",
    )
    rows = sorted(ratings["figures"].items(), key=lambda pair: pair[1]["rmse"])
    for name, found in rows:
        low, high = found["rmse_interval"]
        gain = ratings["paired"].get(name)
        table.add_row(
            name,
            f"{found['rmse']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{found['mae']:.3f}",
            _gain(gain) if gain else "-",
            _sent(ratings, name),
        )
    Console(highlight=False).print(table)


def _sent(compared: Mapping[str, Any], name: str) -> str:
    """Baselines send nothing."""
    row = compared["methods"].get(name)
    return f"{row['bytes_per_peer'] / 1024:.0f}" if row else "0"


def _gain(found: Mapping[str, float]) -> str:
    half = (found["high"] - found["low"]) / 2  # Student's interval is symmetric
    return f"{found['difference']:+.3f} ± {half:.3f}{'*' if found['p_t'] < 0.05 else ' '}"
