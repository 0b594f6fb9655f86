"""Pieces of the pages in ``docs/results`` that commands write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from p2prec.evaluation import frame

_METRICS = ("hr@10", "ndcg@10")


def made_by(made: Mapping[str, str], *, seeds: Iterable[int] = ()) -> str:
    """The command, and where it ran.

    Args:
        made: As ``peers.provenance`` gives it; of older results machine and versions may be
            unknown.
        seeds: Of it, where nothing else on the page says them.
    """
    facts = [f"Commit {made['commit']}"]
    if said := ", ".join(map(str, seeds)):
        facts.append(f"seed{'s' if ',' in said else ''} {said}")
    facts += [made[name] for name in ("machine", "versions") if name in made]
    return f"`{made['command']}`\n\n{'; '.join(facts)}."


def rows_of(cells: Sequence[str], *, head: bool = True) -> list[str]:
    """A row of a table, with the line below it where it is the head."""
    rows = [f"| {' | '.join(cells)} |"]
    if head:
        rows.append(f"|{' --- |' * len(cells)}")
    return rows


def cell(result: Mapping[str, Any], method: str, part: str) -> str:
    """``HR@10 / NDCG@10`` of a method in one part, with the standard deviation over seeds.

    Args:
        result: With ``answers``, as of a comparison.
        method: One of it.
        part: ``"all"``, ``"returning"`` or ``"new"``.
    """
    table = frame(result)
    table = table[table["method"] == method]
    if part != "all":
        table = table[table["new"] == (part == "new")]
    by_seed = table.groupby("seed")[list(_METRICS)].mean()
    texts = []
    for metric in _METRICS:
        values = by_seed[metric].to_numpy()
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        mean = float(table[metric].mean()) if len(table) else 0.0
        texts.append(f"{mean:.3f}" + (f" ± {spread:.3f}" if spread >= 0.0005 else ""))
    return " / ".join(texts)


def gain(found: Mapping[str, float]) -> str:
    """A difference with its interval; a star where a paired test calls it one."""
    ends = f"[{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['difference']:+.3f} {ends}{' *' if found['p_t'] < 0.05 else ''}"
