"""What a budget chooses by the measurements that are shipped, and that the choice keeps it."""

from __future__ import annotations

import re
import time
from functools import cache

import numpy as np
import pytest

from p2prec.collaboration.methods import families_of, method_for
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.embeddings.tables import TABLES
from p2prec.errors import ConfigError
from p2prec.models.families import EMBEDDED, FAMILIES, model_of
from p2prec.models.recommender import Task
from p2prec.training.config import CollaborationConfig, LearnerConfig, ModelConfig
from p2prec.training.given_up import tells
from p2prec.training.local import LocalLearner
from p2prec.training.on_device import most_bytes, on_device
from peers.budget import _candidates, _held, within_budget
from peers.cli import say
from peers.config import PeerConfig
from peers.owner import memory_of
from peers.worth import expected_of

KIB = 1 << 10
PAIRS = [(f, task) for f, kind in EMBEDDED.items() for task in Task if task in kind.tasks]


@cache
def city(n: int) -> Catalogue:
    drawn = np.random.default_rng(1)
    return Catalogue.build(
        item_ids=[str(i) for i in range(n)],
        latitude_deg=drawn.uniform(50.0, 50.5, n),
        longitude_deg=drawn.uniform(4.0, 4.5, n),
        category_names=[str(i) for i in drawn.integers(0, 12, n)],
    )


def chosen(n: int, budget: int, family: str, task: Task = Task.RANKING) -> LearnerConfig:
    learner = LearnerConfig(
        model=ModelConfig(family=family, task=task),
        collaboration=CollaborationConfig(
            method="dclr" if family in families_of("dclr") else method_for(family)
        ),
    )
    return within_budget(city(n), learner, budget)


def visits(n: int, length: int = 60) -> History:
    drawn = np.random.default_rng(2)
    return History(
        item=drawn.integers(0, n, length).astype(np.int32),
        timestamp_s=np.arange(length, dtype=np.int64) * 7_000,
        rating=drawn.integers(1, 6, length).astype(np.float32),
    )


@pytest.mark.parametrize(("family", "task"), PAIRS)
@pytest.mark.parametrize(("n", "budget"), [(10_000, 50 * KIB), (100_000, 200 * KIB)])
def test_a_full_life_keeps_the_budget(n: int, budget: int, family: str, task: Task) -> None:
    """Trained, and with as many places heard of as a peer ever holds."""
    learner = chosen(n, budget, family, task)
    assert (learner.model.family, learner.model.task) == (family, task)
    peer = LocalLearner(city(n), learner, history=visits(n), seed=1)
    peer.train(0)
    table, drawn = peer.knowledge.table, np.random.default_rng(3)
    table.touch(np.sort(drawn.choice(n, _held(learner), replace=False)))
    table.values[:] += drawn.normal(size=table.values.shape).astype(np.float32)
    table.others[:] = 0.5
    peer.knowledge.dense[peer.knowledge.model.statistics] = 1.0
    taken = len(on_device(peer.knowledge).data)
    assert 0.2 * budget < taken <= budget


@pytest.mark.parametrize("task", [Task.CLICK, Task.RATING])
def test_clicks_and_ratings_are_chosen_by_what_ranking_was_worth(task: Task) -> None:
    learner = chosen(1_000, 30 * KIB, "ranker", task)
    expected = expected_of(learner.model)
    assert expected is not None
    assert task not in expected.name
    config = PeerConfig(memory_budget="30 KiB", learner=learner)
    memory = memory_of(config, learner=None)
    assert memory["measured"] == expected.name
    name = model_of(city(1_000), learner.model).name
    assert f"as measured of {expected.name}, which ranks" in say._memory(
        {"model": name, "memory": memory}
    )


def test_what_nobody_measured_is_told_as_such() -> None:
    learner = chosen(100_000, 48 * KIB, "fm")
    assert expected_of(learner.model) is None
    memory = memory_of(PeerConfig(memory_budget="48 KiB", learner=learner), learner=None)
    assert (memory["measured"], memory["expected_hr10"]) == ("", None)
    assert "was not measured" in say._memory({"model": "fm/8", "memory": memory})


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_too_small_for_all_says_what_would_do(family: str) -> None:
    with pytest.raises(ConfigError, match=r"the smallest, \S+, takes [0-9,]+") as refused:
        chosen(10_000, 1 * KIB, family)
    [figure] = re.findall(r"takes ([0-9,]*[0-9])", str(refused.value))
    least = int(figure.replace(",", ""))
    assert ("option capacity" in str(refused.value)) == (family == "session_knn")
    assert chosen(10_000, least, family)
    with pytest.raises(ConfigError):
        chosen(10_000, least - 1, family)


def test_bytes_are_reckoned_as_of_models_that_are_built() -> None:
    learner, n, met = LearnerConfig(), 3_000, set()
    for one in _candidates(city(n), learner):
        try:
            model = model_of(city(n), one.model)
        except ConfigError:
            continue
        assert one.n_bytes == most_bytes(city(n), model, n_held=_held(learner)), model.name
        met.add((one.model.family, one.model.table))
    families = families_of(learner.collaboration.method)
    able = {(f, t) for f in families for t in TABLES if t == "full" or f in EMBEDDED}
    assert met == {pair for pair in able if pair[1] != "codes"}


@pytest.mark.parametrize("method", ["dclr", "dclr_mac", "epidemic", "od_update"])
def test_none_of_the_candidates_tells_neighbours_of_places(method: str) -> None:
    learner = LearnerConfig(collaboration=CollaborationConfig(method=method))
    tables = {one.model.table for one in _candidates(city(3_000), learner)}
    codes = LearnerConfig(
        model=ModelConfig(family="mf", table="codes", compression=4),
        collaboration=learner.collaboration,
    )
    assert ("codes" in tables) == (not tells(codes)) == (method == "od_update")


def test_choosing_takes_no_noticeable_time() -> None:
    catalogue, learner = city(100_000), LearnerConfig(model=ModelConfig(family="mf"))
    best_s = 9.0
    for _ in range(3):
        begun_s = time.process_time()
        within_budget(catalogue, learner, 200 * KIB)
        best_s = min(best_s, time.process_time() - begun_s)
    assert best_s < 0.5
