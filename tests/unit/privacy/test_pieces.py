"""What an update says of its sender's places where items share pieces of a table."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from p2prec.collaboration.method import Listener
from p2prec.collaboration.od_update import ODUpdate
from p2prec.collaboration.payload import ModelUpdate, TableUpdate
from p2prec.data.city import generate_city
from p2prec.embeddings.compositional_codes import CompositionalCodes
from p2prec.embeddings.table import Stored
from p2prec.models.table import BIAS, OTHERS
from p2prec.models.tabled import Tabled
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
    TrainingConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import LocalLearner

CITY = generate_city(rng=np.random.default_rng(2), n_users=6, n_places=600, days=120)


def learner(
    user: int,
    table: str,
    compression: int,
    protection: Literal["default", "none"] = "default",
    method: str = "epidemic",
    *,
    family: str = "mf",
) -> LocalLearner:
    return LocalLearner(
        CITY.catalogue,
        LearnerConfig(
            model=ModelConfig(
                family=family, embedding_size=16, table=table, compression=compression
            ),
            training=TrainingConfig(epochs=2, negatives=8),
            collaboration=CollaborationConfig(method=method),
            protection=ProtectionConfig(method=protection),
        ),
        history=CITY.interactions.history(user),
        seed=user,
        device_seed=user + 50,
    )


def shown(peer: LocalLearner) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The owner's places that updates name, all of them without protection, and made-up ones."""
    places = peer.protection.shown_places()
    real = np.isin(places, peer.knowledge.timeline.own)
    return places[real], peer.protection.pseudo_items().made_up


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
    own, made_up = shown(peer)
    items = np.concatenate([own, made_up])

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
    assert safe < 0.75  # 0.65 for tt over many devices, around 0.5 for the others
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


def told(user: int, protection: Literal["default", "none"]) -> dict[str, float]:
    """AUC of attackers who rank own places and pseudo items by what words and codes say."""
    peer = learner(user, "codes", 4, protection, "od_update")
    attacker = learner(user + 1, "codes", 4, protection, "od_update")
    table, method = peer.knowledge.model.table, attacker.collaboration  # type: ignore[attr-defined]
    assert isinstance(table, CompositionalCodes)
    assert isinstance(method, ODUpdate)
    n, said = len(CITY.catalogue), list[TableUpdate]()
    changes = np.zeros(n)
    for round_ in range(4):
        peer.train(round_)
        [update] = peer.payloads(round_, degree=1)
        assert isinstance(update, TableUpdate)
        peer.left(update)
        said.append(update)
        changes[update.rows[update.changed]] += round_ > 0
    inbox = [
        Received(sender="1", payload=p, geographic=0.5, semantic=0.5, staleness_rounds=0)
        for p in said
    ]
    found, _ = method.decoded(Listener(knowledge=attacker.knowledge, round=0, received=inbox))
    put_together = found.received[-1].payload
    assert isinstance(put_together, ModelUpdate)
    moved, near = np.zeros(n), np.zeros(n)
    rows = put_together.values[:, : table.size]
    moved[put_together.rows] = np.linalg.norm(rows - table.initial[put_together.rows], axis=1)
    start, words = (table.books(p).words for p in (
        table.initial_pieces(), put_together.dense[-table.n_pieces :]
    ))  # fmt: skip
    travelled = np.linalg.norm(words - start, axis=2)
    near[said[0].rows] = travelled[np.arange(table.n_books), said[0].codes].sum(1)
    # Words of groups move with the owner's rows: of the sender's there is nothing in what came.
    here = attacker.knowledge.dense[attacker.knowledge.model.layout.part("pieces")]  # type: ignore[attr-defined]
    come = put_together.dense[-table.n_pieces :]
    assert np.array_equal(table.books(come).groups, table.books(here).groups)
    own, made_up = shown(peer)
    items = np.concatenate([own, made_up])
    real = np.arange(len(items)) < len(own)
    return {
        name: float(roc_auc_score(real, by[items]))
        for name, by in (("moved", moved), ("changed", changes), ("near moved words", near))
    }


def test_words_and_codes_do_not_point_at_the_own_places() -> None:
    bare, safe = (
        [told(user, protection) for user in range(4)] for protection in ("none", "default")
    )
    for attack in bare[0]:
        assert abs(np.mean([found[attack] for found in safe]) - 0.5) < 0.2, attack
        assert np.mean([found[attack] for found in bare]) > 0.95  # who hides nothing is found


@pytest.mark.parametrize("family", ["mf", "next_place", "ranker"])
def test_neither_part_of_a_row_tells_own_places_from_pseudo_items(family: str) -> None:
    """A bias rises where the owner goes; the length of the whole row hides that from nobody."""
    found: dict[str, list[float]] = {"vector": [], "taste": [], "bias": [], "row": []}
    for user in range(4):
        peer = learner(user, "full", 1, family=family)
        for round_ in range(3):
            peer.train(round_)
        [update] = peer.payloads(2, degree=1)
        assert isinstance(update, ModelUpdate)
        own, made_up = shown(peer)
        items = np.concatenate([own, made_up])
        change = update.values - peer.knowledge.table.initial[update.rows]
        change = change[np.searchsorted(update.rows, items)]
        real = np.arange(len(items)) < len(own)
        length = np.linalg.norm(change[:, :OTHERS], axis=1)
        unit = change[:, :OTHERS] / np.maximum(length, 1e-9)[:, None]
        # All rows of an owner move along its taste: the main direction of what has moved.
        taste = np.abs(unit @ np.linalg.svd(unit)[2][0]) if unit.shape[1] else length
        for name, by in (
            ("vector", length),
            ("taste", taste),
            ("bias", change[:, BIAS]),
            ("row", np.linalg.norm(change, axis=1)),
        ):
            found[name].append(roc_auc_score(real, by))
    for name, aucs in found.items():
        assert abs(np.mean(aucs) - 0.5) < 0.1, name
