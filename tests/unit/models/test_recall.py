"""Attention over visits: features and sums against plain loops, gradients against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from steps import step_of

from p2prec.data.city import generate_city
from p2prec.data.people import Habits
from p2prec.models.geo import NEAR_KM, distance_km
from p2prec.models.moments import Timeline, category_columns
from p2prec.models.ranker import RECALLED_REASON, Ranker
from p2prec.models.ranker_recall import RECALL_HEADS, Recalled, Visits
from p2prec.models.recall import RECALLED, VISIT_FEATURES
from p2prec.models.recommender import Task
from p2prec.models.start import Scaling
from p2prec.training.config import TrainingConfig
from p2prec.training.knowledge import Knowledge, grouped

CITY = generate_city(
    rng=np.random.default_rng(8), n_users=3, n_places=60, habits=Habits(log_check_ins=5.5)
)
CATALOGUE = CITY.catalogue
HISTORY = CITY.interactions.history(0)
TIMELINE = Timeline(CATALOGUE, HISTORY)
MODEL = Ranker(CATALOGUE, 8, Task.RANKING)


def told(n: int, now_s: float, at: int) -> dict[str, float]:
    """Features of one visit, as one would write them down."""
    item, time_s = HISTORY.item, HISTORY.timestamp_s.astype(float)
    kind = category_columns(CATALOGUE)
    lat, lon = CATALOGUE.latitude_deg, CATALOGUE.longitude_deg

    def hour(visit: int, when_s: float) -> float:
        return when_s / 3_600 + float(lon[item[visit]]) / 15

    then, now = hour(at, time_s[at]), hour(n - 1, now_s)
    turn = abs((then - now + 12) % 24 - 12)
    age = max(now_s - time_s[at], 0) / 86_400
    weekday, today = (then // 24 + 3) % 7, (now // 24 + 3) % 7
    near_hour = math.exp(-0.5 * (turn / 1.5) ** 2)
    same_part = float((weekday >= 5) == (today >= 5))
    before = math.log1p((time_s[at] - time_s[at - 1]) / 3_600) if at else 0.0
    apart = abs(before - math.log1p((now_s - time_s[n - 1]) / 3_600))
    after_same = float(at > 0 and item[at - 1] == item[n - 1])
    here = (lat[item[n - 1]], lon[item[n - 1]])
    near = float(distance_km(lat[item[at]], lon[item[at]], *here))
    values = (
        turn,
        turn**2 / 10,
        math.exp(-0.5 * (turn / 0.5) ** 2),
        near_hour,
        math.log1p(age),
        math.exp(-age / 3),
        math.exp(-(((age - round(age / 7) * 7) * 8) ** 2)),
        float(weekday == today),
        same_part,
        same_part * near_hour,
        after_same,
        after_same * near_hour,
        float(at > 0 and kind[item[at - 1]] == kind[item[n - 1]]),
        float(at > 1 and after_same and item[at - 2] == item[n - 2]),
        float(item[at] == item[n - 1]),
        apart,
        math.exp(-0.5 * (apart / 0.5) ** 2),
        before,
        math.exp(-((distance_km(lat[item[at - 1]], lon[item[at - 1]], *here) / 0.4) ** 2))
        if at
        else 0.0,
        math.log(NEAR_KM + near),
        (n - at) / 20,
        float(item[at] not in item[:at]),
    )
    return dict(zip(VISIT_FEATURES, values, strict=True))


@pytest.mark.parametrize("n", [1, 2, 3, 17, 90])
def test_each_visit_is_described_as_it_was(n: int) -> None:
    assert len(HISTORY) > 90 > RECALLED
    now_s = float(HISTORY.timestamp_s[n - 1]) + 7_000.0
    moment = TIMELINE.moment(n, now_s)
    visits = range(max(0, n - RECALLED), n)
    expected = np.array([list(told(n, now_s, at).values()) for at in visits]).T
    assert moment.visits.shape == expected.shape
    assert moment.visits.astype(float) == pytest.approx(expected, rel=2e-3, abs=2e-3)
    assert np.array_equal(moment.own[moment.visited], HISTORY.item[list(visits)])


def test_many_moments_at_once_are_those_of_each_alone() -> None:
    at = np.array([3, 70, 9, 1])
    for n, together in zip(at.tolist(), TIMELINE.before_each(at), strict=True):
        alone = TIMELINE.moment(n, float(HISTORY.timestamp_s[n]))
        assert np.array_equal(together.visits, alone.visits)
        assert np.array_equal(together.visited, alone.visited)


def looked_at(n_known: int = 7) -> tuple[np.ndarray, Visits]:
    rng = np.random.default_rng(2)
    lengths = np.array([5, 1, 9])
    of = np.repeat(np.arange(3), lengths)
    heads = rng.standard_normal((len(VISIT_FEATURES), RECALL_HEADS)).astype(np.float32)
    features = rng.standard_normal((len(VISIT_FEATURES), 15)).astype(np.float32)
    place = np.array([0, 1, 1, 0, 2, 3, 4, 6, 6, 6, 4, 4, 5, 6, 4])
    assert place.max() < n_known
    return heads, Visits(features=features, starts=np.cumsum(lengths) - lengths, of=of, place=place)


def test_attention_is_summed_by_place() -> None:
    heads, visits = looked_at()
    found = Recalled.of(heads, visits, 7)
    logits = heads.T.astype(float) @ visits.features.astype(float)
    for head in range(RECALL_HEADS):
        share = np.zeros(7)
        for situation in range(3):
            some = np.flatnonzero(visits.of == situation)
            raised = np.exp(logits[head, some])
            for visit, value in zip(some, raised / raised.sum(), strict=True):
                assert found.attention[head, visit] == pytest.approx(value, rel=1e-4)
                share[visits.place[visit]] += value
            resemblance = math.log(raised.mean())
            assert found.resemblance[head, situation] == pytest.approx(resemblance, rel=1e-4)
        assert found.share[head] == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("n_known", [7, 0])
def test_the_gradient_of_heads_is_that_of_what_they_find(n_known: int) -> None:
    heads, visits = looked_at()
    if not n_known:
        visits = Visits(
            features=visits.features, starts=visits.starts, of=visits.of, place=visits.place[:0]
        )
    rng = np.random.default_rng(3)
    by_places = rng.standard_normal((RECALL_HEADS, n_known)).astype(np.float32)
    by_resemblance = rng.standard_normal((RECALL_HEADS, 3)).astype(np.float32)

    def value(heads: np.ndarray) -> float:
        found = Recalled.of(heads.astype(np.float32), visits, n_known)
        of_places = (by_places.astype(float) * found.of_places()).sum()
        return float(of_places + (by_resemblance.astype(float) * found.resemblance).sum())

    gradient = Recalled.of(heads, visits, n_known).back(by_places, by_resemblance)
    for _ in range(8):
        direction = rng.standard_normal(heads.shape)
        up, down = (value(heads + h * direction) for h in (1e-3, -1e-3))
        slope = float((gradient * direction).sum())
        assert (up - down) / 2e-3 == pytest.approx(slope, rel=0.03, abs=0.03)


def test_heads_learn_and_are_a_reason_to_return() -> None:
    peer = Knowledge(CATALOGUE, MODEL, TrainingConfig(), HISTORY.head(40))
    [group] = grouped([peer])
    gradient = MODEL.gradients(
        group.stack, step_of([peer], [np.arange(20, 40)], [None], negatives=8)
    ).dense[0]
    assert np.abs(MODEL.layout.view(gradient, "heads")).max() > 0
    moment = TIMELINE.moment(40, float(HISTORY.timestamp_s[39]) + 3_600.0)
    outlook = MODEL.observer()(peer.parameters(), moment)
    assert RECALLED_REASON in outlook.reasons(int(moment.own[0]))
    new = int(np.setdiff1d(np.arange(len(CATALOGUE)), moment.own)[0])
    assert RECALLED_REASON not in outlook.reasons(new)


def test_what_happened_in_such_situations_lifts_a_place() -> None:
    """A head that looks at the last visit alone gives all to the place where the owner is."""
    moment = TIMELINE.moment(50, float(HISTORY.timestamp_s[49]) + 3_600.0)
    heads = np.zeros((len(VISIT_FEATURES), RECALL_HEADS), np.float32)
    heads[VISIT_FEATURES.index("visits since"), 0] = -100.0
    as_is = Scaling(mean=np.zeros(1, np.float32), scale=np.ones(1, np.float32))
    visits = MODEL.reader.visits(as_is, [moment], np.zeros(1, np.int64))
    share = Recalled.of(heads, visits, len(moment.own)).share
    here = int(np.searchsorted(moment.own, HISTORY.item[49]))
    assert share[0].argmax() == here
    assert share[0, here] > 0.99
    counts = np.bincount(moment.visited, minlength=len(moment.own)) / len(moment.visited)
    assert share[1] == pytest.approx(counts, rel=1e-4)
