"""The table of MovieLens, in Markdown, from all results."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from tests.benchmarks.results import Result

_TITLES = {
    "rating": "Ratings: a tenth of each user's held back",
    "ranking": "Ranking: the last film of each user among all that it has not seen",
    "click": "Clicks: the same question, learned with log loss",
}
_HEAD = """# MovieLens 100K

{origin}

943 learners in one process, one user each, eight neighbours, rounds in step; messages are encoded
for their size, but not sealed. Rows with `/protected` have pseudo items and clipping as an owner
has them by default, the others send what they learned as it is. *(centralised)* reads everybody's
history, which no peer can. Mean and standard deviation over seeds; settings were chosen on
interactions that neither training nor test of this table holds. Ratings are clipped to 1 to 5.
With as many neighbours for everybody `metropolis_hastings` is the same rule as `epidemic`. Every
value is in [films.json](films.json), with the commit that it was measured at.
"""


def table(results: Sequence[Result], origin: str) -> str:
    """All results of one task, split and fold under one heading.

    Args:
        results: Of all tasks.
        origin: Where they come from.
    """
    parts = [_HEAD.format(origin=origin)]
    kinds = dict.fromkeys((r["task"], r["split"], r["fold"]) for r in results)
    for task, split, fold in sorted(kinds, key=lambda kind: list(_TITLES).index(str(kind[0]))):
        held = [r for r in results if (r["task"], r["split"], r["fold"]) == (task, split, fold)]
        seeds = ", ".join(map(str, sorted({int(r["seed"]) for r in held})))
        parts.append(f"## {_TITLES[str(task)]}\n\nSplit: {split}; {fold}; seeds {seeds}.\n")
        parts.append(_rating(held) if task == "rating" else _ranking(held))
    return "\n".join(parts)


def _rating(results: Sequence[Result]) -> str:
    lines = ["| row | RMSE, mean over users | pooled | rounds | KiB a message |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row, found in sorted(_rows(results).items(), key=lambda pair: _mean(pair[1], "rmse")):
        cells = [
            row,
            spread_of(found, "rmse"),
            f"({spread_of(found, 'pooled_rmse')})",
            *_cost(found),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ranking(results: Sequence[Result]) -> str:
    lines = ["| row | HR@10 | NDCG@10 | AUC | rounds | KiB a message |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    rows = {row: found for row, found in _rows(results).items() if "hr@10" in found[0]}
    for row, found in sorted(rows.items(), key=lambda pair: -_mean(pair[1], "ndcg@10")):
        cells = [row, *(spread_of(found, name) for name in ("hr@10", "ndcg@10", "auc"))]
        lines.append(f"| {' | '.join([*cells, *_cost(found)])} |")
    return "\n".join(lines) + "\n"


def _rows(results: Sequence[Result]) -> dict[str, list[Result]]:
    rows: dict[str, list[Result]] = {}
    for result in results:
        rows.setdefault(str(result["row"]), []).append(result)
    return rows


def _cost(found: Sequence[Result]) -> tuple[str, str]:
    if "rounds" not in found[0]:
        return "-", "-"
    return str(found[0]["rounds"]), f"{_mean(found, 'message_kib'):.1f}"


def _mean(found: Sequence[Result], name: str) -> float:
    return mean(float(r[name]) for r in found)


def spread_of(found: Sequence[Result], name: str) -> str:
    """Mean and standard deviation of one value, as a cell."""
    values = [float(r[name]) for r in found]
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.3f}" + (f" ± {spread:.3f}" if spread >= 0.0005 else "")
