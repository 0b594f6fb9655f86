"""Matrix factorisation against its twins, and what it promises to the rest."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import mf_twins
import numpy as np
import pytest
import torch
from steps import step_of

from p2prec.collaboration.methods import METHODS
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import ConfigError, StoreError
from p2prec.models.biased import FOLD, LISTENED, WEIGHT
from p2prec.models.explored import Explored
from p2prec.models.families import FAMILIES, build_model, exchanged_models, parse_model
from p2prec.models.recommender import Context, Task
from p2prec.models.table import BIAS, OTHERS
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    TrainingConfig,
)
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge, grouped
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner

N_ITEMS = 40
CATALOGUE = Catalogue.build(
    item_ids=[str(i) for i in range(N_ITEMS)],
    latitude_deg=[float("nan")] * N_ITEMS,
    longitude_deg=[float("nan")] * N_ITEMS,
    category_names=[["Comedy", "Drama"][i % 2] for i in range(N_ITEMS)],
)
NOW = Context(timestamp_s=2_000_000_000)


def history(user: int, n: int = 25) -> History:
    rng = np.random.default_rng([7, user])
    return History(
        item=rng.permutation(N_ITEMS)[:n].astype(np.int32),
        timestamp_s=np.arange(n, dtype=np.int64) * 3_600,
        rating=rng.integers(1, 6, n).astype(np.float32),
    )


def knowledge(
    user: int, task: Task, *, n: int = 25, row_optimizer: Literal["adagrad", "sgd"] = "adagrad"
) -> Knowledge:
    model = build_model(CATALOGUE, family="mf", embedding_size=4, task=task)
    config = TrainingConfig(batch_size=8, negatives=5, reg=0.05, row_optimizer=row_optimizer)
    return Knowledge(CATALOGUE, model, config, history(user, n))


def stirred(user: int, task: Task) -> Knowledge:
    """A peer that knows something everywhere."""
    peer, rng = knowledge(user, task), np.random.default_rng([3, user])
    slots = peer.table.touch(np.arange(N_ITEMS))
    peer.table.values[slots] += rng.normal(0, 0.3, (N_ITEMS, peer.model.width)).astype(np.float32)
    peer.table.others[slots] = rng.random(N_ITEMS).astype(np.float32) / 2
    peer.private = rng.normal(0, 0.5, peer.model.n_private).astype(np.float32)
    peer.dense[LISTENED] = 0.7
    return peer


def lesson(peer: Knowledge) -> Explored:
    rng = np.random.default_rng(len(peer.timeline))
    target = rng.dirichlet(np.ones(6), 3).astype(np.float32)
    allowed = np.ones((3, 9), bool)
    allowed[1, 7:] = False
    return Explored(
        moments=[peer.timeline.before(i) for i in (2, 5, 11)],
        candidates=np.stack([rng.permutation(N_ITEMS)[:9] for _ in range(3)]).astype(np.int32),
        target=np.pad(target, ((0, 0), (0, 3))),
        allowed=allowed,
        weight=np.array([0.5, 1.0, 0.3], np.float32),
    )


def learner(
    user: int,
    method: str,
    *,
    family: str = "mf",
    size: int = 8,
    task: Task = Task.RANKING,
    **options: float,
) -> LocalLearner:
    table, family = METHODS[method].table, METHODS[method].family or family
    model = ModelConfig(family=family, embedding_size=size, task=task)
    if table is not None:
        model = dataclasses.replace(model, table=table, compression=2)
    config = LearnerConfig(
        model=model,
        training=TrainingConfig(epochs=1, negatives=8),
        collaboration=CollaborationConfig(method=method, options=dict(options)),
    )
    return LocalLearner(CATALOGUE, config, history=history(user), seed=user, device_seed=user + 9)


def received(sender: str, payloads: object) -> list[Received]:
    return [
        Received(sender=sender, payload=p, geographic=0.5, semantic=0.5, staleness_rounds=0)
        for p in payloads  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("taught", [False, True])
def test_gradients_equal_those_of_autograd(task: Task, *, taught: bool) -> None:
    peers = [stirred(user, task) for user in range(3)]
    rng = np.random.default_rng(5)
    chosen = [rng.permutation(len(peer.timeline))[:8] for peer in peers]
    lessons = [lesson(peer) if taught else None for peer in peers]
    step = step_of(peers, chosen, lessons, negatives=5)
    [group] = grouped(peers)
    found = group.model.gradients(group.stack, step)
    for number, peer in enumerate(peers):
        leaves = [
            torch.from_numpy(values.copy()).requires_grad_()
            for values in (peer.table.dense(), peer.dense, peer.private)
        ]
        sampled = step.sampled[step.owner == number]
        settings = {"task": task, "peer": peer, "at": chosen[number], "sampled": sampled}
        own = mf_twins.total_loss(*leaves, **settings, lesson=None)
        assert found.loss[number] == pytest.approx(float(own.detach()), rel=1e-5)
        loss = mf_twins.total_loss(*leaves, **settings, lesson=lessons[number])
        by_table, by_dense, by_private = torch.autograd.grad(loss, leaves)
        table = np.zeros_like(peer.table.dense())
        for part in found.rows:
            mine = part.keys // N_ITEMS == number
            table[part.keys[mine] - number * N_ITEMS] += part.gradient[mine]
        by_table[:, OTHERS] = 0.0  # a statistic
        assert np.allclose(table, by_table.numpy(), atol=1e-5)
        assert np.allclose(found.private[number], by_private.numpy(), atol=1e-5)
        trained = peer.model.dense_rates(explore_rate=1.0) > 0
        assert np.allclose(found.dense[number][trained], by_dense.numpy()[trained], atol=1e-5)


@pytest.mark.parametrize("row_optimizer", ["adagrad", "sgd"])
@pytest.mark.parametrize("task", list(Task))
def test_training_goes_where_a_brute_force_twin_goes(
    task: Task, row_optimizer: Literal["adagrad", "sgd"]
) -> None:
    peer = knowledge(0, task, row_optimizer=row_optimizer)
    twin = mf_twins.ExampleByExample(peer, task)
    for epoch in range(4):
        pupil = Pupil(knowledge=peer, key=np.uint64(epoch))
        train_epoch([pupil])
        assert pupil.loss == pytest.approx(twin.epoch(epoch), rel=1e-4)
    table = peer.table.dense()
    assert np.allclose(table[:, :OTHERS], twin.q, atol=1e-4)
    assert np.allclose(table[:, BIAS], twin.b, atol=1e-4)
    assert np.allclose(peer.private, [*twin.p, twin.b_u], atol=1e-4)
    assert peer.dense[0] == pytest.approx(twin.mu, abs=1e-4)
    evidence = peer.table.evidence_of(np.arange(N_ITEMS))
    assert evidence.tolist() == [twin.evidence.get(i, 0.0) for i in range(N_ITEMS)]
    scores = peer.model.observer()(peer.parameters(), None).scores()
    assert np.allclose(scores, [twin.score(i) for i in range(N_ITEMS)], atol=1e-3)


@pytest.mark.parametrize("task", list(Task))
def test_each_task_learns_what_it_is_for(task: Task) -> None:
    peer = learner(1, "alone", task=task)
    losses = [peer.train(round_).loss for round_ in range(30)]
    assert losses[-1] < losses[0]
    outlook = peer.knowledge.model.observer()(peer.knowledge.parameters(), None)
    scores, own = outlook.scores(), peer.knowledge.timeline.own
    if task is Task.RATING:
        rated = peer.knowledge.history
        assert np.abs(scores[rated.item] - rated.rating).mean() < 0.5
    else:
        assert scores[own].mean() > np.delete(scores, own).mean() + 1.0


def test_folding_in_a_sequence_is_the_formula_that_lessons_teach() -> None:
    peer = stirred(0, Task.RANKING)
    moment = peer.timeline.before(9)
    logs = peer.model.observer()(peer.parameters(), moment).explore_log_probabilities()
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-5)
    assert np.exp(logs[moment.own]).max() == 0.0
    table, past = peer.table.dense(), moment.sequence[moment.sequence >= 0]
    user = peer.dense[FOLD] * table[past, :OTHERS].sum(0) / np.sqrt(len(past))
    popular = np.log1p(table[:, OTHERS] / peer.dense[LISTENED] / 0.03)
    logits = table[:, :OTHERS] @ user + table[:, BIAS] + peer.dense[WEIGHT] * popular
    others = np.delete(np.arange(N_ITEMS), moment.own)
    expected = logits[others] - np.log(np.exp(logits[others]).sum())
    assert np.allclose(logs[others], expected, atol=1e-4)
    newcomer = peer.model.observer()(peer.parameters(), None).explore_log_probabilities()
    assert np.exp(newcomer).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_payload_depends_on_what_is_private(method: str) -> None:
    """Two peers that differ in nothing but the private parameters send the same bytes."""
    a, b = learner(0, method), learner(0, method)
    for round_ in range(2):
        a.train(round_)
        b.train(round_)
    if METHODS[method].family is None:  # its own family may have none
        assert np.abs(a.knowledge.private).max() > 0
    b.knowledge.private[:] = 77.0
    for said, other in zip(a.payloads(2, degree=3), b.payloads(2, degree=3), strict=True):
        for name, value in dataclasses.asdict(said).items():
            theirs = getattr(other, name)
            if isinstance(value, np.ndarray):
                assert np.array_equal(value, theirs)
                assert not np.isin(a.knowledge.private, value).any()
            elif name != "sequences":
                assert value == theirs


def test_what_is_private_survives_a_restart() -> None:
    peer = learner(0, "dclr")
    peer.train(0)
    again = learner(0, "dclr")
    again.restore(peer.state())
    assert np.array_equal(again.knowledge.private, peer.knowledge.private)
    assert np.array_equal(again.scores(NOW), peer.scores(NOW))
    peer.train(1)
    again.train(1)
    assert np.array_equal(again.scores(NOW), peer.scores(NOW))
    with pytest.raises(StoreError, match="another size"):
        learner(0, "dclr", family="next_place").restore(peer.state())


def test_two_families_of_two_sizes_teach_each_other() -> None:
    factors = learner(0, "mac", family="mf", size=16, distillation=2.0)
    places = learner(1, "mac", family="next_place", size=4, distillation=2.0)
    for round_ in range(3):
        for peer in (factors, places):
            peer.train(round_)
        a, b = factors.payloads(round_, degree=1), places.payloads(round_, degree=1)
        first = factors.merge(round_, received("places", b))
        second = places.merge(round_, received("factors", a))
    assert first.weights == {"places": pytest.approx(1.0)}
    assert second.weights == {"factors": pytest.approx(1.0)}
    for peer in (factors, places):
        lessons = peer.collaboration.lessons(peer.knowledge, rng=np.random.default_rng(0))
        heeding, heedless = knowledge_of(peer), knowledge_of(peer)
        for step in range(20):
            for again, heard in ((heeding, lessons), (heedless, ())):
                train_epoch([Pupil(knowledge=again, key=np.uint64(step), lessons=heard)])
        assert disagreement(heeding, lessons) < disagreement(heedless, lessons) - 0.01


def knowledge_of(peer: LocalLearner) -> Knowledge:
    again = LocalLearner(CATALOGUE, peer.config, history=peer.knowledge.history, seed=0)
    again.restore(peer.state())
    return again.knowledge


def disagreement(peer: Knowledge, lessons: Sequence[Explored]) -> float:
    """Mean cross entropy of soft decisions against the lessons, among their candidates."""
    observe, parameters, found = peer.model.observer(), peer.parameters(), []
    for taught in lessons:
        for row, moment in enumerate(taught.moments):
            allowed = taught.allowed[row]
            logs = observe(parameters, moment).explore_log_probabilities()
            logs = logs[taught.candidates[row][allowed]]
            logs -= np.log(np.exp(logs).sum())
            found.append(-float((taught.target[row][allowed] * logs).sum()))
    return float(np.mean(found))


def test_new_places_are_favoured_and_can_be_asked_for_alone() -> None:
    peer = learner(0, "alone")
    for round_ in range(10):
        peer.train(round_)
    own = set(peer.knowledge.timeline.own.tolist())
    assert not own & {r.item for r in peer.recommend(NOW, 10, new_only=True)}
    plain = dataclasses.replace(peer.config.model, discovery=1.0)
    neutral = LocalLearner(
        CATALOGUE, dataclasses.replace(peer.config, model=plain), history=history(0), seed=0
    )
    neutral.restore(peer.state())
    gain = peer.scores(NOW) - neutral.scores(NOW)
    assert np.allclose(gain[peer.knowledge.timeline.own], 0.0, atol=1e-5)
    assert np.allclose(
        np.delete(gain, peer.knowledge.timeline.own), np.log(peer.config.model.discovery), atol=1e-5
    )
    best = peer.recommend(NOW, 1, new_only=False)[0]
    assert dict(best.reasons).keys() <= {
        "fits your taste",
        "others choose it",
        "liked, whoever asks",
    }
    assert best.reasons
    empty = History(
        item=np.empty(0, np.int32),
        timestamp_s=np.empty(0, np.int64),
        rating=np.empty(0, np.float32),
    )
    newcomer = LocalLearner(CATALOGUE, peer.config, history=empty, seed=0)
    assert newcomer.train(0).n_examples == 0
    assert len(newcomer.recommend(NOW, 3, new_only=True)) == 3


def test_a_rating_is_told_as_it_is() -> None:
    peer = learner(0, "alone", task=Task.RATING)
    outlook = peer.knowledge.model.observer()(peer.knowledge.parameters(), None)
    assert np.array_equal(peer.scores(NOW), outlook.scores())  # whatever ``discovery`` is
    ratings = peer.knowledge.history.rating
    mean = 3.0 + (ratings - 3.0).sum() / (len(ratings) + 1)
    assert peer.scores(NOW) == pytest.approx(np.full(N_ITEMS, mean))


def test_what_does_not_go_together_is_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"cannot learn the task 'rating'; .*\bmf .*can"):
        learner(0, "dclr", family="next_place", task=Task.RATING)
    with pytest.raises(ConfigError, match="next_place cannot learn the task 'click'"):
        learner(0, "alone", family="next_place", task=Task.CLICK)
    with pytest.raises(ConfigError, match="a rating is none; take alone, dclr"):
        learner(0, "mac", task=Task.RATING)
    with pytest.raises(ConfigError, match="unknown model family 'magic'; there are: "):
        learner(0, "dclr", family="magic")
    with pytest.raises(ConfigError, match="take one of 4, 8, 12"):
        learner(0, "dclr", size=5)


def test_models_are_written_as_they_are_named() -> None:
    models = exchanged_models(CATALOGUE)
    offered = sum(len(f.sizes) * len(f.tasks) for f in FAMILIES.values())
    assert len({m.name for m in models}) == len(models) == offered
    for model in models:
        config = parse_model(model.name)
        family, size, task = config.family, config.embedding_size, config.task
        again = build_model(CATALOGUE, family=family, embedding_size=size, task=task)
        assert (again.name, again.task, again.width) == (model.name, task, model.width)
        assert again.initial_dense().shape == (model.n_dense,)
    for wrong in ("mf", "mf/x", "mf/16/click/x", "/16", "mf/16/"):
        with pytest.raises(ConfigError, match="names no model"):
            parse_model(wrong)
    with pytest.raises(ConfigError, match="cannot learn"):
        parse_model("next_place/16/click")


def test_ratings_and_ranks_are_never_averaged() -> None:
    ranks, ratings = learner(0, "dclr"), learner(1, "dclr", task=Task.RATING)
    ratings.train(0)
    report = ranks.merge(0, received("b", ratings.payloads(0, degree=1)))
    assert report.rejected == {"b": "other_model"}


def test_small_devices_need_no_torch() -> None:
    """A whole round, in a process of its own since this one has loaded it."""
    program = """
import sys
import numpy as np
from p2prec.data.city import generate_city
from p2prec.models.recommender import Context
from p2prec.training.config import LearnerConfig, ModelConfig
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner
city = generate_city(rng=np.random.default_rng(1), n_users=2, n_places=80, days=60)
config = LearnerConfig(model=ModelConfig(family="mf"))
peers = [
    LocalLearner(city.catalogue, config, history=city.interactions.history(u), seed=u)
    for u in range(2)
]
for peer in peers:
    peer.train(0)
[said] = peers[1].payloads(0, degree=1)
received = Received(sender="b", payload=said, geographic=0, semantic=0, staleness_rounds=0)
peers[0].merge(0, [received])
assert len(peers[0].recommend(Context(timestamp_s=2_000_000_000), 5, new_only=True)) == 5
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
