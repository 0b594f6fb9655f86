"""What an update says of its sender's places where items share pieces of a table."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from p2prec.collaboration.payload import ModelUpdate
from p2prec.data.city import generate_city
from p2prec.embeddings.table import Stored
from p2prec.models.tabled import Tabled
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.local import LocalLearner

CITY = generate_city(rng=np.random.default_rng(2), n_users=6, n_places=600, days=120)


def learner(
    user: int, table: str, compression: int, protection: Literal["default", "none"] = "default"
) -> LocalLearner:
    return LocalLearner(
        CITY.catalogue,
        LearnerConfig(
            model=ModelConfig(family="mf", embedding_size=16, table=table, compression=compression),
            training=TrainingConfig(epochs=2, negatives=8),
            collaboration=CollaborationConfig(method="epidemic"),
            protection=ProtectionConfig(method=protection),
        ),
        history=CITY.interactions.history(user),
        seed=user,
        device_seed=user + 50,
    )


def guessed(
    user: int, table: str, compression: int, protection: Literal["default", "none"]
) -> float:
    """AUC of an attacker who ranks own places and pseudo items by how far they have moved."""
    peer = learner(user, table, compression, protection)
    for round_ in range(3):
        peer.train(round_)
    [update] = peer.payloads(2, degree=1)
    assert isinstance(update, ModelUpdate)
    model = peer.knowledge.model
    assert isinstance(model, Tabled)
    part = model.layout.part("pieces")
    own = peer.knowledge.timeline.own.astype(np.int64)
    items = np.concatenate([own, peer.protection.pseudo_items().made_up])

    def vectors(dense: np.ndarray) -> np.ndarray:
        n = len(items)
        return model.table.compose(
            Stored(
                items=items,
                owner=np.zeros(n, np.int64),
                rows=np.zeros((n, 0), np.float32),
                others=np.zeros(n, np.float32),
                pieces=dense[None, part],
            )
        )[0]

    moved = np.linalg.norm(vectors(update.dense) - vectors(model.initial_dense()), axis=1)
    return float(roc_auc_score(np.arange(len(items)) < len(own), moved))


@pytest.mark.parametrize(("table", "compression"), [("qrt", 2), ("qrt", 4), ("stp", 4), ("tt", 2)])
def test_pieces_that_moved_do_not_point_at_the_own_places(table: str, compression: int) -> None:
    bare = np.mean([guessed(user, table, compression, "none") for user in range(4)])
    safe = np.mean([guessed(user, table, compression, "default") for user in range(4)])
    assert safe < 0.7
    assert abs(safe - 0.5) < abs(bare - 0.5)


def test_a_message_moves_the_same_way_in_each_round() -> None:
    """Fresh draws would be averaged away."""
    peer = learner(0, "qrt", 4)
    peer.train(0)
    first, second = (peer.payloads(round_, degree=1)[0] for round_ in (0, 1))
    assert isinstance(first, ModelUpdate)
    assert isinstance(second, ModelUpdate)
    statistics = peer.knowledge.model.statistics
    assert np.array_equal(first.dense[statistics.stop :], second.dense[statistics.stop :])
    assert not np.array_equal(
        first.dense[statistics.stop :], peer.knowledge.dense[statistics.stop :]
    )
