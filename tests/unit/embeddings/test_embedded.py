"""Recommenders over tables: gradients by differences, and matrix factorisation by its twin."""

from __future__ import annotations

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.embeddings.full import Full
from p2prec.models.factorisation import Factorisation
from p2prec.models.families import build_model
from p2prec.models.recommender import Task
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge

CITY = generate_city(rng=np.random.default_rng(1), n_users=3, n_places=120, days=120)


@pytest.mark.parametrize("task", sorted(Task))
def test_over_a_full_table_it_is_matrix_factorisation(task: Task) -> None:
    config = TrainingConfig(negatives=6, reg=0.05)
    twins = []
    for model in (
        build_model(CITY.catalogue, family="mf", embedding_size=8, task=task),
        Factorisation(CITY.catalogue, 8, task, Full(CITY.catalogue, 8, 1)),
    ):
        peers = [
            Knowledge(CITY.catalogue, model, config, CITY.interactions.history(user).head(50))
            for user in range(3)
        ]
        for epoch in range(3):
            train_epoch(
                [Pupil(knowledge=p, key=np.uint64(7 * epoch + i)) for i, p in enumerate(peers)]
            )
        twins.append(peers)
    for fast, general in zip(*twins, strict=True):
        assert np.array_equal(fast.table.rows, general.table.rows)
        np.testing.assert_allclose(fast.table.values, general.table.values, rtol=2e-3, atol=2e-5)
        np.testing.assert_allclose(fast.private, general.private, rtol=2e-3, atol=2e-5)
        np.testing.assert_allclose(fast.dense, general.dense[:4], rtol=1e-3, atol=1e-5)
        moment = fast.timeline.moment(20, float(fast.timeline.time_s[20]))
        for ask in ("scores", "explore_log_probabilities"):
            one, other = (
                getattr(k.model.observer()(k.parameters(), moment), ask)() for k in (fast, general)
            )
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
