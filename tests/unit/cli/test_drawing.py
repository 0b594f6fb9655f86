"""Pictures show what can be told apart, and say what they leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from peers.drawing import draw_curves


def learned(*ndcg: float) -> dict[str, Any]:
    return {
        "bytes_per_peer": 1_024,
        "rounds": len(ndcg),
        "validation": [
            {"round": at, "seconds": at, "all": {"ndcg@10": value, "hr@10": value, "n": 9}}
            for at, value in enumerate(ndcg, 1)
        ],
    }


def test_a_method_far_below_the_others_is_named_and_does_not_press_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles, drawn = list[str](), list[float]()
    monkeypatch.setattr(Figure, "suptitle", lambda _, text, **__: titles.append(text))
    save = Figure.savefig

    def saved(figure: Figure, *args: Any, **more: Any) -> None:
        drawn.extend(y for line in figure.axes[0].lines for y in line.get_ydata())
        save(figure, *args, **more)

    monkeypatch.setattr(Figure, "savefig", saved)
    curves = {"good": learned(0.40, 0.42), "fair": learned(0.30, 0.22), "poor": learned(0.1, 0.2)}
    draw_curves(curves, tmp_path / "rounds.png")
    assert (tmp_path / "rounds.png").exists()
    assert sorted(drawn) == [0.22, 0.30, 0.40, 0.42]
    assert "not drawn: poor (at best 0.20)" in titles[0]
