"""The page of item tables: what comes of them, every row, and what papers claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenarios.compact_claims import claimed
from scenarios.compact_picture import draw
from scenarios.compact_rows import (
    AT,
    CURVE,
    FULL,
    GOAL,
    Found,
    Interval,
    Values,
    Verdict,
    by_table,
    compact,
    kib,
    of_full,
    short,
    to_narrow,
    verdicts,
)
from scenarios.pages import made_by, rows_of

_BEST = 4  # tables of each set that are shown
_SINGLE_BYTES = 4


def write_page(known: Mapping[str, Any], folder: Path, *, about: Mapping[str, Any]) -> None:
    """``compact.md`` and ``compact.png``.

    Args:
        known: As ``compact.json`` holds it.
        folder: Of both.
        about: The arguments that the measurements were made with.
    """
    rows = known["rows"]
    names = dict.fromkeys(row["data"] for row in rows)
    sets = {name: by_table(r for r in rows if r["data"] == name) for name in names}
    draw(sets, folder / "compact.png")
    sizes = _sizes(sets, known["items"], about["size"])
    lines = ["# Compact item tables", "", _made(known), "", _ABOUT.format(**about), "", sizes, ""]
    lines += ["![Quality by bytes](compact.png)", "", *_best(sets), *_kept(sets), *_held(sets)]
    for name, found in sets.items():
        lines += _table(name, found)
    lines += claimed(sets, folder)
    missing = {f"{r['table']}-{r['compression']}: {r['why']}" for r in rows if "why" in r}
    lines += ["Not measured:", "", *(f"- {why}" for why in sorted(missing))] if missing else []
    (folder / "compact.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _made(known: Mapping[str, Any]) -> str:
    """What made most rows, and which ones another commit did."""
    made: Mapping[str, str] = known["made_by"]
    later: dict[str, dict[str, None]] = {}
    for row in known["rows"]:
        commit = row.get("commit", made["commit"])
        if commit != made["commit"]:
            size = f"-{row['compression']}" if row["compression"] > 1 else ""
            later.setdefault(commit, {})[row["table"] + size] = None
    return made_by(made) + "".join(
        f" Rows of {', '.join(tables)}: commit {commit}." for commit, tables in later.items()
    )


_ABOUT = """{users} users a seed, seeds {seeds}, of disjoint users, {rounds} rounds in step, each
peer sending to eight random others, who average; `{family}/{size}`, two epochs
a round, batches of eight, four sampled items an interaction. The same for every row; chosen with
the full table on 600 other users of MovieLens. Nothing is made up beside what is sent, nor clipped:
what protection costs would hide what a table costs. Quality over the full catalogue on the last ten
interactions of each user, each with those before it known, of the form that lies on the device:
mean and standard deviation over seeds.
*Most popular* and *item kNN* read what all users together have learned from, as no peer can; *own,
most frequent* is what needs nobody, where places are met again. *KiB* is what the embeddings take,
packed, a mean over peers at the end; popularity and bias of what a peer has heard of are not in it.
*of full* is NDCG@10 in parts of that of the full table, a mean over seeds; *to narrow* is the
difference of NDCG@10 to a full table of a smaller dimension, in half precision, the baseline
that a compact table has to beat, at as many measured KiB: on the line through the rows of
*narrow* (at 1/2 with all dimensions) and *full* of the same seed, over the logarithm of KiB, and
at its end where a table is smaller still; with its 95 % interval over seeds (Student's t).
Milliseconds are processor time of one round of training and one recommendation of the median
user, *peak KiB* the most memory that the round took beside what was there. Films nobody meets
twice: known ones do not compete."""


def _sizes(sets: Mapping[str, Found], items: Mapping[str, int], size: int) -> str:
    """What 1 / something is of."""
    whole, held = [], []
    for name, found in sets.items():
        catalogue = items[name] * size * _SINGLE_BYTES / 1024
        whole.append(f"{catalogue:.0f} KiB for the {items[name]:,} items of {short(name)}")
        if (FULL, 1) in found:
            full = kib(found[FULL, 1])
            held.append(
                f"{full:.0f} KiB on {short(name)}, of which {catalogue / AT:.1f} KiB, 1/{AT} of "
                f"the catalogue, are 1/{full / (catalogue / AT):.0f}"
            )
    return (
        f"*1 /* is of the whole catalogue in single precision, {' and '.join(whole)}: a budget "
        "that a table keeps. A peer has heard of a part of it, and the row *full* holds rows of "
        f"that part only, in single precision as well: {'; '.join(held)}. *1 / of full* is by "
        "measured KiB."
    )


def _best(sets: Mapping[str, Found]) -> Iterator[str]:
    """Who reaches the goal, and whether so few seeds say so."""
    yield from (f"## Best at 1/{AT}", "")
    ranked = {
        name: sorted(
            ((Interval.of(parts), table, parts) for table, parts in _parts(found)),
            key=lambda one: -one[0].mean,
        )
        for name, found in sets.items()
    }
    ranked = {name: ranks for name, ranks in ranked.items() if ranks}
    loss = f"at most {100 * (1 - GOAL):.0f} % loss of NDCG@10"
    yield f"The goal is {loss} to the full table at 1/{AT} by the best member, {GOAL} of full."
    for name, ranks in ranked.items():
        part, table, parts = ranks[0]
        yield f"On {short(name)} {table} keeps {_ends(part)} of it: {_says(part, len(parts))}."
    by_set = [{table: part.mean for part, table, _ in ranks} for ranks in ranked.values()]
    both = set.intersection(*(set(of) for of in by_set)) if by_set else set()
    if len(by_set) > 1 and both:
        table = max(sorted(both), key=lambda table: min(of[table] for of in by_set))
        means = " and ".join(f"{of[table]:.2f}" for of in by_set)
        reach = [t for t in sorted(both) if min(of[t] for of in by_set) >= GOAL]
        who = f"{', '.join(reach)} have such means" if reach else "No table has such a mean"
        yield f"{who} on all sets; the least loss where it is greatest has {table} ({means})."
    yield (
        "Intervals are of the mean over seeds (Student's t) of the ratio within each; the best "
        "of many are chosen by the seeds that they are shown for, which flatters them."
    )
    yield ""
    heads = ("data", "table", "KiB", "1 / of full", "of full, 95 %", "each seed", f"{GOAL} of full")
    yield from rows_of(heads)
    for name, ranks in ranked.items():
        for part, table, parts in ranks[:_BEST]:
            row = sets[name][table, AT]
            each = ", ".join(f"{value:.3f}" for value in parts)
            cells = (short(name), table, f"{kib(row):.1f}", _smaller(sets[name], row), _ends(part))
            yield from rows_of((*cells, each, _says(part, len(parts))), head=False)
    yield ""


def _parts(found: Found) -> Iterator[tuple[str, Any]]:
    for table in compact(found, AT):
        parts = of_full(found, found[table, AT])
        if len(parts):
            yield table, parts


def _says(part: Interval, n: int) -> str:
    """Of a ratio, held against the goal."""
    verdict = part.against(GOAL)
    if verdict is Verdict.OPEN:
        reached = "reached in the mean" if part.mean >= GOAL else "missed in the mean"
        return f"{reached}, not established by {n} seed{'s' if n > 1 else ''}"
    return f"{'reached' if verdict is Verdict.ABOVE else 'missed'} beyond the interval"


def _ends(part: Interval) -> str:
    low, high = part.ends
    return f"{part.mean:.2f}" + (f" [{low:.2f}, {high:.2f}]" if np.isfinite(part.half) else "")


def _kept(sets: Mapping[str, Found]) -> Iterator[str]:
    """How much of the full table's quality each keeps."""
    yield from ("## What is lost", "", f"Tables by their mean of full, those below {GOAL} last.")
    yield ""
    for name, found in sets.items():
        for (table, size), row in sorted(found.items()):
            parts = of_full(found, row)
            if not size and len(parts):
                yield f"- {short(name)}, *{table}*, without any table: {parts.mean():.3f}"
        for size in sorted({size for table, size in found if size > 1 and table not in CURVE}):
            means = {t: float(np.mean(of_full(found, found[t, size]))) for t in _of(found, size)}
            keep = sorted((t for t in means if means[t] >= GOAL), key=lambda t: -means[t])
            lose = sorted((t for t in means if means[t] < GOAL), key=lambda t: -means[t])
            texts = [", ".join(f"{t} {means[t]:.3f}" for t in part) for part in (keep, lose)]
            yield f"- {short(name)}, 1/{size}: {texts[0] or 'none'}; below: {texts[1] or 'none'}"
    yield ""


def _of(found: Found, size: int) -> list[str]:
    """Tables that can be held against the full one."""
    return [t for t in compact(found, size) if len(of_full(found, found[t, size]))]


def _held(sets: Mapping[str, Found]) -> Iterator[str]:
    """Who is above and below a narrow table of as many bytes, beyond the interval."""
    ruled = {name: verdicts(found) for name, found in sets.items()}
    n = sum(len(of) for of in ruled.values())
    if not n:
        return
    yield from ("## Against a narrow table", "")
    every = [verdict for of in ruled.values() for verdict, _ in of.values()]
    counts = {verdict: every.count(verdict) for verdict in Verdict}
    yield (
        f"At as many measured KiB, {counts[Verdict.ABOVE]} of {n} cells are above a narrow table "
        f"beyond the 95 % interval, {counts[Verdict.BELOW]} below, {counts[Verdict.OPEN]} open "
        f"(zero is within); some {0.05 * n:.0f} of {n} would be outside by chance where nothing "
        "differs."
    )
    tables = sorted({table for of in ruled.values() for table, _ in of})
    of_table = {
        table: [
            (name, size, verdict, gain)
            for name, of in ruled.items()
            for (t, size), (verdict, gain) in of.items()
            if t == table
        ]
        for table in tables
    }
    never = [t for t in tables if all(one[2] is not Verdict.BELOW for one in of_table[t])]
    always = [t for t in tables if all(one[2] is Verdict.ABOVE for one in of_table[t])]
    hardly = [t for t in tables if all(one[2] is not Verdict.ABOVE for one in of_table[t])]
    yield f"Above in each of their cells: {', '.join(always) or 'none'}."
    yield f"Nowhere below: {', '.join(never) or 'none'}."
    yield f"Nowhere above: {', '.join(hardly) or 'none'}."
    yield from ("", "Below a narrow table beyond the interval:", "")
    for table in tables:
        if table not in never:
            below = [one for one in of_table[table] if one[2] is Verdict.BELOW]
            where = (f"{short(name)} 1/{size} ({gain.signed(4)})" for name, size, _, gain in below)
            yield f"- {table}: {', '.join(where)}"
    yield ""
    sizes = sorted({size for of in ruled.values() for _, size in of})
    places = [(name, size) for name in sets for size in sizes]
    heads = [f"{short(name)}, 1/{size}" for name, size in places]
    yield from rows_of(("table", *heads, *(verdict.value for verdict in Verdict)))
    for table in tables:
        at = {(name, size): verdict for name, size, verdict, _ in of_table[table]}
        cells = [at[place].value if place in at else "-" for place in places]
        sums = [str(list(at.values()).count(verdict)) for verdict in Verdict]
        yield from rows_of((table, *cells, *sums), head=False)
    yield ""


def _table(name: str, found: Found) -> Iterator[str]:
    yield from (f"## {name}", "")
    heads = ("table", "1 /", "KiB", "1 / of full", "HR@10", "NDCG@10", "AUC", "of full")
    yield from rows_of((*heads, "to narrow", "train ms", "recommend ms", "peak KiB"))
    for (table, compression), row in sorted(found.items(), key=lambda one: (one[0][1], one[0][0])):
        gains = to_narrow(found, row) if table not in CURVE else np.empty(0)
        parts = of_full(found, row)
        sized = "table_bytes" in row  # else a baseline, which has no table
        cells = (
            table,
            str(compression) if sized else "-",
            f"{kib(row):.1f}" if sized else "-",
            _smaller(found, row) if sized else "-",
            _spread(row["hr@10"]),
            _spread(row["ndcg@10"]),
            _spread(row["auc"]),
            f"{parts.mean():.2f}" if len(parts) else "-",
            Interval.of(gains).signed() if len(gains) else "-",
            f"{np.mean(row['train_ms']):.1f}" if sized else "-",
            f"{np.mean(row['recommend_ms']):.1f}" if sized else "-",
            f"{np.mean(row['peak_kib']):,.0f}" if sized else "-",
        )
        yield from rows_of(cells, head=False)
    yield ""


def _smaller(found: Found, row: Values) -> str:
    """How many times, by measured bytes."""
    return f"{kib(found[FULL, 1]) / kib(row):.1f}" if (FULL, 1) in found else "-"


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"
