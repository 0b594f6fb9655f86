"""Neighbour selection by name: ``geography``, ``category``, ``both``, ``random``, ``social``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A peer that could become a neighbour.

    Attributes:
        peer_id: Who.
        geographic: Similarity of activity areas, 0 to 1.
        semantic: Similarity of category preferences, 0 to 1.
        is_friend: Whether the owners are friends.
    """

    peer_id: str
    geographic: float
    semantic: float
    is_friend: bool = False


def _geography(candidate: Candidate) -> float:
    """Those whose area is nearest."""
    return candidate.geographic


def _category(candidate: Candidate) -> float:
    """Those who prefer the same categories."""
    return candidate.semantic


def _both(candidate: Candidate) -> float:
    """By area and categories together."""
    return candidate.geographic + candidate.semantic


def _social(candidate: Candidate) -> float:
    """Friends first, then by area and categories together."""
    # Friends first; the others by both signals, so that a peer without friends is not alone.
    return (2.0 + _both(candidate)) if candidate.is_friend else _both(candidate)


SELECTIONS: dict[str, Callable[[Candidate], float] | None] = {
    "geography": _geography,
    "category": _category,
    "both": _both,
    "social": _social,
    "random": None,
}


def choose_neighbours(
    candidates: Sequence[Candidate],
    *,
    selection: str,
    k: int,
    geographic_threshold: float,
    semantic_threshold: float,
    random_share: float,
    rng: np.random.Generator,
) -> list[str]:
    """Ids of at most ``k`` candidates, best first, then those drawn at random.

    A candidate below both thresholds is taken only at random: being near in one sense is enough
    (DCLR: neighbours are geographically *or* semantically similar).
    """
    score = SELECTIONS[selection]
    ordered = [candidates[i] for i in rng.permutation(len(candidates))]
    if score is None:
        return [c.peer_id for c in ordered[:k]]
    near = [
        c
        for c in ordered
        if c.is_friend or c.geographic >= geographic_threshold or c.semantic >= semantic_threshold
    ]
    near.sort(key=score, reverse=True)
    wanted = k - round(k * random_share)
    chosen = [c.peer_id for c in near[:wanted]]
    rest = [c.peer_id for c in ordered if c.peer_id not in chosen]
    return chosen + rest[: k - len(chosen)]
