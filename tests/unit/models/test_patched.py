"""The private patch: what others see of it. Its gradients: test_recommenders.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from p2prec.data.city import generate_city
from p2prec.models.families import build_model
from p2prec.models.patched import PatchedFactorisation
from p2prec.models.recommender import Task
from p2prec.training.config import TrainingConfig
from p2prec.training.epoch import Pupil, train_epoch
from p2prec.training.knowledge import Knowledge

CITY = generate_city(rng=np.random.default_rng(1), n_users=3, n_places=120, days=120)
SIZE, PRIVATE = 8, 4


def model() -> PatchedFactorisation:
    built = build_model(CITY.catalogue, family="metapatch", embedding_size=SIZE, task=Task.RANKING)
    assert isinstance(built, PatchedFactorisation)
    return built


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
