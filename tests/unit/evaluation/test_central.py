"""The rows with a server, held against what they must be."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.evaluation.central import centralised, server_fedavg
from p2prec.models.table import OTHERS
from p2prec.training.config import CollaborationConfig, LearnerConfig, ModelConfig, TrainingConfig
from p2prec.training.local import LocalLearner, train_together

CITY = generate_city(rng=np.random.default_rng(5), n_users=12, n_places=80, days=60)
CONFIG = LearnerConfig(
    model=ModelConfig(family="next_place", embedding_size=4),
    training=TrainingConfig(epochs=1, negatives=8),
    collaboration=CollaborationConfig(method="epidemic"),
)


def learners(n: int = 6, size: int = 40, *, share: float = 1.0) -> list[LocalLearner]:
    config = replace(CONFIG, training=replace(CONFIG.training, example_share=share))

    def history(user: int) -> History:
        return CITY.interactions.history(user).head(size)

    return [LocalLearner(CITY.catalogue, config, history=history(u), seed=u) for u in range(n)]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_one_client_with_a_server_is_alone(share: float) -> None:
    """In every round: the server has nothing to say of others, for there are none."""
    for serve in (server_fedavg, partial(centralised, rng=np.random.default_rng(0))):
        (served,), (alone,) = learners(1, share=share), learners(1, share=share)
        serve([served], 3)
        for round_ in range(3):
            train_together([alone], [round_])
        every = np.arange(len(CITY.catalogue))
        assert np.allclose(served.knowledge.dense, alone.knowledge.dense, atol=1e-5)
        assert np.allclose(
            served.knowledge.table.gather(every), alone.knowledge.table.gather(every), atol=1e-5
        )


def test_all_end_with_one_table_and_their_own_bent() -> None:
    for train in (
        lambda peers: server_fedavg(peers, 2),
        lambda peers: centralised(peers, 2, rng=np.random.default_rng(0)),
    ):
        peers = learners()
        train(peers)
        every = np.arange(len(CITY.catalogue))
        tables = [p.knowledge.table.gather(every) for p in peers]
        learned = np.delete(tables, OTHERS, axis=2)  # what others do is another thing for each
        assert all(np.array_equal(table, learned[0]) for table in learned)
        model = peers[0].knowledge.model
        own_bent = model.own_bent
        dense = np.stack([p.knowledge.dense for p in peers])
        shared = own_bent == 0
        shared[model.statistics] = False
        assert np.ptp(dense[:, shared], axis=0).max() < 1e-6
        assert np.ptp(dense[:, own_bent == 1], axis=0).max() > 1e-4


def test_return_habits_stay_with_their_user_where_the_rest_is_shared() -> None:
    """One user's habits must not move by what another one does: shared ones are worse."""
    peers, (lone,) = learners(), learners(1)
    centralised(peers, 1, rng=np.random.default_rng(3))
    train_together([lone], [0])
    view = lone.knowledge.model.layout.view
    habits = [view(p.knowledge.dense, "returning") for p in (*peers, lone)]
    assert np.allclose(habits[0], habits[-1], atol=1e-6)
    assert np.abs(habits[0] - habits[1]).max() > 1e-4


def test_each_user_is_told_what_the_others_do() -> None:
    peers, seen = learners(), []
    server_fedavg(peers, 1, after=seen.append)
    assert seen == [1]
    visitors = np.zeros(len(CITY.catalogue))
    for peer in peers:
        visitors[peer.knowledge.timeline.own] += 1
    every = np.arange(len(CITY.catalogue))
    for peer in peers:
        own = np.isin(every, peer.knowledge.timeline.own)
        others = (visitors - own) / (len(peers) - 1)
        assert np.allclose(peer.knowledge.table.gather(every)[:, OTHERS], others, atol=1e-6)
    model = peers[0].knowledge.model
    tried = [model.own_statistics(p.knowledge.timeline) for p in peers]
    told = peers[0].knowledge.dense[model.statistics]
    assert np.allclose(told, np.mean(tried[1:], axis=0), atol=1e-6)


def test_what_everybody_knows_together_teaches_more_than_a_round_alone() -> None:
    def loss(peers: list[LocalLearner]) -> float:
        return float(np.mean([r.loss for r in train_together(peers, [9] * len(peers))]))

    alone, together = learners(), learners()
    for round_ in range(3):
        train_together(alone, [round_] * len(alone))
    centralised(together, 3, rng=np.random.default_rng(0))
    assert loss(together) < loss(learners())
    assert np.isfinite(loss(alone))
