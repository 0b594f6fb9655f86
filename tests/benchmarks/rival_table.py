"""Tables of comparisons with other projects, in Markdown, from all results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import mean

from tests.benchmarks.films_table import spread_of
from tests.benchmarks.results import Result

Columns = Mapping[str, Callable[[Result], float]]  # means of these are shown to three digits

_HEAD = """# Beside gossipy

{origin}

MovieLens 100K, 943 peers of one user each, a random tenth of each user's ratings held back; a
random 20-regular graph, one message a peer and round to a random neighbour, one pass over the own
ratings a message (gossipy) or round (p2prec). gossipy is `gossipy-dfl` 0.0.1 from PyPI. Its merge
divides the mean of two models by two once more: *as shipped* leaves that, *corrected* does not,
and is the row to beat. RMSE is the mean over users, clipped to 1 to 5, with the pooled one in
brackets and the unclipped one beside it; mean and standard deviation over seeds. Rates were chosen
on validation, of nine pairs of rate and regularisation for p2prec, of fourteen for gossipy. Bytes
are p2prec's encoded messages, and for gossipy, which encodes nothing, four bytes a value.

Two rows of p2prec do what gossipy does and no more: learners in step, without a network
(`p2prec.training.cohort`). The row *whole simulator* has discovery, hellos, a broker, encoding and
a clock in it; there each peer learns from one neighbour that it keeps, so that there is one message
a round as well, and what others know reaches it slowly: its RMSE is not that of the other rows.

The sides take turns of five rounds in one run, one thread each; CPU time of the rounds alone;
memory is the peak of the whole process. Every value is in
[rival_gossipy.json](rival_gossipy.json).
"""


def table(results: Sequence[Result], origin: str) -> str:
    """The comparison with gossipy.

    Args:
        results: Of all rows.
        origin: Where they come from.
    """
    return page(_HEAD, results, origin)


def page(
    head: str,
    results: Sequence[Result],
    origin: str,
    columns: Callable[[Sequence[Result]], Columns] = lambda _: {},
) -> str:
    """The last round of each row, and RMSE by round.

    Args:
        head: Before the tables, with a place for ``origin``.
        results: Of all numbers of people, of factors, and folds.
        origin: Where they come from.
        columns: Further ones of the rows that one table compares.
    """
    parts = [head.format(origin=origin)]
    for (people, factors, fold), group in groupby(sorted(results, key=_kind), _kind):
        held = list(group)
        last = max(int(r["round"]) for r in held)
        ended = [r for r in held if r["round"] == last]
        seeds = ", ".join(map(str, sorted({int(r["seed"]) for r in held})))
        parts.append(f"## {-people} people, {factors} factors, {last} rounds\n")
        parts += [f"Fold: {fold}; seeds {seeds}.\n", _last(ended, columns(ended)), _course(held)]
    return "\n".join(parts)


def _kind(result: Result) -> tuple[int, int, str]:
    return -int(result["people"]), int(result["factors"]), str(result["fold"])


def _rows(results: Sequence[Result]) -> dict[str, list[Result]]:
    rows: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda r: str(r["row"])):
        rows.setdefault(str(result["row"]), []).append(result)
    return rows


def _last(results: Sequence[Result], more: Columns) -> str:
    columns = ["row", "RMSE", "unclipped", "peer-rounds a CPU second", "KiB sent a peer"]
    columns += ["peak MiB", *more]
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row, found in _rows(results).items():
        sent = mean(
            float(r["bytes"]) / float(r["messages"]) * float(r["round"]) / 1_024 for r in found
        )
        cells = [
            row,
            f"{spread_of(found, 'rmse')} ({spread_of(found, 'pooled_rmse')})",
            spread_of(found, "unclipped_rmse"),
            f"{mean(float(r['peer_rounds_per_cpu_s']) for r in found):,.0f}",
            f"{sent:,.0f}",
            f"{mean(float(r['peak_mib']) for r in found):,.0f}",
            *(f"{mean(value(r) for r in found):.3g}" for value in more.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _course(results: Sequence[Result]) -> str:
    rounds = sorted({int(r["round"]) for r in results})
    lines = [f"| RMSE after rounds | {' | '.join(map(str, rounds))} |"]
    lines.append(f"| --- |{' --- |' * len(rounds)}")
    for row, found in _rows(results).items():
        by_round = [[r for r in found if r["round"] == round_] for round_ in rounds]
        cells = [f"{mean(float(r['rmse']) for r in at):.3f}" if at else "-" for at in by_round]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
