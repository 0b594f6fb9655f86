"""The ranker: two ways to compute a score, gradients against differences, draws against chances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from steps import step_of

from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city
from p2prec.models import neighbourhoods
from p2prec.models.explored import Explored
from p2prec.models.geo import NEAR_KM, distance_km
from p2prec.models.model import Step
from p2prec.models.moments import Timeline
from p2prec.models.neighbourhoods import Neighbourhoods
from p2prec.models.popularity import popularity
from p2prec.models.ranker import Ranker
from p2prec.models.ranker_features import echo_of
from p2prec.models.ranker_network import Layers, Start, forward
from p2prec.models.recommender import Task
from p2prec.models.stack import Stack
from p2prec.models.start import decoded, encoded
from p2prec.models.table import BIAS, OTHERS
from p2prec.training.config import TrainingConfig
from p2prec.training.knowledge import Knowledge, grouped
from scenarios import pretrain

CITY = generate_city(rng=np.random.default_rng(3), n_users=3, n_places=90, days=60)
CATALOGUE = CITY.catalogue
MODEL = Ranker(CATALOGUE, 8, Task.RANKING)
AT = np.array([9, 14, 20, 25])


def informed(user: int = 0, *, seed: int = 5) -> Knowledge:
    """A peer that has heard something about every place, and has biases."""
    rng = np.random.default_rng(seed)
    history = CITY.interactions.history(user).head(30)
    peer = Knowledge(CATALOGUE, MODEL, TrainingConfig(), history)
    slots = peer.table.touch(np.arange(len(CATALOGUE)))
    peer.table.others[slots] = rng.uniform(0.02, 0.3, len(slots))
    peer.table.values[slots, BIAS] = rng.normal(0.0, 0.3, len(slots))
    heard = rng.uniform(0.0, 1.0, MODEL.layout.view(peer.dense, "tried").shape)
    MODEL.layout.view(peer.dense, "tried")[...] = heard / heard.sum()
    return peer


def stacked(peers: list[Knowledge]) -> Stack:
    [group] = grouped(peers)
    return group.stack


def step(peer: Knowledge, *, lesson: Explored | None = None, negatives: int = 20) -> Step:
    return step_of([peer], [AT], [lesson], negatives=negatives)


def lesson_of(peer: Knowledge) -> Explored:
    rng = np.random.default_rng(1)
    # All that the owner knows today is known by now: learning and scoring leave out the same echo.
    n, last_s = len(peer.timeline), float(peer.timeline.time_s[-1])
    moments = [peer.timeline.moment(n, last_s + hours * 3_600.0) for hours in (1.0, 9.0)]
    target = rng.dirichlet(np.ones(6), 2).astype(np.float32)
    allowed = np.ones((2, 6), bool)
    allowed[1, 5] = False
    target[1, 5] = 0.0
    target[1] /= target[1].sum()
    new = [np.setdiff1d(np.arange(len(CATALOGUE)), m.own)[:6] for m in moments]
    return Explored(
        moments=moments,
        candidates=np.stack(new).astype(np.int32),
        target=target,
        allowed=allowed,
        weight=np.array([0.4, 1.5], np.float32),
    )


def chances(model: Ranker, items: np.ndarray, here: int, *, draws: int) -> np.ndarray:
    inside, (within, anywhere) = model.chance(items[None], np.array([here]), draws=draws)
    return np.where(inside, within[:, None], anywhere[:, None])[0]


def loss_at(stack: Stack, dense: np.ndarray, asked: Step) -> float:
    stack.dense[0] = dense
    return float(MODEL.gradients(stack, asked).loss.sum())


def test_the_gradient_is_that_of_the_loss() -> None:
    peer = informed()
    stack, asked = stacked([peer]), step(peer)
    start = peer.dense.astype(np.float32).copy()
    gradient = MODEL.gradients(stack, asked).dense[0]
    rng = np.random.default_rng(0)
    n_weights = MODEL.layout.size - MODEL.layout.view(start, "tried").size
    for _ in range(12):
        direction = np.zeros(len(start))
        direction[:n_weights] = rng.standard_normal(n_weights)
        direction /= np.linalg.norm(direction)
        h = 2e-3
        up = loss_at(stack, (start + h * direction).astype(np.float32), asked)
        down = loss_at(stack, (start - h * direction).astype(np.float32), asked)
        slope = float(gradient.astype(np.float64) @ direction)
        assert (up - down) / (2 * h) == pytest.approx(slope, rel=0.05, abs=0.05)
    assert not gradient[MODEL.statistics].any()


def test_a_step_against_the_gradient_of_lessons_brings_the_own_decisions_closer() -> None:
    peer = informed()
    lesson, stack = lesson_of(peer), stacked([peer])

    def distance() -> float:
        total = 0.0
        for row, moment in enumerate(lesson.moments):
            logits = MODEL.scoring(peer.parameters(), moment).logits()[lesson.candidates[row]]
            logits = np.where(lesson.allowed[row], logits, -1e9)
            logs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            total -= float(lesson.weight[row] * (lesson.target[row] * logs).sum())
        return total

    both, own = (
        MODEL.gradients(stack, step_of([peer], [AT], [part], negatives=4)).dense[0]
        for part in (lesson, None)
    )
    gradient = both - own
    before = distance()
    peer.dense = peer.dense - 2e-4 * gradient / np.linalg.norm(gradient)
    predicted = 2e-4 * float(np.linalg.norm(gradient))
    assert before - distance() == pytest.approx(predicted, rel=0.02)


def test_scoring_all_items_and_asking_about_some_are_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = informed()
    parameters, timeline = peer.parameters(), peer.timeline
    whole = len(timeline)
    # All that the owner will ever know is known by now: both leave out the same echo.
    moment = timeline.moment(whole, float(timeline.time_s[-1] + 3_600))
    logits = MODEL.scoring(parameters, moment).logits()
    new = np.setdiff1d(np.arange(len(CATALOGUE)), moment.own).astype(np.int32)
    heard = MODEL.heard(peer.dense, parameters.table, own=timeline.own, tried=timeline.tried)
    monkeypatch.setattr(timeline, "before_each", lambda _: [moment])
    here = np.array([whole])
    asked, target = MODEL.questions(heard, timeline, here, moment.own[:1], new[None])
    layers = Layers.of(MODEL.layout, peer.dense, MODEL.size)
    scores = forward(layers, asked)[-1]
    assert target.tolist() == [0]
    n_own = len(moment.own)
    assert scores[:n_own] == pytest.approx(logits[moment.own], abs=1e-3)
    expected = len(new) * chances(MODEL, new, int(moment.sequence[-1]), draws=len(new))
    # Behind the known ones stands the right answer, which does not compete as a new place here.
    assert scores[n_own] < -1e8
    assert scores[n_own + 1 :] + np.log(expected) == pytest.approx(logits[new], abs=1e-3)


@pytest.mark.parametrize("k", [64, 3, 1])
def test_items_are_drawn_with_the_chance_that_corrects_them(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhoods, "_NEAREST", 12)  # fewer than there are places
    city = generate_city(rng=np.random.default_rng(4), n_users=1, n_places=90, days=60)
    model = Ranker(city.catalogue, 8, Task.RANKING)
    timeline = Timeline(city.catalogue, city.interactions.history(0).head(30))
    n = 25_600 // k
    keys = np.arange(n, dtype=np.uint64)
    drawn = model.sample([timeline] * n, np.arange(n), np.full(n, 12), negatives=k, keys=keys)
    here = timeline.item[11:12]
    assert model.reader.neighbourhoods.around(here).shape == (1, 12)
    every = np.arange(len(city.catalogue), dtype=np.int32)
    chance = chances(model, every, int(here[0]), draws=k)
    assert chance.sum() == pytest.approx(1.0, rel=1e-5)
    counts = np.bincount(drawn.ravel(), minlength=len(every))
    expected = n * k * chance
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_an_owner_s_own_word_come_back_is_not_what_others_say() -> None:
    assert echo_of(np.array([0.3, 0.02, 0.1], np.float32)) == pytest.approx(0.02)
    assert echo_of(np.array([-0.3, 0.02], np.float32)) == 0.0
    assert echo_of(np.empty(0, np.float32)) == 0.0
    peer = informed()
    parameters = peer.parameters()
    moment = peer.timeline.moment(20, float(peer.timeline.time_s[20]))
    before = MODEL.scoring(parameters, moment).logits()
    # More of the own word about all own places, and in the habits of others.
    own = moment.own
    echoed = parameters.table.copy()
    echoed[own, OTHERS] += 0.05
    tried = MODEL.layout.view(parameters.dense, "tried")
    dense = parameters.dense.copy()
    more = np.bincount(moment.tried, minlength=tried.size).reshape(tried.shape)
    MODEL.layout.view(dense, "tried")[...] += 0.05 * more / len(moment.tried)
    after = MODEL.scoring(replace(parameters, table=echoed, dense=dense), moment).logits()
    assert np.abs(after - before).max() < 0.02


def test_what_others_say_counts_for_new_places() -> None:
    peer = informed()
    parameters = peer.parameters()
    moment = peer.timeline.moment(20, float(peer.timeline.time_s[20]))
    place = int(np.setdiff1d(np.arange(len(CATALOGUE)), moment.own)[0])
    table = parameters.table.copy()
    table[place, BIAS] += 2.0
    change = MODEL.scoring(replace(parameters, table=table), moment).logits()[place]
    assert change - MODEL.scoring(parameters, moment).logits()[place] == pytest.approx(
        2.0, abs=1e-4
    )


def test_a_world_without_positions_is_ranked_too() -> None:
    n = 40
    nowhere = Catalogue.build(
        item_ids=[str(i) for i in range(n)],
        latitude_deg=np.full(n, np.nan),
        longitude_deg=np.full(n, np.nan),
        category_names=["a"] * n,
    )
    history = CITY.interactions.history(0).head(25)
    model = Ranker(nowhere, 8, Task.RANKING)
    moved = replace(history, item=history.item % n)
    peer = Knowledge(nowhere, model, TrainingConfig(), moved)
    stack = stacked([peer])
    found = model.gradients(stack, step_of([peer], [AT[:3]], [None], negatives=8))
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.dense).all()
    moment = peer.timeline.moment(25, float(peer.timeline.time_s[24]))
    assert np.isfinite(model.scoring(peer.parameters(), moment).scores()).all()
    assert not Neighbourhoods(nowhere).size
    assert not Neighbourhoods(nowhere).thinness.any()


def test_thinness_is_how_far_the_64th_nearest_lies_against_the_median() -> None:
    lat, lon = CATALOGUE.latitude_deg.copy(), CATALOGUE.longitude_deg
    lat[[3, 70]] = np.nan
    found = Neighbourhoods(replace(CATALOGUE, latitude_deg=lat)).thinness
    placed = np.delete(np.arange(len(lat)), [3, 70])
    km = distance_km(lat[placed][:, None], lon[placed][:, None], lat[placed], lon[placed])
    expected = np.log(NEAR_KM + np.sort(km, axis=1)[:, 63])
    assert found[placed] == pytest.approx(expected - np.median(expected), abs=1e-3)
    assert found[[3, 70]].tolist() == [0.0, 0.0]
    assert found.std() > 0.3
    lat, lon = CATALOGUE.latitude_deg.copy(), CATALOGUE.longitude_deg.copy()
    lat[10:75], lon[10:75] = lat[10], lon[10]  # 65 at one position, as placeholders are
    found = Neighbourhoods(replace(CATALOGUE, latitude_deg=lat, longitude_deg=lon)).thinness
    km = distance_km(lat[:, None], lon[:, None], lat, lon)
    expected = np.log(NEAR_KM + np.sort(km, axis=1)[:, 63])
    assert found == pytest.approx(expected - np.median(expected), abs=1e-3)
    lat[5:] = np.nan  # fewer than are looked for: the farthest counts
    assert Neighbourhoods(replace(CATALOGUE, latitude_deg=lat)).thinness[[0, 1, 2, 4]].any()


def test_distances_are_those_on_the_globe() -> None:
    lat, lon = CATALOGUE.latitude_deg, CATALOGUE.longitude_deg
    some, others = np.arange(20, dtype=np.int32), np.arange(10, 70, dtype=np.int32)
    share = np.full(len(others), 1 / len(others), np.float32)
    share[-5:] = 0.0  # these only pad
    newest, nearest, around = Neighbourhoods(CATALOGUE).lie(
        others[None], share[None], some[None], least_km2=0.25
    )[:, 0]
    km = distance_km(lat[some][:, None], lon[some][:, None], lat[others], lon[others])
    assert np.sqrt(newest) == pytest.approx(km[:, 0], rel=2e-3, abs=1e-5)
    assert np.sqrt(nearest) == pytest.approx(km.min(1), rel=2e-3, abs=1e-5)
    assert around == pytest.approx((share / (km**2 + 0.25)).sum(1), rel=1e-2)
    here = np.array([7, 3, 7])
    for item, around in zip(here, Neighbourhoods(CATALOGUE).around(here), strict=True):
        far = np.setdiff1d(np.arange(len(CATALOGUE)), around)
        km = distance_km(lat, lon, lat[item], lon[item])
        assert item in around
        assert (np.diff(around) > 0).all()
        assert km[around].max() <= km[far].min(initial=np.inf) + 1e-3


def test_reasons_are_named_and_finite() -> None:
    peer = informed()
    parameters = peer.parameters()
    moment = peer.timeline.moment(20, float(peer.timeline.time_s[20]))
    outlook = MODEL.observer()(parameters, moment)
    own = outlook.reasons(int(moment.own[0]))
    new = outlook.reasons(int(np.setdiff1d(np.arange(len(CATALOGUE)), moment.own)[0]))
    assert {"visits", "near"} <= own.keys()
    assert "others go there" in new
    assert "visits" not in new
    assert np.isfinite(list(own.values()) + list(new.values())).all()


def test_weights_survive_being_written() -> None:
    values = np.random.default_rng(0).standard_normal(300).astype(np.float16)
    assert np.array_equal(decoded("".join(encoded(values.astype(np.float32)))), values)
    for size in Ranker.sizes:
        start = Start.of_size(size)
        model = Ranker(CATALOGUE, size, Task.RANKING)
        assert (
            len(start.weights)
            == model.n_dense - model.layout.view(model.initial_dense(), "tried").size
        )
        assert start.weights.std() > 0.05


def test_nobody_makes_a_place_look_more_popular_than_if_all_went_there() -> None:
    everybody = popularity(np.array([0.4], np.float32), 0.4)
    said = np.array([0.4, 1.0], np.float32)  # of the statistics nothing was heard
    assert popularity(said, 0.0) == pytest.approx(np.repeat(everybody, 2))
    assert everybody[0] < 4.0


def test_who_learns_the_start_has_heard_how_many_go_to_each_place() -> None:
    histories = [CITY.interactions.history(user) for user in range(3)]
    peers = pretrain.informed(MODEL, histories)
    goes = [np.isin(np.arange(len(CATALOGUE)), history.item) for history in histories]
    for peer in peers:
        assert peer.parameters().table[:, OTHERS] == pytest.approx(np.mean(goes, axis=0))
