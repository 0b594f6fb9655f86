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
from p2prec.text import closest
from peers.files import read_check_in_file, read_friend_file, read_movielens_folder
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


def load_realm(scenario: Scenario, *, data: str) -> Realm:
    """Load or generate, and draw ``peers.count`` users.

    Seeds 0, 1, 2 ... take disjoint users as long as there are enough.

    Args:
        scenario: What to load.
        data: CSV that overrides the scenario's own; "" for none.

    Raises:
        ConfigError: There are fewer users than peers, or a file is needed and none is named.
        DataError: The file cannot be read.
    """
    settings, count = scenario.data, scenario.peers.count
    dataset = _dataset(scenario, data)
    interactions = dataset.interactions
    if settings.friends:
        interactions = read_friend_file(Path(settings.friends), interactions)
    usable = _usable(interactions)
    if len(usable) < count:
        raise ConfigError(f"{count} peers need as many users; the data has {len(usable)}")
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
    n = len(_usable(_dataset(scenario, data).interactions))
    if not n:
        raise ConfigError(f"{data}: no user has more than {MIN_HISTORY} interactions")
    return n


def _usable(interactions: Interactions) -> NDArray[np.intp]:
    lengths = np.bincount(interactions.user, minlength=interactions.n_users)
    return np.flatnonzero(lengths > MIN_HISTORY)


def _dataset(scenario: Scenario, data: str) -> Dataset:
    """The scenario's city, a CSV of check-ins, or a folder of MovieLens 100K."""
    settings, count = scenario.data, scenario.peers.count
    if settings.kind == "city" and not data:
        users = max(settings.users, count)
        if settings.people_per_town:
            return generate_towns(
                seed=settings.seed,
                n_users=users,
                n_places=max(settings.places, 3 * users),
                people_per_town=settings.people_per_town,
                days=settings.days,
                habits=settings.habits,
            )
        return generate_city(
            rng=np.random.default_rng(settings.seed),
            n_users=users,
            n_places=max(settings.places, 3 * users),
            days=settings.days,
            habits=settings.habits,
        )
    if not (data or settings.path):
        raise ConfigError(f"scenario {scenario.name!r} needs check-ins: name them with --data")
    path = Path(data or settings.path)
    _check_there(path, key="--data" if data else f"data.path of scenario {scenario.name!r}")
    return read_movielens_folder(path) if path.is_dir() else read_check_in_file(path).dataset


def _check_there(path: Path, *, key: str) -> None:
    """Refuse a path that leads nowhere, before anything starts.

    Raises:
        ConfigError: Names the key, the path, and the nearest name beside it.
    """
    if path.exists():
        return
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = closest(path.name, beside)
    hint = "name a CSV of check-ins" if near is None else f"did you mean {path.parent / near}?"
    raise ConfigError(f"{key}: there is no {path}; {hint}")


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
