"""The private patch: gradients by automatic differentiation, and what others see of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from p2prec.data.city import generate_city
from p2prec.models.embedded import Batch
from p2prec.models.families import build_model
from p2prec.models.patched import PatchedFactorisation
from p2prec.models.recommender import Task
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge

CITY = generate_city(rng=np.random.default_rng(1), n_users=3, n_places=120, days=120)
SIZE, PRIVATE, INNER = 8, 4, 8


def model() -> PatchedFactorisation:
    built = build_model(CITY.catalogue, family="metapatch", embedding_size=SIZE, task=Task.RANKING)
    assert isinstance(built, PatchedFactorisation)
    return built


def test_gradients_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    owner = np.array([0, 0, 1, 1, 1])
    n_dense = INNER * SIZE + PRIVATE * SIZE * INNER
    batch = Batch(
        vectors=drawn(5, 3, SIZE),
        user=drawn(5, SIZE + PRIVATE),
        owner=owner,
        dense=drawn(2, n_dense),
    )
    taste, tape = model().taste(batch)
    errors = drawn(5, 3)
    parts = model().taste_back(batch, tape, errors)

    v, u, w = (
        torch.tensor(a, requires_grad=True) for a in (batch.vectors, batch.user, batch.dense)
    )
    rows = []
    for n, peer in enumerate(owner):
        inward = w[peer, : INNER * SIZE].reshape(INNER, SIZE)
        basis = w[peer, INNER * SIZE :].reshape(PRIVATE, SIZE, INNER)
        outward = (u[n, SIZE:, None, None] * basis).sum(0)
        patched = v[n] + torch.relu(v[n] @ inward.T) @ outward.T
        rows.append(patched @ u[n, :SIZE])
    twin = torch.stack(rows)
    np.testing.assert_allclose(taste, twin.detach().numpy(), rtol=1e-4, atol=1e-4)
    twin.backward(torch.tensor(errors))
    for mine, found in ((parts.vectors, v), (parts.user, u), (parts.dense, w)):
        np.testing.assert_allclose(mine, found.grad.numpy(), rtol=1e-3, atol=1e-4)


def test_only_the_owners_own_scores_know_the_patch() -> None:
    peer = Knowledge(
        CITY.catalogue, model(), TrainingConfig(negatives=6), CITY.interactions.history(0).head(60)
    )
    for epoch in range(3):
        train_epoch([Pupil(knowledge=peer, key=np.uint64(epoch))])
    theta = slice(SIZE, SIZE + PRIVATE)
    assert np.abs(peer.private[theta]).min() > 0  # it was learned
    moment = peer.timeline.moment(20, float(peer.timeline.time_s[20]))
    before = peer.parameters()
    bare = replace(before, private=before.private.copy())
    bare.private[theta] = 0.0
    one, other = (peer.model.observer()(p, moment) for p in (before, bare))
    assert not np.allclose(one.scores(), other.scores())
    np.testing.assert_array_equal(
        one.explore_log_probabilities(), other.explore_log_probabilities()
    )
