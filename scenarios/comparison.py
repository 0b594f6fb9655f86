"""All methods in one evaluation, as a page: tables, pictures and every value.

    python -m scenarios.comparison --data DATA --users 40 --seeds 2 --out docs/results/comparison

Runs ``p2prec evaluate`` and writes ``OUT.json`` (which ``p2prec.evaluation.frame`` reads),
``OUT.md`` and pictures in ``OUT/``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from p2prec.errors import P2PRecError
from p2prec.evaluation.answers import ACTIVITY
from p2prec.evaluation.metrics import PARTS
from peers.evaluate import run_evaluation
from scenarios.pages import cell, gain, made_by, rows_of

_ABOUT = """HR@10 / NDCG@10 over the full catalogue with the standard deviation over seeds. The
difference is of NDCG@10 over all to *{against}*, with its 95 % interval over users, paired; * where
p < 0.05, not corrected for the number of methods. Coverage and Gini are of lists of ten. Baselines
but *most_frequent* and *nearest*, and the rows with a server, read everybody's history, as no peer
can."""


def main() -> None:
    """Evaluate and write."""
    args = _arguments()
    out = Path(args.out)
    summary = run_evaluation(
        args.data,
        methods=[name.strip() for name in args.methods.split(",") if name.strip()],
        seeds=args.seeds,
        users=args.users,
        rounds=args.rounds,
        processes=args.processes,
        pictures=out,
        show=False,
    )
    out.with_suffix(".json").write_text(json.dumps(summary) + "\n")
    out.with_suffix(".md").write_text(page(summary, title=args.title, pictures=out))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, help="path without an ending")
    parser.add_argument("--title", default="All methods in one table")
    parser.add_argument("--methods", default="", help="with commas; all where empty")
    parser.add_argument("--users", type=int, default=0, help="0 for all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0, help="0 as the frozen settings say")
    parser.add_argument("--processes", type=int, default=1)
    return parser.parse_args()


def page(summary: Mapping[str, Any], *, title: str, pictures: Path) -> str:
    """All tables in Markdown.

    Args:
        summary: Of an evaluation.
        title: Above them.
        pictures: The folder with those of it, beside the page.
    """
    first = next(iter(summary["figures"].values()))
    seeds = sorted(set(summary["answers"]["seed"]))
    lines = [f"# {title}", "", made_by(summary["made_by"]), ""]
    counts = f"{first['returning']['n']} returning and {first['new']['n']} new"
    lines.append(
        f"{summary['peers']} users a seed, seeds {', '.join(map(str, seeds))}; n = "
        f"{first['all']['n']} questions, {counts}."
    )
    lines += ["", _ABOUT.format(against=summary["against"]), "", *_ranking(summary)]
    for name, says in (
        ("rounds", "Quality by round, by bytes and by virtual time"),
        ("bytes", "Quality by bytes"),
        ("users", "Who gains and who loses"),
        ("map", "Neighbours"),
    ):
        if (pictures / f"{name}.png").exists():
            lines += ["", f"![{says}]({pictures.name}/{name}.png)"]
    lines += _sampled(summary)
    if "clicks" in summary:
        lines += _clicks(summary["clicks"])
    if "ratings" in summary:
        lines += _ratings(summary["ratings"])
    lines += _thirds(summary)
    return "\n".join(lines) + "\n"


def _ranking(summary: Mapping[str, Any]) -> Iterator[str]:
    yield from rows_of(
        ("method", *PARTS, "MRR", "AUC", "coverage", "Gini", "minus alone", "KiB sent a peer")
    )
    for name, found in summary["figures"].items():
        yield from rows_of(
            (
                name,
                *(cell(summary, name, part) for part in PARTS),
                f"{found['all']['mrr']:.3f}",
                f"{found['all']['auc']:.3f}",
                f"{found['coverage@10']:.3f}",
                f"{found['gini@10']:.3f}",
                _against(summary, name, "all"),
                _sent(summary, name),
            ),
            head=False,
        )


def _sampled(summary: Mapping[str, Any]) -> Sequence[str]:
    rows = {n: f["nearest_200"] for n, f in summary["figures"].items() if "nearest_200" in f}
    if not rows:
        return ()
    lines = [
        "",
        "## The sampled protocol of the papers, a table of its own",
        "",
        (
            "The right place against the 200 nearest places of its region that the user does not "
            "know; five regions by k-means. A known place competes with unknown ones only, so that "
            "only the last column says anything."
        ),
        "",
        *rows_of(("method", *PARTS)),
    ]
    for name, found in rows.items():
        cells = (f"{found[p]['hr@10']:.3f} / {found[p]['ndcg@10']:.3f}" for p in PARTS)
        lines += rows_of((name, *cells), head=False)
    return lines


def _clicks(clicks: Mapping[str, Any]) -> Sequence[str]:
    lines = [
        "",
        "## Clicks",
        "",
        (
            "The same question, learned with log loss, which is measured as if the right item had "
            "been clicked on and any four others beside it had not; *base_rate* says one in five "
            "of each."
        ),
        "",
        *rows_of(("method", "HR@10 / NDCG@10", "AUC", "log loss", "KiB sent a peer")),
    ]
    for name, found in clicks["figures"].items():
        row = found["all"]
        figures = (f"{row['auc']:.3f}", f"{row['log_loss']:.3f}")
        cells = (name, cell(clicks, name, "all"), *figures, _sent(clicks, name))
        lines += rows_of(cells, head=False)
    return lines


def _ratings(ratings: Mapping[str, Any]) -> Sequence[str]:
    first = next(iter(ratings["figures"].values()))
    lines = [
        "",
        "## Ratings",
        "",
        (
            f"Which rating the user gives to the last item; n = {first['n']}. RMSE with its 95 % "
            "interval over users; the difference is of squared errors, so that less is better. "
            f"*{ratings['against']}* needs nobody, nor does *user_mean*."
        ),
        "",
        *rows_of(("method", "RMSE", "MAE", f"minus {ratings['against']}", "KiB sent a peer")),
    ]
    for name, found in sorted(ratings["figures"].items(), key=lambda pair: pair[1]["rmse"]):
        low, high = found["rmse_interval"]
        paired = ratings["paired"].get(name)
        cells = (
            name,
            f"{found['rmse']:.3f} [{low:.3f}, {high:.3f}]",
            f"{found['mae']:.3f}",
            gain(paired) if paired else "-",
            _sent(ratings, name),
        )
        lines += rows_of(cells, head=False)
    return lines


def _thirds(summary: Mapping[str, Any]) -> Sequence[str]:
    """NDCG@10 by thirds of the users and of the items."""
    first = next(iter(summary["figures"].values()))
    parts = [  # equal values stay together, so that a part may be empty
        (by, name)
        for by in ("by_activity", "by_popularity")
        for name in ACTIVITY
        if first[by][name]["n"]
    ]
    heads = [
        f"{name} (≤ {first[by][name]['most']}, n={first[by][name]['n']})" for by, name in parts
    ]
    lines = [
        "",
        "## By activity and by popularity",
        "",
        (
            "NDCG@10 in thirds: first of the users by their interactions before the question, then "
            "of the right items by the users who had met them; what is equal stays together."
        ),
        "",
        *rows_of(("method", *heads)),
    ]
    for name, found in summary["figures"].items():
        cells = (f"{found[by][third]['ndcg@10']:.3f}" for by, third in parts)
        lines += rows_of((name, *cells), head=False)
    return lines


def _against(summary: Mapping[str, Any], name: str, part: str) -> str:
    found = summary["paired"].get(name)
    return gain(found[part]["ndcg@10"]) if found else "-"


def _sent(summary: Mapping[str, Any], name: str) -> str:
    row = summary["methods"].get(name)  # clicks and ratings have none of baselines
    return f"{row['bytes_per_peer'] / 1024:,.0f}" if row else "0"


if __name__ == "__main__":
    try:
        main()
    except P2PRecError as error:
        sys.exit(f"comparison: {error}")
