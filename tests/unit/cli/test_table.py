"""The table of a swarm on narrow and wide terminals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peers.cli.tables import print_table

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
SUMMARY: dict[str, Any] = json.loads((RESULTS / "foursquare_nyc_200.json").read_text())


@pytest.mark.parametrize("columns", [80, 120])
def test_every_method_and_seed_spread_has_one_line(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(SUMMARY)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    for name, row in SUMMARY["methods"].items():
        [quality, spread] = [line.split() for line in lines if line.split()[:1] == [name]]
        parts = ("all", "returning", "new")
        shown = [f"{row[p][metric]:.3f}" for p in parts for metric in ("hr@10", "ndcg@10")]
        assert quality[1:7] == shown
        assert spread[1::3] == [
            f"{SUMMARY['spread']['methods'][name][p]['hr@10']['mean']:.3f}" for p in parts
        ]
