"""Every table learns in a network, and says the same when it is packed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.embeddings.table import Device, budget_bytes
from p2prec.embeddings.tables import TABLES
from p2prec.models.embedded import EmbeddedModel
from p2prec.models.factorisation import Factorisation
from p2prec.models.families import build_model
from p2prec.models.recommender import Task
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.local import (
    LocalLearner,
    train_together,
)
from scenarios.in_step import exchange

USERS, ROUNDS, SIZE = 16, 8, 16
CITY = generate_city(rng=np.random.default_rng(4), n_users=USERS, n_places=400, days=160)
HISTORIES = [CITY.interactions.history(user) for user in range(USERS)]
TOLD = [history.head(len(history) - 5) for history in HISTORIES]


@dataclass(frozen=True)
class Result:
    """Mean reciprocal ranks of what came next."""

    learned: float
    packed: float
    nbytes: int


def device_of(learner: LocalLearner) -> Device:
    knowledge = learner.knowledge
    assert isinstance(knowledge.model, EmbeddedModel)
    return knowledge.model.device(knowledge.snapshot())


def network(table: str, compression: int) -> list[LocalLearner]:
    """All users, after a few rounds in which each hears four others."""
    config = LearnerConfig(
        model=ModelConfig(family="mf", embedding_size=SIZE, table=table, compression=compression),
        training=TrainingConfig(negatives=24),
        collaboration=CollaborationConfig(method="epidemic"),
        protection=ProtectionConfig(method="none"),
    )
    learners = [
        LocalLearner(CITY.catalogue, config, history=told, seed=user)
        for user, told in enumerate(TOLD)
    ]
    hears = [[(user + step) % USERS for step in (1, 3, 7, 12)] for user in range(USERS)]
    for round_ in range(ROUNDS):
        exchange(learners, round_, hears, degree=4)
    train_together(learners, [ROUNDS] * USERS)
    return learners


def reciprocal_ranks(scores: np.ndarray, user: int) -> list[float]:
    asked = HISTORIES[user].item[-5:]
    return [1.0 / float((scores >= scores[item]).sum()) for item in asked]


@lru_cache
def popularity() -> float:
    known = np.zeros(len(CITY.catalogue))
    for told in TOLD:
        known[np.unique(told.item)] += 1.0
    return float(np.mean([reciprocal_ranks(known, user) for user in range(USERS)]))


@lru_cache
def result(table: str, compression: int) -> Result:
    learned, packed, nbytes = [], [], 0
    for user, learner in enumerate(network(table, compression)):
        model, parameters = learner.knowledge.model, learner.knowledge.parameters()
        if not isinstance(model, Factorisation):  # a full table has a model of its own
            scores = model.observer()(parameters, learner.knowledge.timeline.moment(1, 0.0))
            learned.append(reciprocal_ranks(scores.scores(), user))
            continue
        small = model.table.pack(device_of(learner))
        nbytes = max(nbytes, small.nbytes)
        assert small.nbytes <= budget_bytes(model.table)
        ready = model.ready(parameters)
        for found, source in ((learned, model.composed(parameters)), (packed, small)):
            scores = model.logits(replace(ready, source=source), None, own=True)
            found.append(reciprocal_ranks(scores, user))
    return Result(
        learned=float(np.mean(learned)), packed=float(np.mean(packed or learned)), nbytes=nbytes
    )


COMPACT = sorted(set(TABLES) - {"full"})


@pytest.mark.parametrize("table", COMPACT)
def test_a_compact_table_learns_what_to_recommend(table: str) -> None:
    found = result(table, 4)
    assert found.learned > 2 * popularity()
    assert found.learned > 0.5 * result("full", 1).learned


@pytest.mark.parametrize("table", COMPACT)
def test_packing_does_not_make_ranks_fall(table: str) -> None:
    for compression in (4, 10):
        if compression <= TABLES[table].smallest:
            found = result(table, compression)
            assert found.packed > 0.97 * found.learned


def test_the_tasks_of_a_family_go_with_a_table() -> None:
    model = build_model(
        CITY.catalogue,
        family="mf",
        embedding_size=SIZE,
        task=Task.CLICK,
        table="stp",
        compression=10,
    )
    assert model.name == "mf/16/stp-10/click"
