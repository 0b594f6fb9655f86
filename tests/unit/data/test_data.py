"""Readers, splits and the synthetic city."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2prec.data.catalogue import Catalogue
from p2prec.data.check_ins import read_check_ins
from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.data.split import leave_one_out
from p2prec.errors import DataError
from p2prec.evaluation.baselines import BASELINES
from p2prec.evaluation.metrics import quality, rank_of
from p2prec.models.recommender import Context
from peers.files import read_catalogue, read_check_in_file, read_movielens_folder, write_catalogue

HEADER = "user,poi,category,lat,lon,timestamp"
GOOD = [HEADER, "a,1,Bar,40,-70,100", "a,2,,41,-71,50", 'b,1,Bar,40,-70,"7"']


def test_check_ins_are_sorted_by_user_and_time() -> None:
    data = read_check_ins(GOOD, source="x").dataset
    history = data.interactions.history(0)
    assert [data.catalogue.item_ids[i] for i in history.item] == ["2", "1"]
    assert data.catalogue.category.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,1,Bar,40,-70", "5 fields instead of 6"),
        ("a,1,Bar,x,-70,1", "lat 'x' is no number"),
        ("a,1,Bar,nan,-70,1", "not within"),
        ("a,1,Bar,91,-70,1", "not within"),
        ("a,1,Bar,40,-70,soon", "no whole number"),
        ("a,1,Bar,40,-70,-5", "out of range"),
        ("a,1,Bar,40.5,-70,1", "another position"),
        (",1,Bar,40,-70,1", "empty"),
        (f"a,1,{'x' * 2000},40,-70,1", "longer than"),
    ],
)
def test_a_bad_line_is_named_or_left_out(line: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"file.csv, line 5: .*{reason}"):
        read_check_ins([*GOOD, line], source="file.csv")
    kept = read_check_ins([*GOOD, line], source="file.csv", keep_good_lines=True)
    assert len(kept.dataset.interactions) == 3
    assert len(kept.rejected) == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    for lines, reason in (([], "empty"), ([HEADER], "holds no check-in"), (["a,b"], "header")):
        with pytest.raises(DataError, match=reason):
            read_check_ins(lines, source="x")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "x.csv.gz").write_bytes(b"no archive")
    for name in ("x.csv", "x.csv.gz", "missing.csv"):
        with pytest.raises(DataError, match=name):
            read_check_in_file(tmp_path / name)


@given(st.permutations(range(5)))
def test_the_realm_does_not_depend_on_the_order_of_items(order: list[int]) -> None:
    def build(rows: list[int]) -> Catalogue:
        return Catalogue.build(
            item_ids=[str(r) for r in rows],
            latitude_deg=[float(r) for r in rows],
            longitude_deg=[float(-r) for r in rows],
            category_names=["ab"[r % 2] for r in rows],
        )

    assert build(order).digest == build(list(range(5))).digest


def test_a_catalogue_survives_its_file(tmp_path: Path) -> None:
    catalogue = generate_city(rng=np.random.default_rng(0), n_users=3, n_places=30).catalogue
    write_catalogue(tmp_path / "c.csv", catalogue)
    assert read_catalogue(tmp_path / "c.csv").digest == catalogue.digest


@given(st.integers(0, 20))
@settings(max_examples=21)
def test_leave_one_out_loses_nothing(n: int) -> None:
    history = History(
        item=np.arange(n, dtype=np.int32),
        timestamp_s=np.arange(n, dtype=np.int64),
        rating=np.ones(n, np.float32),
    )
    split = leave_one_out(history)
    parts = [*split.train.item, *split.validation.item, *split.test.item]
    assert parts == list(range(n))
    assert len(split.test) == (n >= 3)


def test_the_city_is_like_the_real_one() -> None:
    """Statistics of Foursquare New York, with the tolerance that a smaller city needs."""
    city = generate_city(rng=np.random.default_rng(0), n_users=250, n_places=1_500)
    data = city.interactions
    histories = [data.history(u) for u in range(data.n_users)]
    lengths = np.array([len(h) for h in histories])
    distinct = np.array([len(np.unique(h.item)) for h in histories])
    assert np.median(lengths) == pytest.approx(104, rel=0.2)  # exp(4.64)
    assert np.log(lengths).std() == pytest.approx(0.66, abs=0.12)
    assert 1 - distinct.sum() / lengths.sum() == pytest.approx(0.75, abs=0.06)  # revisits
    assert np.median(distinct) == pytest.approx(31, abs=7)
    shares = [np.sort(np.bincount(h.item))[::-1] / len(h) for h in histories]
    assert np.median([s[0] for s in shares]) == pytest.approx(0.25, abs=0.07)
    assert np.median([s[:5].sum() for s in shares]) == pytest.approx(0.63, abs=0.10)
    new = np.mean([h.item[-1] not in h.item[:-1] for h in histories])
    assert 0.15 < new < 0.40  # 31 % in the real data
    users = np.bincount(np.concatenate([np.unique(h.item) for h in histories]))
    assert (users[users > 0] == 1).mean() == pytest.approx(0.33, abs=0.15)
    hour = (data.timestamp_s // 3_600) % 24
    by_hour = np.bincount(hour, minlength=24) / len(hour)
    assert by_hour.argmax() in {8, 9, 18, 19}
    assert by_hour[3:5].max() < 0.02
    jumps = []
    for h in histories:
        lat, lon = city.catalogue.latitude_deg[h.item], city.catalogue.longitude_deg[h.item]
        jumps.append(np.hypot(np.diff(lat), np.diff(lon) * 0.616) * 111.2)
    quartiles = np.percentile(np.concatenate(jumps), [25, 50, 75])
    assert quartiles[1] == pytest.approx(1.45, abs=0.8)
    assert 3.0 < quartiles[2] < 8.0


def test_metrics_agree_with_an_independent_library() -> None:
    import ir_measures

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 30)).astype(np.float32)
    targets = rng.integers(0, 30, 40)
    ranks = [rank_of(s, int(t)) for s, t in zip(scores, targets, strict=True)]
    ours = quality(ranks, [False] * 40)["all"]
    qrels = [ir_measures.Qrel(str(u), str(t), 1) for u, t in enumerate(targets)]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), float(scores[u, i]))
        for u in range(40)
        for i in range(30)
    ]
    theirs = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10, ir_measures.Success @ 10], qrels, run
    )
    assert ours["ndcg@10"] == pytest.approx(theirs[ir_measures.nDCG @ 10])
    assert ours["hr@10"] == pytest.approx(theirs[ir_measures.Success @ 10])


def test_a_constant_or_broken_recommender_does_not_look_good() -> None:
    assert rank_of(np.zeros(100, np.float32), 3) == 100
    assert rank_of(np.full(100, np.nan, np.float32), 3) == 100


@pytest.mark.realdata
def test_yardsticks_of_the_real_check_ins(real_data: Path) -> None:
    read = read_check_in_file(real_data / "foursquare_nyc-10core.csv.gz").dataset
    data = read.interactions
    assert (data.n_users, len(read.catalogue), len(data)) == (1_083, 5_120, 147_345)
    histories = [data.history(u) for u in range(data.n_users)]
    known = [h.head(-1) for h in histories]
    new = [int(h.item[-1]) not in k.item for h, k in zip(histories, known, strict=True)]
    assert np.mean(new) == pytest.approx(0.31, abs=0.01)
    for name, expected in (("most_frequent", 0.59), ("popular", 0.06)):
        model = BASELINES[name](read.catalogue, known)
        hits = [
            rank_of(model.scores(k, Context(timestamp_s=0)), int(h.item[-1])) <= 10
            for h, k in zip(histories, known, strict=True)
        ]
        assert np.mean(hits) == pytest.approx(expected, abs=0.015)


@pytest.mark.realdata
def test_movielens(real_data: Path) -> None:
    films = read_movielens_folder(real_data / "ml-100k")
    assert films.interactions.n_users == 943
    assert len(films.catalogue) == 1_682
    assert len(films.interactions) == 100_000
    assert not films.catalogue.has_positions
    assert set(np.unique(films.interactions.rating)) == {1, 2, 3, 4, 5}
