"""The rows of the ablations: each can run, and changes what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2prec.errors import ConfigError
from peers.scenario import Scenario
from scenarios.ablations import Row, ablations

ROWS = list(ablations())


def unnamed(scenario: Scenario) -> Scenario:
    return replace(scenario, methods=(replace(scenario.methods[0], label=""),))


def test_every_row_is_held_against_an_unchanged_method_and_differs_from_it() -> None:
    by_title = {s.methods[0].title: s for _, _, s in ROWS}
    assert len(by_title) == len(ROWS)
    for row, against, scenario in ROWS:
        if row.part:
            assert unnamed(scenario) != unnamed(by_title[against])
        else:
            assert against == row.name == scenario.methods[0].title


COMMON = {"no exchange", "neighbours", "attention", "K", "messages a day"}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dclr", COMMON | {"a message"}),
        ("dclr with embeddings", {"mutual information", "a message"}),
        ("mac", COMMON | {"reference data", "models"}),
    ],
)
def test_each_method_has_its_parts(method: str, expected: set[str]) -> None:
    assert {row.part for row, against, _ in ROWS if against == method} - {""} == expected


def test_a_row_changes_only_what_it_says() -> None:
    base = next(s for row, _, s in ROWS if row.name == "dclr")
    random = next(
        s
        for row, _, s in ROWS
        if row
        == Row(
            part="neighbours", name="random", of="dclr", set={"neighbours": {"selection": "random"}}
        )
    )
    changed = replace(random, neighbours=base.neighbours)
    assert unnamed(changed) == unnamed(base)
    assert random.neighbours == replace(base.neighbours, selection="random")


def test_nonsense_in_a_row_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.toml"
    path.write_text('[[rows]]\nname = "dclr"\nof = "dclr"\nset.neighbours.kk = 2\n')
    with pytest.raises(ConfigError, match=r"row 'dclr': unknown setting 'neighbours\.kk'"):
        list(ablations(path))
