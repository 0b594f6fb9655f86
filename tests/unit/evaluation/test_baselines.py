"""Baselines against a plain computation, and that they ask whom the methods were asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.evaluation.baselines import BASELINES
from p2prec.models.recommender import Context
from peers.scenario import scenario_of
from peers.swarm.data import load_realm
from peers.swarm.summary import baselines

CITY = generate_city(rng=np.random.default_rng(3), n_users=7, n_places=60, days=40)
HISTORIES = [CITY.interactions.history(user) for user in range(7)]


def test_item_knn_is_the_cosine_of_columns_summed_over_own_items() -> None:
    asked = HISTORIES[2].head(12)
    scores = BASELINES["item_knn"](CITY.catalogue, HISTORIES).scores(asked, Context(timestamp_s=0))
    users_of = [{u for u, h in enumerate(HISTORIES) if i in h.item} for i in range(60)]
    for item in range(60):
        expected = 0.0
        for own in set(asked.item.tolist()):
            both = math.sqrt(max(len(users_of[item]), 1) * max(len(users_of[own]), 1))
            expected += len(users_of[item] & users_of[own]) / both
        assert scores[item] == pytest.approx(expected, rel=1e-5)


def test_baselines_learn_from_all_and_are_asked_for_the_same_users_as_methods() -> None:
    scenario = scenario_of(
        {
            "name": "few_asked",
            "data": {"kind": "city"},
            "peers": {"count": 12},
            "methods": [{"name": "alone"}],
        },
        source="here",
    )
    realm = load_realm(scenario, data="")
    some, all_ = baselines(realm, asked={1, 5}), baselines(realm, asked=range(12))
    assert {row["all"]["n"] for row in some.values()} == {2}
    assert {row["all"]["n"] for row in all_.values()} == {12}
    assert set(some) == set(BASELINES)
