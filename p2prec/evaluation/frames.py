"""Results of an evaluation as a data frame; needs the extra ``results``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from p2prec.errors import DataError
from p2prec.evaluation.answers import gains
from p2prec.evaluation.metrics import K

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Results = Mapping[str, Any] | str | Path
Table = Literal["next", "clicks", "ratings"]
_NO_ROWS = ("made_by", "settings")  # how it was made, not what came out
_ASKED = ("seed", "user", "new", "visits", "popularity")


@overload
def frame(results: Results, *, table: Table = ...) -> pd.DataFrame: ...
@overload
def frame(results: Results, *, table: Table = ..., library: Literal["polars"]) -> pl.DataFrame: ...
def frame(
    results: Results, *, table: Table = "next", library: Literal["pandas", "polars"] = "pandas"
) -> pd.DataFrame | pl.DataFrame:
    """Results as a table: one row for each answer of each method, where there are answers.

    Columns of answers: ``method``, ``seed``, ``user``, ``new``, ``visits``, ``popularity``,
    ``rank``, ``sampled_rank`` (0 without a sampled protocol), ``auc``, ``hr@10``, ``ndcg@10``,
    ``reciprocal_rank``. So ``frame(path).groupby("method")["ndcg@10"].mean()`` is the table. Of
    clicks also ``log_loss``; of ratings ``method``, ``seed``, ``user``, ``rating``, ``said``,
    ``error``.

    Without answers, as most files of ``docs/results`` are: a summary is one row for each method,
    part and seed; lists named ``results`` or ``rows`` are their own rows; else each of ``rows``, of
    ``methods`` or of the whole is one, ``row`` its name, with a column for each figure. The name of
    a figure within another one has both (``hr@10 difference``), and a list stays a list.

    Args:
        results: What ``--json`` or a benchmark printed, or the path of a file with it.
        table: What is next, clicks, or ratings; the last two for films.
        library: Whose frame.

    Raises:
        DataError: It holds nothing of the kind.
    """
    if isinstance(results, (str, Path)):
        found: Mapping[str, Any] = json.loads(Path(results).read_text(encoding="utf-8"))
    else:
        found = results
    if not isinstance(found, Mapping):
        raise DataError("these are no results; an object is, as p2prec evaluate --json writes it")
    if table != "next":
        found = found.get(table, {})
    if "answers" in found:
        columns = (_rated if table == "ratings" else _ranked)(found["answers"])
    elif table != "next" or not (columns := _told(found)):
        raise DataError(
            f"no answers of {table!r} in these results; p2prec evaluate --json writes them"
        )
    if library == "polars":
        import polars as pl

        return pl.DataFrame(columns, strict=False)  # 0 and 0.5 in one column
    import pandas as pd

    return pd.DataFrame(columns)


def _ranked(answers: Mapping[str, Any]) -> dict[str, Any]:
    rank = _long(answers["rank"]).astype(np.int64)
    columns = {
        **_asked(answers, _ASKED, answers["rank"]),
        "rank": rank,
        "sampled_rank": _long(answers["sampled_rank"]).astype(np.int64),
        "auc": _long(answers["auc"]),
        "hr@10": (rank <= K).astype(np.float64),
        "ndcg@10": gains(rank),
        "reciprocal_rank": 1.0 / rank,
    }
    if "log_loss" in answers:
        columns["log_loss"] = _long(answers["log_loss"])
    return columns


def _rated(answers: Mapping[str, Any]) -> dict[str, Any]:
    columns = _asked(answers, ("seed", "user", "rating"), answers["said"])
    said = _long(answers["said"])
    return {**columns, "said": said, "error": said - np.array(columns["rating"])}


def _asked(
    answers: Mapping[str, Any], names: tuple[str, ...], by_method: Mapping[str, list[Any]]
) -> dict[str, list[Any]]:
    """The questions, once for each method."""
    n = len(answers["seed"])
    return {
        "method": [method for method in by_method for _ in range(n)],
        **{name: list(answers[name]) * len(by_method) for name in names},
    }


def _long(by_method: Mapping[str, list[float]]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(values, np.float64) for values in by_method.values()])


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of results without answers; none where nothing in them is a table."""
    rows = found.get("results", found.get("rows"))
    if "methods" in found.get("spread", ()):
        rows = list(_by_seed(found["spread"]))
    elif not isinstance(rows, list):
        named = rows or found.get("methods", found)
        rows = [
            {"row": name, **dict(_figures(figures))}
            for name, figures in (named.items() if isinstance(named, Mapping) else ())
            if isinstance(figures, Mapping) and name not in _NO_ROWS and figures
        ]
    rows = [row for row in rows if isinstance(row, Mapping)]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _by_seed(spread: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A summary's figures, of each method, part and seed."""
    for method, parts in spread["methods"].items():
        for part, found in parts.items():
            metrics = {name: of["values"] for name, of in found.items() if name != "n"}
            for at, seed in enumerate(spread["seeds"]):
                values = {name: by_seed[at] for name, by_seed in metrics.items()}
                yield {"method": method, "part": part, "seed": seed, **values}


def _figures(found: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{within}{name} ")
        else:
            yield f"{within}{name}", value
