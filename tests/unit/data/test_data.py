"""Readers, splits and the synthetic city."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2prec.data.catalogue import Catalogue
from p2prec.data.check_ins import read_check_ins
from p2prec.data.city import generate_city, generate_towns
from p2prec.data.interactions import History
from p2prec.data.split import leave_one_out
from p2prec.errors import BadLineError, DataError
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


LINES = [HEADER, *(f"a,{i % 9},Bar,40,-70,{1_700_000_000 + 60 * i}" for i in range(2_000))]


def half_written(tmp_path: Path, name: str) -> Path:
    """The first half of what a writer wanted to write."""
    text = "\n".join(LINES).encode()
    data = gzip.compress(text, mtime=0) if name.endswith("gz") else text
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    return path


def test_a_check_in_that_is_there_twice_has_happened_once() -> None:
    """A peer's store keeps it once, and whoever simulates a peer has to see the same history."""
    lines = [HEADER, *("a,1,Bar,40,-70,100" for _ in range(3)), "a,1,Bar,40,-70,101"]
    lines += ["a,2,Bar,41,-70,100", "b,1,Bar,40,-70,100"]
    found = read_check_ins(lines, source="x").dataset.interactions
    told = zip(found.user.tolist(), found.timestamp_s.tolist(), found.item.tolist(), strict=True)
    assert list(told) == [(0, 100, 0), (0, 100, 1), (0, 101, 0), (1, 100, 0)]
    assert len(found.rating) == 4
    rng = np.random.default_rng(11)
    of_city = generate_city(rng=rng, n_users=200, n_places=900).interactions
    events = np.stack([of_city.user, of_city.timestamp_s, of_city.item])
    assert len(np.unique(events, axis=1).T) == len(of_city) == len(of_city.rating)


@pytest.mark.parametrize("name", ["half.csv", "half.csv.gz"])
def test_a_half_written_file_is_refused_by_line_and_reason(name: str, tmp_path: Path) -> None:
    path = half_written(tmp_path, name)
    with pytest.raises(BadLineError, match=rf"{name}, line \d+: .*\.$") as caught:
        read_check_in_file(path)
    kept = read_check_in_file(path, keep_good_lines=True)
    [sentence] = kept.rejected
    line = int(re.findall(r"line (\d+):", sentence)[0])
    assert f"line {line}:" in str(caught.value)
    assert len(kept.dataset.interactions) == line - 2  # the header, and all good lines before it


def test_every_cut_of_a_file_is_noticed_or_ends_a_line(tmp_path: Path) -> None:
    text = "\n".join(LINES[:4]).encode()
    path = tmp_path / "cut.csv"
    for length in range(len(text)):
        path.write_bytes(text[:length])
        at_an_end = text[length - 1 : length + 1].count(b"\n")
        if length > len(HEADER) + len(LINES[1]) + 1 and not at_an_end:
            with pytest.raises(DataError, match=r"cut.csv, line \d"):
                read_check_in_file(path)


def test_an_archive_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress("\n".join(LINES).encode(), mtime=0))
    path = tmp_path / "bad.csv.gz"
    for place in range(20, len(data), len(data) // 25):
        flipped = bytes(data[:place]) + bytes([data[place] ^ 0x55]) + bytes(data[place + 1 :])
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"bad.csv.gz"):
            read_check_in_file(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a,1,\xff\xfe,40,-70,1700000000", "no UTF-8 text"),
        (b"a,1,\x1b[31mred,40,-70,1700000000", "control characters"),
        (b"a,1,\x00,40,-70,1700000000", "control characters"),
        (b'a,1,"Bar,40,-70,1700000000', "no CSV"),
        (b'a,1,"B"ar,40,-70,1700000000', "no CSV"),
    ],
)
def test_the_number_of_a_line_that_is_no_text_is_exact(
    line: bytes, reason: str, tmp_path: Path
) -> None:
    """Also far into a file, where decoding by blocks would name another line."""
    lines = [text.encode() for text in LINES]
    lines[1_500] = line
    path = tmp_path / "x.csv"
    path.write_bytes(b"\r\n".join(lines) + b"\r\n")
    with pytest.raises(DataError, match=rf"x.csv, line 1501: .*{reason}") as caught:
        read_check_in_file(path)
    assert str(caught.value).isprintable()
    kept = read_check_in_file(path, keep_good_lines=True)
    assert len(kept.dataset.interactions) == len(LINES) - 2
    assert len(kept.rejected) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a,b\n", "line 1: the header"),
        (b"", "holds no item"),
        (b"poi,category,lat,lon\n1,Bar,40,-70\n2,Bar,x,1\n", "line 3: lat 'x' or lon '1'"),
        (b"poi,category,lat,lon\n1,Bar,40\n", "line 2: 3 fields instead of 4"),
        (b"poi,category,lat,lon\n\xff,Bar,40,1\n", "line 2: it is no UTF-8"),
        (b"poi,category,lat,lon\n1,Bar,4,1\n1,Bar,4,1\n", "occurs twice"),
    ],
)
def test_a_catalogue_that_is_none(text: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(text)
    with pytest.raises(DataError, match=reason):
        read_catalogue(tmp_path / "c.csv")


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


def test_people_stay_in_their_town_whose_life_does_not_depend_on_the_others() -> None:
    few = generate_towns(seed=3, n_users=20, n_places=60, people_per_town=10, days=40)
    many = generate_towns(seed=3, n_users=45, n_places=135, people_per_town=10, days=40)
    assert many.interactions.n_users == 45
    assert len(many.catalogue) == 135
    centres = []
    for first in range(0, 45, 10):
        people = range(first, min(first + 10, 45))
        met = np.concatenate([many.interactions.history(user).item for user in people])
        lat, lon = many.catalogue.latitude_deg[met], many.catalogue.longitude_deg[met]
        centres.append((np.median(lat), np.median(lon)))
        assert np.hypot((lat - centres[-1][0]) * 111, (lon - centres[-1][1]) * 68).max() < 60
    apart = [np.hypot(*np.subtract(a, b)) for a in centres for b in centres if a is not b]
    assert min(apart) > 0.3  # degrees
    for user in range(20):
        some, other = few.interactions.history(user), many.interactions.history(user)
        assert some.timestamp_s.tolist() == other.timestamp_s.tolist()


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
    assert np.isnan(films.catalogue.latitude_deg).all()
    assert set(np.unique(films.interactions.rating)) == {1, 2, 3, 4, 5}
