"""The command that learns the rankers' start, on a few people."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2prec.models.ranker import Layers
from p2prec.models.ranker_start import WEIGHTS
from p2prec.models.start import decoded
from scenarios import pretrain


def learned(target: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    """What stands in the file that the command has written."""
    monkeypatch.setattr(sys, "argv", ["pretrain", "--out", str(target), *options])
    pretrain.main()
    tree = ast.parse(target.read_text())
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assignments}  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "_CITIES", 2)
    monkeypatch.setattr(pretrain, "_USERS", pretrain._TOGETHER)


def test_it_writes_a_start_of_every_size_that_the_seed_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = learned(tmp_path / "one.py", monkeypatch, "--steps", "3")
    again = learned(tmp_path / "again.py", monkeypatch, "--steps", "3")
    other = learned(tmp_path / "other.py", monkeypatch, "--steps", "3", "--seed", "1")
    assert one == again != other
    assert one["WEIGHTS"].keys() == WEIGHTS.keys()
    for size, weights in one["WEIGHTS"].items():
        assert len(decoded(weights)) == sum(map(np.prod, Layers.shapes(size).values()))
        assert np.isfinite(decoded(weights)).all()


def test_learning_lowers_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrain, "_SIZES", (8,))
    learned(tmp_path / "start.py", monkeypatch, "--steps", "500")
    losses = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().err.splitlines()[:2]]
    assert losses[1] < losses[0] - 0.05
