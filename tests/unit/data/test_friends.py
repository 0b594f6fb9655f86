"""Friendships between users, from a file to the peers of a swarm."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2prec.data.friends import read_friends
from p2prec.data.interactions import Interactions
from p2prec.errors import ConfigError, DataError
from peers.scenario import DataConfig, PeersConfig, Scenario
from peers.swarm.data import load_realm

USERS = ["ann", "bob", "cy", "di"]


def people() -> Interactions:
    n = len(USERS)
    return Interactions.build(
        users=USERS,
        item=np.zeros(n, np.int32),
        timestamp_s=np.arange(n, dtype=np.int64),
        rating=np.ones(n, np.float32),
    )


def named(*lines: str) -> set[frozenset[str]]:
    read = read_friends(["user,friend\n", *lines], source="f.csv", interactions=people())
    return {frozenset(read.user_ids[u] for u in pair) for pair in read.friends.tolist()}


def test_a_friendship_holds_both_ways_and_counts_once() -> None:
    once = {frozenset({"ann", "bob"}), frozenset({"cy", "di"})}
    assert named("ann,bob\n", "di , cy\n") == once
    assert named("ann,bob\n", "bob,ann\n", "ann,bob\n", "\n", "cy,di") == once
    assert named("ann,bob\n", "ann,stranger\n", "x,y\n", "cy,di\n") == once


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ann\n", "line 2: 1 fields instead of 2"),
        ("ann,bob,cy\n", "line 2: 3 fields"),
        ("ann,\n", "line 2: user or friend is empty"),
        ("ann,ann\n", "line 2: 'ann' is no friend of their own"),
        ("ann,\x1b[1m\n", "line 2: it is no UTF-8 text"),
        ('ann,"bob\n', "line 2: it is no CSV"),
        ("x,y\n", "names no two users who both have interactions"),
    ],
)
def test_what_is_no_friendship_is_refused_with_its_line(line: str, sentence: str) -> None:
    with pytest.raises(DataError, match=f"^f.csv.*{sentence}"):
        named(line)


@pytest.mark.parametrize("lines", [[], ["friend,user\n"], ["user,poi\n", "ann,bob\n"]])
def test_another_header_is_refused(lines: list[str]) -> None:
    with pytest.raises(DataError, match=r"^f\.csv"):
        read_friends(lines, source="f.csv", interactions=people())


def world(folder: Path, *pairs: tuple[int, int]) -> Scenario:
    """Twelve users with ten check-ins each, and a file of friendships."""
    check_ins = [
        f"u{user},p{(user + day) % 5},Cafe,40.{(user + day) % 5}1,-73.5,{1_000_000 + 3_600 * day}\n"
        for user in range(12)
        for day in range(10)
    ]
    header = "user,poi,category,lat,lon,timestamp\n"
    (folder / "c.csv").write_text(header + "".join(check_ins))
    with gzip.open(folder / "f.csv.gz", "wt") as file:
        file.write("user,friend\n" + "".join(f"u{a},u{b}\n" for a, b in pairs))
    data = DataConfig(
        kind="check_ins", path=str(folder / "c.csv"), friends=str(folder / "f.csv.gz")
    )
    return Scenario(name="s", data=data, peers=PeersConfig(count=12))


def test_friendships_follow_the_users_to_their_peers(tmp_path: Path) -> None:
    scenario = world(tmp_path, (0, 1), (1, 2), (7, 3))
    realm = load_realm(scenario, data="")
    assert sorted(map(len, realm.friends)) == [0] * 7 + [1] * 4 + [2]
    for peer, friends in enumerate(realm.friends):
        for friend in friends:
            assert peer in realm.friends[friend]
    # Whoever has two friends is u1, so that its first check-in is at the second place.
    [u1] = [peer for peer, friends in enumerate(realm.friends) if len(friends) == 2]
    assert realm.catalogue.item_ids[realm.histories[u1].item[0]] == "p1"
    without = replace(scenario, data=replace(scenario.data, friends=""))
    assert load_realm(without, data="").friends == ()


def test_users_without_a_friendship_among_them_are_refused(tmp_path: Path) -> None:
    scenario = world(tmp_path, (0, 1))
    few = replace(scenario, peers=PeersConfig(count=1))
    with pytest.raises(ConfigError, match="no two of the 1 users that were drawn are friends"):
        load_realm(few, data="")
