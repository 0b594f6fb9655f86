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


def row(n: int, n_new: int, rate: float) -> dict[str, Any]:
    parts = {"all": n, "returning": n - n_new, "new": n_new}
    quality = {name: {"hr@10": rate, "ndcg@10": rate / 2, "n": k} for name, k in parts.items()}
    return {**quality, "bytes_per_peer": 2_048}


def test_who_gave_no_answer_has_no_quality(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        {
            "scenario": "s",
            "peers": 9,
            "methods": {"alone": row(4, 1, 0.5), "dclr": row(9, 2, 0.75), "mac": row(0, 0, 0.0)},
            "discovered_by": {"mdns": 1, "mqtt": 2},
            "uss_mib": {"p50": 1.0, "max": 2.0},
            "seconds_to_ready": 1.0,
            "seconds": 2.0,
            "lost": 14,
            "messages": {"tcp": 1, "mqtt": 2},
            "spread": {"seeds": [0], "methods": {}},
        }
    )
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "n=9" in "".join(lines.values())
    assert "(n=4)" in lines["alone"]
    assert "0.500 0.250" in lines["alone"]
    assert "n=" not in lines["dclr"]
    assert "(n=0)" in lines["mac"]
    assert "0.000" not in lines["mac"]
