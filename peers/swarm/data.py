"""The users of a swarm: which of a data set's users become peers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2prec.data.catalogue import Catalogue
from p2prec.data.city import generate_city, generate_towns
from p2prec.data.dataset import Dataset
from p2prec.data.interactions import History, Interactions
from p2prec.data.split import MIN_HISTORY
from p2prec.errors import ConfigError
from p2prec.limits import MAX_ITEMS
from peers.files import (
    MOVIELENS,
    check_there,
    read_check_in_file,
    read_friend_file,
    read_movielens_folder,
)
from peers.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """The items, and the owners of the peers.

    Attributes:
        catalogue: The items.
        histories: The whole history of each peer's owner.
        friends: For each peer the peers of its owner's friends; empty where the data has no social
            graph.
        users: Name of each owner in the data.
    """

    catalogue: Catalogue
    histories: tuple[History, ...]
    friends: tuple[tuple[int, ...], ...] = ()
    users: tuple[str, ...] = ()


def load_realm(scenario: Scenario, *, data: str, source: str = "") -> Realm:
    """Load or generate, and draw ``peers.count`` users.

    Seeds 0, 1, 2 ... take disjoint users as long as there are enough.

    Args:
        scenario: What to load.
        data: CSV that overrides the scenario's own; "" for none.
        source: Path of the scenario, for sentences; its name where empty.

    Raises:
        ConfigError: There are fewer users than peers, or a file is needed and none is there.
        DataError: The file cannot be read.
    """
    settings, count = scenario.data, scenario.peers.count
    source = source or f"scenario {scenario.name!r}"
    friends = Path(settings.friends)
    if settings.friends:
        check_there(friends, key=f"{source}: data.friends", what="CSV of user,friend")
    dataset = _dataset(scenario, data, source)
    interactions = dataset.interactions
    if settings.friends:
        interactions = read_friend_file(friends, interactions)
    usable = _usable(interactions)
    if len(usable) < count:
        near = f"; nearest is {len(usable):,}" if len(usable) else ""
        raise ConfigError(
            f"{source}: peers.count = {count:,}, and {len(usable):,} users of the data have more "
            f"than {MIN_HISTORY} interactions{near}"
        )
    order = np.random.default_rng(settings.seed).permutation(usable)
    start = (scenario.seed * count) % len(order)
    chosen = np.roll(order, -start)[:count]
    if settings.people_per_town:
        chosen = np.sort(chosen)  # so that those of one local network live in one town
    return Realm(
        catalogue=dataset.catalogue,
        histories=tuple(interactions.history(int(u)) for u in chosen),
        friends=_friends(interactions, chosen) if settings.friends else (),
        users=tuple(interactions.user_ids[int(u)] for u in chosen),
    )


def usable_users(scenario: Scenario, *, data: str) -> int:
    """How many users of the data have a history that is long enough.

    Raises:
        ConfigError: None has.
        DataError: The file cannot be read.
    """
    n = len(_usable(_dataset(scenario, data, scenario.name).interactions))
    if not n:
        raise ConfigError(f"{data}: no user has more than {MIN_HISTORY} interactions")
    return n


def _usable(interactions: Interactions) -> NDArray[np.intp]:
    lengths = np.bincount(interactions.user, minlength=interactions.n_users)
    return np.flatnonzero(lengths > MIN_HISTORY)


def _dataset(scenario: Scenario, data: str, source: str) -> Dataset:
    """The scenario's city, a CSV of check-ins, or a folder of MovieLens 100K."""
    settings, count = scenario.data, scenario.peers.count
    if settings.kind == "city" and not data:
        users = max(settings.users, count)
        places = max(settings.places, 3 * users)
        if places > MAX_ITEMS:
            raise ConfigError(
                f"{source}: a city of {users:,} people (data.users, peers.count) and {places:,} "
                f"places is too large; nearest is {MAX_ITEMS // 3:,} people, {MAX_ITEMS:,} places"
            )
        if settings.people_per_town:
            return generate_towns(
                seed=settings.seed,
                n_users=users,
                n_places=places,
                people_per_town=settings.people_per_town,
                days=settings.days,
                habits=settings.habits,
            )
        return generate_city(
            rng=np.random.default_rng(settings.seed),
            n_users=users,
            n_places=places,
            days=settings.days,
            habits=settings.habits,
        )
    if not (data or settings.path):
        raise ConfigError(
            f"{source}: data.path is empty; name a CSV of check-ins there, or with --data"
        )
    path, key = Path(data or settings.path), "--data" if data else f"{source}: data.path"
    check_there(path, key=key, what="CSV of check-ins")
    if not path.is_dir():
        return read_check_in_file(path).dataset
    check_there(path / f"{MOVIELENS}.inter", key=key, what="CSV, or the folder of MovieLens 100K")
    return read_movielens_folder(path)


def _friends(interactions: Interactions, chosen: NDArray[np.intp]) -> tuple[tuple[int, ...], ...]:
    """Friendships among the chosen users, as positions in ``chosen``.

    Raises:
        ConfigError: There are none.
    """
    position = {int(user): i for i, user in enumerate(chosen)}
    friends: list[list[int]] = [[] for _ in chosen]
    for one, other in interactions.friends.tolist():
        if one in position and other in position:
            friends[position[one]].append(position[other])
            friends[position[other]].append(position[one])
    if not any(friends):
        raise ConfigError(f"no two of the {len(chosen)} users that were drawn are friends")
    return tuple(map(tuple, friends))
