"""A learner from a store: as it was, or anew from the history where its model no longer fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.errors import StoreError
from p2prec.training.config import LearnerConfig, ModelConfig
from p2prec.training.local import LocalLearner
from peers.config import PeerConfig
from peers.owner import stored_learner
from peers.store import Store

CITY = generate_city(rng=np.random.default_rng(0), n_users=2, n_places=60, days=60)
HISTORY = CITY.interactions.history(0).head(30)


def config(size: int) -> PeerConfig:
    model = ModelConfig(family="ranker", embedding_size=size)
    return PeerConfig(learner=LearnerConfig(model=model))


def lived(store: Store) -> LocalLearner:
    """A learner of width 8 that has named places, kept in a store."""
    store.add_interactions(HISTORY)
    learner = stored_learner(store, CITY.catalogue, config(8), device_seed=3)
    for round_ in range(2):
        learner.train(round_)
        learner.payloads(round_, degree=1)
    store.save_progress(round_=2, neighbours=(), learner=learner.state())
    return learner


def test_a_model_that_fits_is_as_it_was(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    before = lived(store)
    again = stored_learner(store, CITY.catalogue, config(8), device_seed=3)
    assert again.anew == ""
    assert np.array_equal(again.knowledge.dense, before.knowledge.dense)


def test_a_model_of_another_size_is_learned_anew_from_the_history(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    before = lived(store)
    again = stored_learner(store, CITY.catalogue, config(16), device_seed=3)
    assert again.anew == "the stored model has another size than the settings ask for"
    assert np.array_equal(again.knowledge.history.item, HISTORY.item)
    shown = before.protection.pseudo_items()
    assert len(shown.made_up)
    assert np.array_equal(again.protection.pseudo_items().made_up, shown.made_up)
    assert again.train(2).loss > 0


def test_a_damaged_model_is_an_error(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    state = lived(store).state()
    state["rows"] = state["rows"] + np.uint32(len(CITY.catalogue))
    store.save_progress(round_=2, neighbours=(), learner=state)
    with pytest.raises(StoreError, match="another catalogue"):
        stored_learner(store, CITY.catalogue, config(8), device_seed=3)


def test_a_model_that_lacks_a_part_is_an_error(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    state = lived(store).state()
    state["dense"] = state["dense"][:-5]
    store.save_progress(round_=2, neighbours=(), learner=state)
    with pytest.raises(StoreError, match="damaged"):
        stored_learner(store, CITY.catalogue, config(8), device_seed=3)


def test_a_model_of_another_catalogue_is_an_error_whatever_its_size(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    lived(store)
    other = generate_city(rng=np.random.default_rng(1), n_users=2, n_places=60, days=60).catalogue
    with pytest.raises(StoreError, match="another catalogue"):
        stored_learner(store, other, config(16), device_seed=3)
