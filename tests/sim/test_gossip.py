"""Peers out of each other's sight meet by shuffles alone; many lives in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lives import World

N, K = 40, 3


def only_one_is_common(i: int, j: int) -> bool:
    """Everybody sees peer 0, and it them; nobody else is seen."""
    return 0 in {i, j}


def two_rooms(i: int, j: int) -> bool:
    """Two pairs of rooms of two: who is in none, peer 0, sees all and is seen by all."""
    return 0 in {i, j} or (i - 1) // 2 == (j - 1) // 2


def next_in_line(i: int, j: int) -> bool:
    """Nobody knows more than those to the left and to the right."""
    return abs(i - j) == 1


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("sees", [only_one_is_common, two_rooms, next_in_line])
def test_peers_out_of_sight_become_neighbours_by_gossip(
    sees: Callable[[int, int], bool], loss: float
) -> None:
    world = World(N, seed=3, loss=loss, k=K, sees=sees)
    world.run(1_800.0)
    # Some hear of nobody since those who heard of them came first.
    assert sum(life.discovered["gossip"] > 0 for life in world.lives) > 0.9 * N
    assert all(len(life.neighbours) == K for life in world.lives)
    links = [(i, world.number(p)) for i, life in enumerate(world.lives) for p in life.neighbours]
    unseen = [(i, j) for i, j in links if not sees(i, j)]
    assert len(unseen) > len(links) / 3
    # They are neighbours in earnest: what the chosen learns goes to who chose it, where it has not
    # too many of them, as peer 0 has.
    follows = [f"id{i + 1}" in world.lives[j].followers for i, j in links]
    assert sum(follows) > (0.8 if loss == 0 else 0.6) * len(links)


def test_without_a_common_acquaintance_nobody_is_met() -> None:
    """What the others show comes from gossip and from nothing else."""
    world = World(N, seed=3, loss=0.0, k=K, sees=lambda i, j: i // 2 == j // 2)
    world.run(1_800.0)
    assert all(len(life.known) == 1 for life in world.lives)
