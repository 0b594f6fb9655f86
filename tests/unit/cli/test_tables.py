"""Tables of methods: what is not known is not shown as nothing."""

from __future__ import annotations

from typing import Any

import pytest

from peers.cli.tables import print_table


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
