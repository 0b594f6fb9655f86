"""The sampled protocol, and the figures that come of answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city
from p2prec.errors import DataError
from p2prec.evaluation import frame
from p2prec.evaluation.answers import Question, answered, figures
from p2prec.evaluation.comparison import Comparison
from p2prec.evaluation.protocol import PROTOCOLS, Competitors, Protocol, regions
from p2prec.models.geo import distance_km

CITY = generate_city(rng=np.random.default_rng(2), n_users=20, n_places=400, days=30).catalogue


def blobs(*sizes: int) -> Catalogue:
    """Clusters of places, 50 km from each other."""
    rng = np.random.default_rng(0)
    lat = np.concatenate([52.0 + rng.normal(0, 0.01, n) for n in sizes])
    lon = np.concatenate([5.0 + 0.7 * i + rng.normal(0, 0.01, n) for i, n in enumerate(sizes)])
    return Catalogue.build(
        item_ids=[f"{i:04}" for i in range(sum(sizes))],
        latitude_deg=lat,
        longitude_deg=lon,
        category_names=[""] * sum(sizes),
    )


def test_regions_are_the_clusters() -> None:
    sizes = (30, 20, 25)
    found = regions(blobs(*sizes), 3)
    for start, n in zip((0, 30, 50), sizes, strict=True):
        assert len(set(found[start : start + n].tolist())) == 1
    assert set(found.tolist()) == {0, 1, 2}
    assert np.array_equal(found, regions(blobs(*sizes), 3))


def test_competitors_are_the_nearest_unknown_places_of_the_region() -> None:
    chosen = Competitors(Protocol(negatives=20, regions=5), CITY)
    item = 17
    own = np.array([3, 17, 40, 80])
    rows = chosen.of(item, own)
    assert len(rows) == 20
    assert not set(rows.tolist()) & {3, 17, 40, 80}
    assert (chosen.region[rows] == chosen.region[item]).all()
    lat, lon = CITY.latitude_deg, CITY.longitude_deg
    km = distance_km(lat, lon, lat[item : item + 1], lon[item : item + 1])
    left = np.flatnonzero(chosen.region == chosen.region[item])
    left = np.setdiff1d(left, [*rows, *own])
    assert km[rows].max() <= km[left].min()


def test_a_known_place_competes_with_strangers_only() -> None:
    """So that returns are trivial there, and the two protocols must not share a table."""
    competitors = Competitors(PROTOCOLS["nearest_200"], CITY)
    own = np.arange(20)
    scores = np.zeros(len(CITY), np.float32)
    scores[own] = 1.0 + np.arange(20)
    answer = answered(scores, 0, own=own, competitors=competitors)
    assert answer.rank == 20
    assert answer.sampled_rank == 1
    assert answer.shown == tuple(range(19, 9, -1))
    assert answered(scores, 0, own=own, competitors=None).sampled_rank == 0


def question(user: int, *, new: bool) -> Question:
    return Question(user=str(user), item=0, is_new=new, visits=10 * user + 5, popularity=user)


def scored(rank: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Item 0 at this rank of 50."""
    scores = np.full(50, -1.0, np.float32)
    scores[0] = 0.0
    scores[1:rank] = 1.0
    return scores


def test_figures_by_part_and_by_thirds() -> None:
    questions = [question(u, new=u >= 6) for u in range(9)]
    ranks = [1, 1, 2, 20, 20, 20, 5, 40, 40]
    answers = [answered(scored(r), 0, own=np.array([3]), competitors=None) for r in ranks]
    found = figures(questions, answers, n_items=50)
    assert [found[p]["n"] for p in ("all", "returning", "new")] == [9, 6, 3]
    assert found["all"]["hr@10"] == pytest.approx(4 / 9)
    assert found["new"]["hr@10"] == pytest.approx(1 / 3)
    assert found["all"]["mrr"] == pytest.approx(np.mean([1 / r for r in ranks]))
    low, high = found["all"]["hr@10_interval"]
    assert low < 4 / 9 < high
    assert [found["by_activity"][t]["n"] for t in ("few", "some", "many")] == [3, 3, 3]
    assert found["by_activity"]["few"]["hr@10"] == 1.0
    assert found["by_activity"]["some"]["hr@10"] == 0.0
    assert found["by_popularity"]["few"]["most"] == 2
    assert "nearest_200" not in found
    assert 0 < found["coverage@10"] <= 1
    assert 0 <= found["gini@10"] < 1


def compared() -> Comparison:
    comparison = Comparison(50)
    for seed in (0, 1):
        questions = [question(u, new=u % 2 == 0) for u in range(6)]
        good = [
            answered(scored(1 + u % 2), 0, own=np.array([3]), competitors=None) for u in range(6)
        ]
        bad = [answered(scored(9 + u), 0, own=np.array([3]), competitors=None) for u in range(6)]
        comparison.add(seed, questions, {"alone": bad, "dclr": good})
    return comparison


def test_a_comparison_holds_methods_against_alone() -> None:
    found = compared().summary()
    assert found["against"] == "alone"
    assert set(found["paired"]) == {"dclr"}
    gain = found["paired"]["dclr"]["all"]["ndcg@10"]
    assert gain["difference"] > 0.3
    assert gain["better"] == 6  # users, not answers
    assert gain["p_t"] < 0.05


def test_each_method_may_be_held_against_another_one() -> None:
    found = compared().summary(against={"alone": "dclr", "dclr": "dclr"})
    assert set(found["paired"]) == {"alone"}
    assert found["paired"]["alone"]["all"]["ndcg@10"]["worse"] == 6


def test_results_are_a_data_frame_by_one_call(tmp_path: Path) -> None:
    found = compared().summary()
    table = frame(found)
    assert len(table) == 2 * 2 * 6
    means = table.groupby("method")["ndcg@10"].mean()
    assert means["dclr"] == pytest.approx(found["figures"]["dclr"]["all"]["ndcg@10"])
    path = tmp_path / "results.json"
    path.write_text(json.dumps(found))
    assert frame(path).equals(table)
    with pytest.raises(DataError, match="no answers"):
        frame({"methods": {}})
    with pytest.raises(DataError, match="no answers of 'ratings'"):
        frame(found, table="ratings")


def test_polars_reads_the_same_answers() -> None:
    found = compared().summary()
    table = frame(found, library="polars")
    assert isinstance(table, pl.DataFrame)
    assert table.columns == list(frame(found).columns)
    assert table.rows() == [tuple(row) for row in frame(found).itertuples(index=False)]


def test_items_that_do_not_compete_are_no_pairs_of_the_auc() -> None:
    scores = np.array([0.5, 1.0, 0.0, -np.inf, -np.inf, -np.inf], np.float32)
    assert answered(scores, 0, own=np.array([3, 4, 5]), competitors=None).auc == 0.5


def test_log_loss_is_that_of_one_click_and_four_others() -> None:
    scores = np.array([0.3, -1.0, 2.0, -np.inf], np.float32)
    answer = answered(scores, 0, own=np.array([3]), competitors=None)
    p = 1 / (1 + np.exp(-scores.astype(np.float64)))
    others = -np.log(1 - p[1:3]).mean()
    assert answer.log_loss == pytest.approx((-np.log(p[0]) + 4 * others) / 5)
    assert answer.said == pytest.approx(0.3)
