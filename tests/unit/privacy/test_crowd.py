"""What anybody knows who counts how many others go to each place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2prec.data.split import leave_one_out
from p2prec.errors import ConfigError
from peers.scenario import Scenario, load_scenario
from peers.swarm.data import load_realm
from tests.benchmarks.membership import load_crowd, visited_by_others

ROOT = Path(__file__).parents[3]


def scenario(path: str, seed: int) -> Scenario:
    loaded = load_scenario(ROOT / path)
    return replace(loaded, seed=seed, peers=replace(loaded.peers, count=4))


@pytest.mark.parametrize("seed", [0, 1, 2])  # all owners are in the crowd, one of them is, none is
def test_only_others_are_counted(tmp_path: Path, seed: int) -> None:
    rng, data = np.random.default_rng(0), tmp_path / "check_ins.csv"
    with data.open("w") as file:
        print("user,poi,category,lat,lon,timestamp", file=file)
        for user in range(14):
            for day, place in enumerate(rng.integers(0, 12, 9).tolist()):
                print(user, place, "Bar", 40 + place / 100, -74, 86_400 * day, sep=",", file=file)
    listened = scenario("scenarios/foursquare_nyc.toml", seed)
    realm = load_realm(listened, data=str(data))
    crowd = load_crowd(listened, 5, data=str(data))
    assert len(set(realm.users) & set(crowd.users)) == {0: 4, 1: 1, 2: 0}[seed]
    known = [set(leave_one_out(history).train.item.tolist()) for history in crowd.histories]
    wanted = [
        [
            sum(
                place in places
                for user, places in zip(crowd.users, known, strict=True)
                if user != owner
            )
            for place in range(len(realm.catalogue))
        ]
        for owner in realm.users
    ]
    assert visited_by_others(realm, crowd).tolist() == wanted


def test_a_generated_city_has_no_crowd_beside_its_users() -> None:
    with pytest.raises(ConfigError, match="another city"):
        load_crowd(scenario("peers/demo.toml", 0), 40, data="")
