"""A budget of memory: how it is written, what it chooses, and that it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2prec.data.city import generate_city
from p2prec.errors import ConfigError
from p2prec.models.families import model_of, parse_model
from p2prec.models.recommender import Task
from p2prec.training.config import CollaborationConfig, LearnerConfig, ModelConfig
from p2prec.training.local import LocalLearner
from p2prec.training.on_device import most_bytes, on_device
from peers.amounts import parse_bytes
from peers.budget import settled, within_budget
from peers.config import PeerConfig
from peers.settings import load_config
from peers.worth import expected_of, model_rows

CITY = generate_city(rng=np.random.default_rng(5), n_users=2, n_places=600, days=90)
WORTH = {  # as a file of measurements would say
    "mf/16": (0.4, 0.30, 2.0),
    "mf/16/qrt-2": (0.4, 0.25, 2.0),
    "mf/16/qrt-4": (0.4, 0.255, 9.0),  # no better that could be told, and dear
    "mf/16/qrt-10": (0.3, 0.20, 2.0),
    "mf/32": (0.5, 0.35, 2.0),
    "ranker/16": (0.6, 0.40, 2.0),
}


ROWS: dict[str, dict[str, Any]] = {
    name: {
        "recommender": name.split("/")[0],
        "table": "qrt" if "qrt" in name else "full",
        "bytes": 1,
        "hr@10": hr,
        "ndcg@10": ndcg,
        "cpu_s": cpu_s,
    }
    for name, (hr, ndcg, cpu_s) in WORTH.items()
}


@pytest.fixture(autouse=True)
def worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peers.worth.measured", lambda: {"made_by": {}, "models": ROWS})


@given(number=st.integers(1, 10**6), unit=st.sampled_from(["", "B", "KB", "KiB", "MB", "MiB"]))
def test_amounts_are_read_as_they_are_written(number: int, unit: str) -> None:
    factor = {"": 1, "B": 1, "KB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20}[unit]
    assert parse_bytes(f"{number} {unit}", source="x") == number * factor
    assert parse_bytes(f" {number}{unit.lower()}", source="x") == number * factor


@pytest.mark.parametrize(
    "text", ["", "many", "-3 KiB", "3 KiBB", "1e3", "0", "0.1 B", "KiB", "\x1b[2J"]
)
def test_what_is_no_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x: memory_budget = .*(200 KiB|above 0)"):
        parse_bytes(text, source="x")


def learner(family: str) -> LearnerConfig:
    return LearnerConfig(model=ModelConfig(family=family, embedding_size=16, discovery=2.5))


def test_the_best_that_keeps_the_budget_is_taken() -> None:
    chosen = {}
    for kib in (1_000, 60, 30, 16, 12):
        model = within_budget(CITY.catalogue, learner("mf"), kib << 10).model
        chosen[kib] = (model.embedding_size, model.table, model.compression)
        assert model.discovery == 2.5
    assert chosen == {
        1_000: (32, "full", 1), 60: (16, "full", 1), 30: (16, "qrt", 2), 16: (16, "qrt", 4),
        12: (16, "qrt", 10),
    }  # fmt: skip
    assert within_budget(CITY.catalogue, learner("ranker"), 1 << 20).model.family == "ranker"


def test_no_budget_chooses_what_tells_neighbours_the_owners_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = ROWS["mf/16/qrt-4"] | {"table": "codes", "ndcg@10": 0.9}
    monkeypatch.setattr("peers.worth.measured", lambda: {"models": ROWS | {"mf/16/codes-4": codes}})
    method = CollaborationConfig(method="od_update")
    tables = [
        within_budget(CITY.catalogue, config, 20 << 10).model.table
        for config in (learner("mf"), replace(learner("mf"), collaboration=method))
    ]
    assert tables == ["qrt", "codes"]


def test_a_budget_below_the_smallest_is_refused_with_its_size() -> None:
    with pytest.raises(ConfigError, match=r"600 items; the smallest, mf/4/.*-\d+, takes [0-9,]+"):
        within_budget(CITY.catalogue, learner("mf"), 500)


@pytest.mark.parametrize("name", [*WORTH, "mf/16/click", "mf/8/qrt-4/rating"])
def test_what_lies_on_the_device_keeps_the_bound(name: str) -> None:
    config = replace(parse_model(name))
    one = LocalLearner(
        CITY.catalogue,
        LearnerConfig(model=config),
        history=CITY.interactions.history(0).head(80),
        seed=1,
    )
    one.train(0)
    held = len(one.knowledge.table.rows)
    most = most_bytes(CITY.catalogue, model_of(CITY.catalogue, config), n_held=held)
    assert 0 < len(on_device(one.knowledge).data) <= most


def test_what_was_not_measured_goes_by_what_is_near() -> None:
    """Of the pair's other compressions as they are; of other sizes only where nothing else is."""
    names = {"mf/16/qrt-20": "mf/16/qrt-10", "mf/16/qrt-2/click": "mf/16/qrt-2"}
    for name, of in names.items():
        expected = expected_of(parse_model(name))
        assert expected is not None
        assert expected.name == of
    assert expected_of(parse_model("mf/8/qrt-2")) is None
    assert expected_of(parse_model("mf/16/int8-4")) is None
    small = within_budget(CITY.catalogue, learner("mf"), 5 << 10).model
    assert expected_of(small) is None
    assert small.table == "qrt"


def test_a_family_that_cannot_do_the_task_is_refused_by_name() -> None:
    model = ModelConfig(family="next_place", task=Task.CLICK)
    with pytest.raises(ConfigError, match="next_place cannot learn the task 'click'"):
        within_budget(CITY.catalogue, LearnerConfig(model=model), 1 << 20)
    with pytest.raises(ConfigError, match="unknown model family 'nope'"):
        within_budget(CITY.catalogue, learner("nope"), 1 << 20)


def test_the_settings_name_the_file_where_the_budget_is_none(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('memory_budget = "a lot"\n')
    with pytest.raises(ConfigError, match=r"config\.toml: memory_budget = 'a lot'"):
        load_config(path, {})
    path.write_text('memory_budget = "200 KiB"\n')
    assert load_config(path, {}).memory_budget == "200 KiB"


def test_every_pair_has_a_row_with_figures_or_a_reason() -> None:
    rows = model_rows()
    for row in rows:
        assert ("why" in row) != ("ndcg@10" in row)
    reasons = {(r["recommender"], r["table"]): r["why"] for r in rows if "why" in r}
    assert "no embeddings" in reasons["ranker", "qrt"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "many"])
def test_a_budget_beside_a_wrong_option_leaves_the_option_to_be_refused(wrong: float | str) -> None:
    method = CollaborationConfig(method="dclr", options={"max_hearsay": wrong})
    config = PeerConfig(memory_budget="1 MiB", learner=replace(learner("mf"), collaboration=method))
    with pytest.raises(ConfigError, match="option 'max_hearsay'"):
        settled(config, CITY.catalogue)


def test_a_budget_beside_an_unknown_method_leaves_the_method_to_be_refused() -> None:
    config = replace(learner("mf"), collaboration=CollaborationConfig(method="nope"))
    assert within_budget(CITY.catalogue, config, 1 << 20).collaboration.method == "nope"
