"""The picture of item tables: NDCG@10 by KiB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2prec.embeddings.tables import TABLES
from p2prec.embeddings.whole_rows import KeptEntries
from peers.drawing import canvas
from scenarios.compact_rows import CURVE, FULL, NARROW, Found, kib, short

# Told apart without colours too; ten tables at most share a field.
_COLOURS: Final = (
    *("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a"),
    *("#a6761d", "#66a61e", "#17becf", "#b2182b", "#6a3d9a"),
)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_DASHES: Final = ("-", "--", "-.", ":")
_FIELDS: Final = ("rows of an item's own, in part", "shared pieces, blocks, bits")


def draw(sets: Mapping[str, Found], path: Path) -> None:
    """A line a table; a row a data set, and a column a way to save.

    Args:
        sets: By data set.
        path: Of a PNG.
    """
    tables = sorted({table for found in sets.values() for table, size in found if size})
    columns = [
        [t for t in tables if t not in CURVE and issubclass(TABLES[t], KeptEntries)],
        [t for t in tables if t not in CURVE and not issubclass(TABLES[t], KeptEntries)],
    ]
    n = len(sets)
    with canvas(path, rows=n, columns=2, width=13, height=4.6 * n, sharex=True) as axes:
        grid = np.asarray(axes).reshape(n, 2)
        for (name, found), fields in zip(sets.items(), grid, strict=True):
            for field, shown, title in zip(fields, columns, _FIELDS, strict=True):
                _lines(field, found, shown)
                field.set_xscale("log")
                field.set_title(f"{short(name)}: {title}")
                field.grid(alpha=0.3)
            fields[0].set_ylabel("NDCG@10, full catalogue")
            fields[1].sharey(fields[0])
        for field in grid[-1]:
            field.set_xlabel("KiB of the table")
        for field in grid[0]:
            field.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.5)


def _lines(field: Any, found: Found, tables: Iterable[str]) -> None:
    """Narrow as a broad line and full as a level, and others above them."""
    if (FULL, 1) in found:
        level = float(np.mean(found[FULL, 1]["ndcg@10"]))
        field.axhline(level, color="black", linestyle=(0, (1, 3)), linewidth=1.5, label="full")
        field.plot([kib(found[FULL, 1])], [level], marker="o", color="black", linestyle="")
    broad = {"color": "#b0b0b0", "linewidth": 6.0, "marker": "o", "markersize": 8, "zorder": 1}
    field.plot(*_points(found, NARROW), label=NARROW, **broad)
    for i, table in enumerate(tables):
        field.plot(
            *_points(found, table),
            label=table,
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            linestyle=_DASHES[i % len(_DASHES)],
            linewidth=1.5,
            markersize=6,
        )


def _points(found: Found, table: str) -> tuple[list[float], list[float]]:
    rows = (row for (of, _), row in found.items() if of == table)
    points = sorted((kib(row), float(np.mean(row["ndcg@10"]))) for row in rows)
    return [size for size, _ in points], [ndcg for _, ndcg in points]
