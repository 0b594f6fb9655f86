"""What tables promise while they are searched, merged and learned from; a new one inherits them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.embeddings.initial import initial_table
from p2prec.embeddings.table import COMPRESSIONS, Device, Floats, ItemTable, budget_bytes
from p2prec.embeddings.tables import TABLES, build_table
from p2prec.models.embedded import EmbeddedModel
from p2prec.models.model import Held, Parameters
from p2prec.training.config import (
    CollaborationConfig,
    LearnerConfig,
    ModelConfig,
    ProtectionConfig,
)
from p2prec.training.learner import Received
from p2prec.training.local import (
    LocalLearner,
    merge_together,
    payloads_together,
    train_together,
)

SIZE, ROUNDS, HELD_BACK = 8, 6, 12
CITY = generate_city(rng=np.random.default_rng(3), n_users=12, n_places=1_500, days=60)
COMPACT = sorted(set(TABLES) - {"full"})
EACH = pytest.mark.parametrize("name", COMPACT)
KINDS = pytest.mark.parametrize(
    ("name", "compression"),
    [
        (name, c)
        for name in COMPACT
        for c in COMPRESSIONS
        if 1 < c <= min(TABLES[name].smallest, 50)
    ],
)


def met(table: ItemTable, seed: int, n: int = 400) -> Device:
    """A peer that has learned much about few items and little about many."""
    rng = np.random.default_rng(seed)
    items = np.sort(rng.choice(table.n_items, n, replace=False))
    start = initial_table(CITY.catalogue.digest, "items", table.n_items, table.row_width + 2)
    rows = start[items, : table.row_width]
    moved = rng.normal(0.0, 1.0, rows.shape) * rng.exponential(0.1, (n, 1))
    return Device(
        items=items,
        rows=(rows + moved).astype(np.float32),
        others=(rng.random(n) ** 3).astype(np.float32),
        pieces=table.initial_pieces(),
    )


def length(device: Device) -> float:
    """A quality that prefers some pieces and rows to others."""
    return 1.0 / (1.0 + float(np.abs(device.pieces).sum() + np.abs(device.rows).sum()))


def searched(table: ItemTable, device: Device, rounds: range) -> Device:
    for round_ in rounds:
        found = table.searched(device, round_, length)
        device = device if found is None else found
    return device


@KINDS
def test_a_search_can_be_stopped_and_goes_on_where_it_was(name: str, compression: int) -> None:
    table, again = (
        build_table(CITY.catalogue, table=name, size=SIZE, compression=compression)
        for _ in range(2)
    )
    device = met(table, 1)
    whole = searched(table, device, range(12))
    half = searched(table, device, range(5))
    stored = replace(half, rows=half.rows.copy(), pieces=half.pieces.copy())
    rest = searched(again, stored, range(5, 12))
    assert np.array_equal(whole.pieces, rest.pieces)
    assert np.array_equal(whole.rows, rest.rows)
    assert whole.pieces.dtype == whole.rows.dtype == np.float32
    assert np.array_equal(whole.items, device.items)
    assert np.isfinite(whole.pieces).all()
    packed = table.pack(whole)
    assert packed.nbytes <= budget_bytes(table)


@KINDS
def test_the_mean_of_two_peers_is_a_table(name: str, compression: int) -> None:
    table = build_table(CITY.catalogue, table=name, size=SIZE, compression=compression)
    one, other = (searched(table, met(table, 1), range(n)) for n in (3, 9))
    rows = (one.rows + other.rows) / 2
    merged = replace(one, rows=rows, pieces=(one.pieces + other.pieces) / 2)
    packed = table.pack(merged)
    assert packed.nbytes <= budget_bytes(table)
    vectors = packed.vectors(np.arange(table.n_items))
    assert np.isfinite(vectors).all()
    assert vectors.any()
    following = searched(table, merged, range(9, 11))
    assert table.pack(following).nbytes <= budget_bytes(table)


@pytest.mark.slow
@EACH
def test_it_learns_and_the_device_knows_as_much(name: str) -> None:
    compression = max(c for c in COMPRESSIONS if c <= min(TABLES[name].smallest, 4))
    learners = _lived(
        ModelConfig(family="mf", embedding_size=16, table=name, compression=compression)
    )
    model = learners[0].knowledge.model
    assert isinstance(model, EmbeddedModel)
    composed, packed, none = [], [], []
    for user, learner in enumerate(learners):
        knowledge = learner.knowledge
        parameters = knowledge.parameters()
        held = Held(
            items=knowledge.table.rows,
            values=knowledge.table.whole_rows,
            dense=knowledge.dense,
            private=knowledge.private,
        )
        device = model.table.pack(model.device(held))
        asked = CITY.interactions.history(user).item[-HELD_BACK:]
        whole = model.vectors(parameters)
        composed += _ranks(model, parameters, whole, asked)
        packed += _ranks(model, parameters, device.vectors(np.arange(model.table.n_items)), asked)
        none += _ranks(model, parameters, np.zeros_like(whole), asked)
    assert np.mean(composed) < np.mean(none) - 0.2
    assert np.mean(packed) < np.mean(composed) + 0.2


def _lived(config: ModelConfig) -> list[LocalLearner]:
    settings = LearnerConfig(
        model=config,
        collaboration=CollaborationConfig(method="epidemic"),
        protection=ProtectionConfig(method="none"),
    )
    histories = [CITY.interactions.history(user) for user in range(12)]
    learners = [
        LocalLearner(
            CITY.catalogue, settings, history=history.head(len(history) - HELD_BACK), seed=user
        )
        for user, history in enumerate(histories)
    ]
    n = len(learners)
    for round_ in range(ROUNDS):
        train_together(learners, [round_] * n)
        said = payloads_together(learners, [round_] * n, degrees=[3] * n)
        inboxes = [
            [
                Received(
                    sender=str(j % n),
                    payload=payload,
                    geographic=0.0,
                    semantic=0.0,
                    staleness_rounds=0,
                )
                for j in (i + 1, i + 2 + round_, i + 5 + round_)
                for payload in said[j % n]
                if j % n != i
            ]
            for i in range(n)
        ]
        merge_together(learners, [round_] * n, inboxes)
    return learners


def _ranks(
    model: EmbeddedModel, parameters: Parameters, vectors: Floats, asked: np.ndarray
) -> list[float]:
    """Logarithms: a place that is nearly first and is not found any more counts."""
    scores = model.logits(parameters, vectors, None, own=True)
    return [float(np.log((scores >= scores[item]).sum())) for item in asked]
