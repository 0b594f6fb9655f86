"""Training is one computation for one peer and for many."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.models.explored import Explored
from p2prec.models.families import FAMILIES as KNOWN
from p2prec.models.families import build_model
from p2prec.models.recommender import Task
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    TrainingConfig,
)
from p2prec.training.epoch import Examples, Pupil, train_epoch
from p2prec.training.knowledge import Knowledge
from p2prec.training.local import LocalLearner, train_together
from scenarios.in_step import arrived

CITY = generate_city(rng=np.random.default_rng(1), n_users=6, n_places=150, days=120)
LENGTHS = (60, 7, 2, 33, 41)  # one batch, many, or none at all
FAMILIES = [(name, task) for name, family in KNOWN.items() for task in sorted(family.tasks)]


def knowledge(user: int, family: str, task: Task, size: int = 8) -> Knowledge:
    history = CITY.interactions.history(user).head(LENGTHS[user])
    model = build_model(CITY.catalogue, family=family, embedding_size=size, task=task)
    return Knowledge(CITY.catalogue, model, TrainingConfig(negatives=6, batch_size=16), history)


def partly(user: int, share: float) -> Knowledge:
    whole = knowledge(user, "mf", Task.RANKING)
    config = dataclasses.replace(whole.config, example_share=share)
    return Knowledge(CITY.catalogue, whole.model, config, whole.history)


@pytest.mark.parametrize(("share", "of"), [(0.5, 2), (0.2, 5), (0.001, 1000)])
def test_a_pass_over_a_share_is_the_beginning_of_a_whole_one(share: float, of: int) -> None:
    users = [0, 3, 4, 1]
    keys = np.arange(4, dtype=np.uint64) + np.uint64(7)
    whole = Examples.of([partly(user, 1.0) for user in users]).drawn(keys)
    some = Examples.of([partly(user, share) for user in users]).drawn(keys)
    assert some.counts.tolist() == [-(-n // of) for n in whole.counts.tolist()]
    for peer, (count, begin, start) in enumerate(
        zip(some.counts, some.starts, whole.starts, strict=True)
    ):
        mine, theirs = slice(begin, begin + count), slice(start, start + count)
        assert (some.owner[mine] == peer).all()
        assert some.place[mine].tolist() == list(range(count))
        for name in ("items", "ratings", "shuffled"):
            assert np.array_equal(getattr(some, name)[mine], getattr(whole, name)[theirs])


def test_shares_are_exact() -> None:
    for n in range(1, 400):
        peer = partly(0, 0.07)
        peer.n_examples = n
        assert peer.n_in_pass == -(-7 * n // 100)


def test_each_pass_draws_its_part_anew_and_all_are_learned_from() -> None:
    examples = Examples.of([partly(0, 0.5)])
    drawn = [examples.drawn(np.array([key], np.uint64)).shuffled for key in range(200)]
    times = np.bincount(np.concatenate(drawn), minlength=int(examples.counts[0]))
    expected = 200 * len(drawn[0]) / examples.counts[0]
    assert np.abs(times - expected).max() < 5 * np.sqrt(expected / 2)
    assert all(len(set(one.tolist())) == len(one) for one in drawn)


def test_a_report_is_of_what_was_learned_from() -> None:
    half, whole = (
        LocalLearner(
            CITY.catalogue,
            LearnerConfig(training=TrainingConfig(example_share=share, negatives=6)),
            history=CITY.interactions.history(0),
            seed=1,
        )
        for share in (0.5, 1.0)
    )
    n = whole.knowledge.n_examples
    reports = half.train(0), whole.train(0)
    assert [report.n_examples for report in reports] == [(n + 1) // 2, n]
    assert 0.8 < reports[0].loss / reports[1].loss < 1.25  # a mean, not a half of it


def lesson(peer: Knowledge, n: int, width: int) -> Explored:
    rng = np.random.default_rng(n)
    moments = [peer.timeline.before(i) for i in rng.integers(1, len(peer.timeline), n)]
    target = rng.dirichlet(np.ones(width), n).astype(np.float32)
    return Explored(
        moments=moments,
        candidates=rng.integers(0, len(CITY.catalogue), (n, width), dtype=np.int32),
        target=target,
        allowed=np.ones((n, width), bool),
        weight=np.full(n, 0.5, np.float32),
    )


def equal(a: Knowledge, b: Knowledge) -> bool:
    return all(
        np.allclose(x, y, rtol=1e-5, atol=1e-6)
        for x, y in (
            (a.table.dense(), b.table.dense()),
            (a.dense, b.dense),
            (a.private, b.private),
            (np.sort(a.table.accumulator), np.sort(b.table.accumulator)),
            (a.table.evidence_of(np.arange(150)), b.table.evidence_of(np.arange(150))),
        )
    )


@pytest.mark.parametrize(("family", "task"), FAMILIES)
def test_five_peers_together_learn_what_each_learns_alone(family: str, task: Task) -> None:
    alone = [knowledge(user, family, task) for user in range(5)]
    together = [knowledge(user, family, task) for user in range(5)]
    lessons = [(), (lesson(alone[1], 3, 9),), (), (lesson(alone[3], 2, 4),) * 2, ()]
    one_by_one, at_once = [], []
    for epoch in range(3):
        each = [
            Pupil(knowledge=peer, key=np.uint64(10 * user + epoch), lessons=lessons[user])
            for user, peer in enumerate(alone)
        ]
        for pupil in each:
            train_epoch([pupil])
        many = [
            Pupil(knowledge=peer, key=np.uint64(10 * user + epoch), lessons=lessons[user])
            for user, peer in enumerate(together)
        ]
        train_epoch(many)
        one_by_one += [(p.loss, p.n_examples) for p in each]
        at_once += [(p.loss, p.n_examples) for p in many]
    assert np.allclose(one_by_one, at_once, rtol=1e-5)
    for a, b in zip(alone, together, strict=True):
        assert equal(a, b)
    learns = alone[0].n_examples > 0  # remembering sessions is no training
    assert learns == (family != "session_knn") == (not equal(alone[0], knowledge(0, family, task)))


def test_learners_of_any_size_and_method_train_together() -> None:
    def learners() -> list[LocalLearner]:
        return [
            LocalLearner(
                CITY.catalogue,
                LearnerConfig(
                    model=ModelConfig(family="next_place", embedding_size=size),
                    training=TrainingConfig(epochs=epochs, negatives=6),
                    collaboration=CollaborationConfig(method="mac"),
                ),
                history=CITY.interactions.history(user).head(30),
                seed=user,
            )
            for user, (size, epochs) in enumerate([(4, 1), (8, 2), (4, 2), (4, 1)])
        ]

    together, alone = learners(), learners()
    for round_ in range(2):
        reports = train_together(together, [round_] * len(together))
        each = [peer.train(round_) for peer in alone]
        assert np.allclose([r.loss for r in reports], [r.loss for r in each], rtol=1e-5)
        for peers in (together, alone):
            said = [peer.payloads(round_, degree=3) for peer in peers]
            for i, peer in enumerate(peers):
                heard = [arrived(j, payloads) for j, payloads in enumerate(said) if j != i]
                peer.merge(round_, [item for items in heard for item in items])
    assert all(equal(a.knowledge, b.knowledge) for a, b in zip(together, alone, strict=True))
