"""Results that benchmarks keep value by value say which runs they are of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import compact_speed, films_table, results, rival_flower, rival_table
from tests.benchmarks.results import Result, Results

ROOT = Path(__file__).resolve().parents[3]


def made(commit: str, command: str = "python -m some.thing") -> dict[str, str]:
    return {"command": command, "commit": commit, "machine": "a toaster", "versions": "Python 3"}


@pytest.fixture
def of_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Results as a run finds them that begins now, by its provenance."""

    def begun(now: dict[str, str]) -> Results:
        monkeypatch.setattr(results, "provenance", lambda: now)
        return Results(tmp_path, "some", key=("row", "seed"), table=shown)

    return begun


def shown(rows: Sequence[Result], origin: str) -> str:
    return f"# Title\n\n{origin}\n\n{len(rows)} rows\n"


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "some.json").read_text())
    return found


def test_every_run_of_which_a_result_is_left_is_named(of_run: Any, tmp_path: Path) -> None:
    first = of_run(made("aaaaaaa"))
    first.add({"row": "a", "seed": 1})
    first.add({"row": "a", "seed": 0})
    second = of_run(made("bbbbbbb", "python -m some.thing --rows b"))
    second.add({"row": "b", "seed": 2})
    assert [run["commit"] for run in kept(tmp_path)["made_by"]] == ["aaaaaaa", "bbbbbbb"]
    assert (tmp_path / "some.md").read_text() == (
        "# Title\n\n`python -m some.thing`\n\nCommit aaaaaaa; seeds 0, 1; a toaster; Python 3.\n\n"
        "`python -m some.thing --rows b`\n\nCommit bbbbbbb; seed 2; a toaster; Python 3.\n\n"
        "3 rows\n"
    )
    for seed in (0, 1):
        second.add({"row": "a", "seed": seed})
    assert "aaaaaaa" not in (tmp_path / "some.md").read_text()
    again = of_run(made("bbbbbbb", "python -m some.thing --rows b"))
    again.add({"row": "b", "seed": 2})
    assert [run["commit"] for run in kept(tmp_path)["made_by"]] == ["aaaaaaa", "bbbbbbb"]


def test_two_commands_at_one_commit_are_told_apart(of_run: Any, tmp_path: Path) -> None:
    of_run(made("aaaaaaa", "python -m some.thing --seed 0")).add({"row": "a", "seed": 0})
    of_run(made("aaaaaaa", "python -m some.thing --seed 1")).add({"row": "a", "seed": 1})
    assert (tmp_path / "some.md").read_text() == (
        "# Title\n\n`python -m some.thing --seed 0`\n\nCommit aaaaaaa; seed 0; a toaster; Python 3."
        "\n\n`python -m some.thing --seed 1`\n\nCommit aaaaaaa; seed 1; a toaster; Python 3.\n\n"
        "2 rows\n"
    )


def test_results_whose_command_was_not_kept_are_said_to_be_such(
    of_run: Any, tmp_path: Path
) -> None:
    old = {"row": "a", "seed": 0, "commit": "ccccccc"}
    (tmp_path / "some.json").write_text(json.dumps({"results": [old]}))
    of_run(made("aaaaaaa")).add({"row": "b", "seed": 0})
    page = (tmp_path / "some.md").read_text()
    assert "Further results are of ccccccc; their commands were not kept." in page
    assert kept(tmp_path)["results"][0] == old


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("films", films_table.table),
        ("rival_gossipy", rival_table.table),
        (
            "rival_flower",
            partial(rival_table.page, rival_flower._HEAD, columns=rival_flower._columns),
        ),
        ("compact_speed", compact_speed.page),
    ],
)
def test_pages_of_benchmarks_begin_with_where_they_come_from(name: str, table: Any) -> None:
    found = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())["results"]
    lines = table(found, "ORIGIN").splitlines()
    assert lines[0].startswith("# ")
    assert lines[2] == "ORIGIN"
