"""Pages of results: what made them, and that their cells are what the answers say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from p2prec.evaluation import frame
from p2prec.evaluation.answers import Question, answered
from p2prec.evaluation.comparison import Comparison
from peers.provenance import provenance
from scenarios import ablations
from scenarios.pages import cell, gain


@pytest.fixture
def compared() -> dict[str, object]:
    """Two seeds of ten users; a changed method is a rank worse than the unchanged one."""
    comparison = Comparison(40)
    for seed in (0, 1):
        questions, by_method = [], {"base": [], "base: part, worse": []}
        for user in range(10):
            questions.append(
                Question(user=f"{seed}-{user}", item=0, is_new=user > 6, visits=5, popularity=1)
            )
            for method, rank in (("base", 1 + (user + seed) % 4), ("base: part, worse", 6)):
                scores = np.zeros(40, np.float32)
                scores[0], scores[1:rank] = 1.0, 2.0
                own = np.array([], np.int64)
                by_method[method].append(answered(scores, 0, own=own, competitors=None))
        comparison.add(seed, questions, by_method)
    against = dict.fromkeys(("base", "base: part, worse"), "base")
    return {"made_by": provenance(), **comparison.summary(against=against)}


def test_what_made_a_result_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python", "-m", "scenarios.ablations", "--data", "/some/where/a b.csv", "--users", "3"]
    monkeypatch.setattr(sys, "orig_argv", words)
    made = provenance()
    assert made["command"] == "python -m scenarios.ablations --data 'a b.csv' --users 3"
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python", "/usr/bin/p2prec", "evaluate"])
    monkeypatch.setattr(sys, "argv", ["/usr/bin/p2prec", "evaluate", "--seeds", "2"])
    made = provenance()
    assert made["command"] == "p2prec evaluate --seeds 2"
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|p2prec .+", made["commit"])
    assert "torch" in made["versions"]


def test_cells_are_means_and_spreads_of_the_answers(compared: dict[str, object]) -> None:
    table = frame(compared)  # type: ignore[arg-type]
    rows = table[(table["method"] == "base") & ~table["new"]]
    by_seed = rows.groupby("seed")["ndcg@10"].mean()
    wanted = f"{rows['ndcg@10'].mean():.3f} ± {by_seed.std():.3f}"
    assert cell(compared, "base", "returning") == f"1.000 / {wanted}"  # type: ignore[arg-type]


def test_a_row_of_the_ablations_says_what_it_loses(compared: dict[str, object]) -> None:
    spent = {"bytes_per_peer": 2048.0, "rounds_per_peer": 4.0}
    page = ablations.page({**compared, "spent": dict.fromkeys(compared["against"], spent)})
    line = next(line for line in page.splitlines() if line.startswith("| part, worse |"))
    difference = compared["paired"]["base: part, worse"]["all"]["ndcg@10"]
    assert difference["difference"] < 0
    assert line.endswith(f"| {gain(difference)} | 4.0 | 2 |")
    assert "14 returning and 6 new" in page
    assert str(Path.cwd()) not in page
