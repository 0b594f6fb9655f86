"""The page of item tables: baselines are asked what learners are, and have rows of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.kernels import compiled, use_compiled
from peers.swarm.data import Realm
from scenarios import compact
from scenarios.in_step import ask_baseline


def history(*items: int) -> History:
    return History(
        item=np.array(items, np.int32),
        timestamp_s=np.arange(len(items), dtype=np.int64),
        rating=np.zeros(len(items), np.float32),
    )


def realm(*histories: History) -> Realm:
    catalogue: Catalogue = generate_city(
        rng=np.random.default_rng(0), n_users=2, n_places=40, days=20
    ).catalogue
    return Realm(catalogue=catalogue, histories=histories)


def test_what_is_asked_for_is_not_learned_from() -> None:
    """Nobody meets an item twice: known ones do not compete."""
    films = realm(history(0, 3, 1, 2), history(1, 4, 2, 3), history(1, 5, 2, 7))
    found = ask_baseline("popular", films, hold=2)
    assert found.user == (0, 0, 1, 1, 2, 2)
    assert all(found.new)
    assert found.gain[0] == 1.0  # two others have met it
    assert found.hit[1] == 0.0  # all meet it later


def test_known_places_compete_where_they_are_met_again() -> None:
    places = realm(history(3, 3, 3, 3), history(3, 1, 0, 3))
    found = ask_baseline("most_frequent", places, hold=1)
    assert found.new == (False, False)
    assert found.gain[0] == 1.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 24 people and what is measured of them."""
    before = compiled() is not None
    city = generate_city(rng=np.random.default_rng(1), n_users=24, n_places=120, days=60)
    monkeypatch.setattr(
        compact,
        "load_realm",
        lambda *_, **__: Realm(
            catalogue=city.catalogue,
            histories=tuple(city.interactions.history(user) for user in range(24)),
        ),
    )
    words = ["--data", "city.csv", "--out", str(tmp_path), "--users", "24", "--rounds", "2"]
    words += ["--seeds", "1", "--size", "16", "--tables", "narrow", "--compressions", "4"]
    monkeypatch.setattr(sys, "argv", ["compact", *words])
    compact.main()
    use_compiled(wanted=before)
    return tmp_path


def test_a_page_has_rows_of_the_baselines(folder: Path) -> None:
    rows = json.loads((folder / "compact.json").read_text())["rows"]
    assert [row["table"] for row in rows] == [
        "full",
        "narrow",
        "most popular",
        "item kNN",
        "own, most frequent",
    ]
    page = (folder / "compact.md").read_text()
    for row in rows:
        line = next(line for line in page.splitlines() if line.startswith(f"| {row['table']} |"))
        assert f"| {row['ndcg@10']:.3f} |" in line
    compact.main()  # nothing is missing
    assert json.loads((folder / "compact.json").read_text())["rows"] == rows


def test_a_page_without_measuring_stays_of_what_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And rows that were added later name their own commit."""
    path = folder / "compact.json"
    known = json.loads(path.read_text())
    known["made_by"]["commit"] = "older"
    path.write_text(json.dumps(known))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--page-only"])
    compact.main()
    assert json.loads(path.read_text()) == known
    page = (folder / "compact.md").read_text()
    commit = known["rows"][0]["commit"]
    assert "Commit older;" in page
    wanted = "full, narrow-4, most popular, item kNN, own, most frequent"
    assert f"Rows of {wanted}: commit {commit}." in page
    assert f"KiB for the {known['items']['city.csv']} items of city" in page
