"""A scenario names its peers' models; what does not go together is refused when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2prec.errors import ConfigError
from p2prec.models.recommender import Task
from peers.scenario import in_rounds, load_scenario, peer_config

SCENARIOS = Path(__file__).parents[3] / "scenarios"


def written(folder: Path, method: str) -> Path:
    path = folder / "s.toml"
    path.write_text(f'name = "s"\ndiscovery = 2.0\n[[methods]]\n{method}\n')
    return path


def test_models_are_given_to_peers_in_turn(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "mac"\nmodels = ["next_place/8", "mf/16", "mf/4/click"]')
    scenario = load_scenario(path)
    configs = [
        peer_config(scenario, scenario.methods[0], i, broker="", responders=[]).learner.model
        for i in range(4)
    ]
    assert [(c.family, c.embedding_size, c.task) for c in configs] == [
        ("next_place", 8, Task.RANKING),
        ("mf", 16, Task.RANKING),
        ("mf", 4, Task.CLICK),
        ("next_place", 8, Task.RANKING),
    ]
    assert {c.discovery for c in configs} == {2.0}


def test_rounds_that_are_asked_for_are_those_of_every_method(tmp_path: Path) -> None:
    methods = 'name = "dclr"\n[[methods]]\nname = "gossip_adam"\nrounds = 32'
    scenario = load_scenario(written(tmp_path, methods))

    def of_methods(rounds: int) -> list[int]:
        asked = in_rounds(scenario, rounds)
        return [
            peer_config(asked, method, 0, broker="", responders=[]).schedule.max_rounds
            for method in asked.methods
        ]

    assert of_methods(0) == [scenario.schedule.max_rounds, 32]
    assert of_methods(3) == [3, 3]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            'name = "dclr"\nmodels = ["next_place/8", "mf/8"]',
            "mac, d_dist, dard, dclr_mac let peers differ",
        ),
        ('name = "epidemic"\nmodels = ["mf/8", "mf/16"]', "all models must be the same"),
        ('name = "epidemic"\nmodels = ["mf/8", "mf/8/click"]', "all models must be the same"),
        ('name = "mac"\nmodels = ["mf/8/rating"]', "a rating is none"),
        ('name = "dclr"\nmodels = ["next_place/8/rating"]', "next_place cannot learn"),
        ('name = "dclr"\nmodels = ["gru/8"]', "unknown model family 'gru'"),
        ('name = "dclr"\nmodels = ["mf/9"]', "take one of 4, 8, 12"),
        ('name = "dclr"\nmodels = ["mf"]', "write family/size"),
        ('name = "dclr"\nmodels = []', "models is empty"),
        ('name = "magic"', "unknown method 'magic'"),
    ],
)
def test_nonsense_is_refused_with_the_file_and_a_sentence(
    method: str, sentence: str, tmp_path: Path
) -> None:
    path = written(tmp_path, method)
    with pytest.raises(ConfigError, match=f"^{path}: .*{sentence}"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ('[neighbours]\nselection = "social"', "needs friendships"),
        ('[data]\nfriends = "f.csv"', "a generated city has none"),
    ],
)
def test_friendships_are_named_where_they_are_needed_and_only_there(
    tables: str, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'name = "s"\n{tables}\n[[methods]]\nname = "alone"\n')
    with pytest.raises(ConfigError, match=f"^{path}: .*{sentence}"):
        load_scenario(path)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_of_the_project_can_be_read(path: Path) -> None:
    assert load_scenario(path).methods
