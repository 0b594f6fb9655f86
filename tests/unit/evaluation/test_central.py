"""The rows with a server, held against what they must be."""

from __future__ import annotations

import numpy as np

from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.evaluation.central import centralised, server_fedavg
from p2prec.models.table import OTHERS
from p2prec.training.config import LearnerConfig, ModelConfig, TrainingConfig
from p2prec.training.local import LocalLearner, train_together

CITY = generate_city(rng=np.random.default_rng(5), n_users=12, n_places=80, days=60)
CONFIG = LearnerConfig(
    model=ModelConfig(family="next_place", embedding_size=4),
    training=TrainingConfig(epochs=1, negatives=8),
)


def learners(n: int = 6, size: int = 40) -> list[LocalLearner]:
    def history(user: int) -> History:
        return CITY.interactions.history(user).head(size)

    return [LocalLearner(CITY.catalogue, CONFIG, history=history(u), seed=u) for u in range(n)]


def test_one_client_with_a_server_is_alone() -> None:
    (served,), (alone,) = learners(1), learners(1)
    server_fedavg([served], 1)  # from the second round on it knows what the server has counted
    train_together([alone], [0])
    own = served.knowledge.model.statistics
    learned = np.ones(served.knowledge.model.n_dense, bool)
    learned[own] = False
    assert np.allclose(served.knowledge.dense[learned], alone.knowledge.dense[learned], atol=1e-5)
    rows = alone.knowledge.timeline.own
    embedding = slice(0, OTHERS)
    assert np.allclose(
        served.knowledge.table.gather(rows)[:, embedding],
        alone.knowledge.table.gather(rows)[:, embedding],
        atol=1e-5,
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
        assert all(np.array_equal(table, tables[0]) for table in tables)
        own_bent = peers[0].knowledge.model.own_bent
        dense = np.stack([p.knowledge.dense for p in peers])
        assert np.ptp(dense[:, own_bent == 0], axis=0).max() < 1e-6
        assert np.ptp(dense[:, own_bent == 1], axis=0).max() > 1e-4


def test_popularity_is_counted_over_all_users() -> None:
    peers = learners()
    seen = []
    server_fedavg(peers, 1, after=seen.append)
    assert seen == [1]
    visitors = np.zeros(len(CITY.catalogue))
    for peer in peers:
        visitors[peer.knowledge.timeline.own] += 1
    every = np.arange(len(CITY.catalogue))
    popularity = peers[0].knowledge.table.gather(every)[:, OTHERS]
    assert np.allclose(popularity, visitors / len(peers), atol=1e-6)


def test_what_everybody_knows_together_teaches_more_than_a_round_alone() -> None:
    def loss(peers: list[LocalLearner]) -> float:
        return float(np.mean([r.loss for r in train_together(peers, [9] * len(peers))]))

    alone, together = learners(), learners()
    for round_ in range(3):
        train_together(alone, [round_] * len(alone))
    centralised(together, 3, rng=np.random.default_rng(0))
    assert loss(together) < loss(learners())
    assert np.isfinite(loss(alone))
