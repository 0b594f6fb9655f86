"""Every kind of file in ``docs/results`` is a data frame by one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from p2prec.errors import DataError
from p2prec.evaluation import frame

FILES = sorted((Path(__file__).resolve().parents[3] / "docs" / "results").glob("*.json"))


def metric(*values: float) -> dict[str, Any]:
    return {"mean": sum(values) / len(values), "sd": 0.1, "values": list(values)}


SUMMARY = {
    "methods": {"alone": {"all": {"hr@10": 0.1, "n": 10}}},
    "spread": {
        "seeds": [3, 4],
        "methods": {"alone": {"all": {"n": 20, "hr@10": metric(0.1, 0.3)}}},
    },
}
VALUES = {"results": [{"row": "a", "rmse": 1}, {"row": "b", "rmse": 0.5, "rounds": 30}]}
NAMED = {
    "made_by": {"commit": "aaaaaaa"},
    "rows": {"a": {"hr@10": 0.1}, "b": {"hr@10": 0.2, "difference": 0.1}},
}
NESTED = {
    "made_by": {"commit": "aaaaaaa"},
    "methods": {"dclr": {"hr@10": {"swarm": [0.1, 0.2], "within": True}, "rounds": 4}},
}
WHOLE = {"films": {"settings": {"seed": 0}, "sessions": 9}, "commit": "aaaaaaa"}


def both(found: dict[str, Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows, alike in both libraries."""
    polars, pandas = frame(found, library="polars"), frame(found)
    assert isinstance(polars, pl.DataFrame)
    assert isinstance(pandas, pd.DataFrame)
    assert list(pandas.columns) == polars.columns
    told = [
        tuple(None if value != value else value for value in row)  # noqa: PLR0124 - NaN is missing
        for row in pandas.itertuples(index=False)
    ]
    assert told == polars.rows()
    return polars.columns, polars.rows()


@pytest.mark.parametrize(
    ("found", "columns", "rows"),
    [
        (
            SUMMARY,
            ["method", "part", "seed", "hr@10"],
            [("alone", "all", 3, 0.1), ("alone", "all", 4, 0.3)],
        ),
        (VALUES, ["row", "rmse", "rounds"], [("a", 1.0, None), ("b", 0.5, 30)]),
        ({"rows": VALUES["results"]}, ["row", "rmse", "rounds"], [("a", 1, None), ("b", 0.5, 30)]),
        (NAMED, ["row", "hr@10", "difference"], [("a", 0.1, None), ("b", 0.2, 0.1)]),
        (
            NESTED,
            ["row", "hr@10 swarm", "hr@10 within", "rounds"],
            [("dclr", [0.1, 0.2], True, 4)],
        ),
        (WHOLE, ["row", "settings seed", "sessions"], [("films", 0, 9)]),
    ],
)
def test_results_without_answers_are_rows_of_figures(
    found: dict[str, Any], columns: list[str], rows: list[tuple[Any, ...]]
) -> None:
    assert both(found) == (columns, rows)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_of_results_is_a_frame_in_both_libraries(path: Path) -> None:
    pandas, polars = frame(path), frame(path, library="polars")
    assert pandas.shape == polars.shape
    assert len(pandas) > 1
    assert "made_by" not in set(pandas.iloc[:, 0])


def test_what_holds_no_table_is_refused() -> None:
    for found in ({}, {"made_by": {"commit": "aaaaaaa"}, "settings": {"seed": 0}, "seconds": 1}):
        with pytest.raises(DataError, match="no answers of 'next'"):
            frame(found)
    with pytest.raises(DataError, match="no answers of 'clicks'"):
        frame(SUMMARY, table="clicks")


@pytest.mark.parametrize(
    "results", [[], {"methods": ["a"]}, {"rows": [1, 2]}, {"spread": {}}, {"results": {}}, {}]
)
def test_what_is_no_table_is_refused(results: Any) -> None:
    with pytest.raises(DataError):
        frame(results)
