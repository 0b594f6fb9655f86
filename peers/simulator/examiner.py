"""Measures the peers of a shard: validation after rounds, the test interaction once."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from p2prec.evaluation.answers import Answer
from p2prec.training.local import LocalLearner
from peers.asking import asked_at, rank
from peers.simulator.peer import SimulatedPeer
from peers.simulator.world import World

_SIZES_KEPT = 4_096  # distinct sizes of messages
T = TypeVar("T")


class Examiner:
    """What the peers of one shard have reached.

    Args:
        world: They live in.

    Attributes:
        seen: By round and peer: rank of the validation item, whether it is new to its owner, and
            the virtual time.
        sizes: By kind of payload, how many messages had which size.
        digests: By peer, of what it has learned.
        answers: By peer, where whole answers are kept.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen: dict[int, dict[int, tuple[int, bool, float]]] = defaultdict(dict)
        self.sizes: dict[str, Counter[int]] = defaultdict(Counter)
        self.digests: dict[int, bytes] = {}
        self.answers: dict[int, Answer] = {}

    def size(self, kind: str, n_bytes: int) -> None:
        """Note the size of a sealed payload."""
        sizes = self.sizes[kind]
        if n_bytes in sizes or len(sizes) < _SIZES_KEPT:
            sizes[n_bytes] += 1

    def round(self, peer: SimulatedPeer, round_: int, time_s: float) -> None:
        """Look at the validation interaction after a round, at this virtual time."""
        if not self._world.settings.validate or peer.index not in self._world.evaluated:
            return
        split = self._world.split(peer.index)
        if peer.learner is not None and len(split.validation):
            found = rank(peer.learner, split.validation, repeats=self._world.repeats)
            self.seen[round_][peer.index] = (*found, time_s)

    def last(self, peer: SimulatedPeer) -> None:
        """The test interaction is looked at once, with the validation one known."""
        learner = peer.learner
        if learner is None:
            return
        self.digests[peer.index] = _digest(learner)
        peer.result = (0, False)
        if peer.index not in self._world.evaluated:
            return
        split = self._world.split(peer.index)
        if len(split.validation):
            learner.add(self._world.realm.histories[peer.index].head(-1))
        if not self._world.settings.answers or not len(split.test):
            peer.result = rank(learner, split.test, repeats=self._world.repeats)
            return
        examination = self._world.examination
        answer = examination.answer(peer.index, learner.scores(asked_at(split.test)))
        self.answers[peer.index] = answer
        peer.result = (answer.rank, examination.questions[peer.index].is_new)

    def of(self, members: Sequence[int]) -> dict[str, Any]:
        """What was seen of some peers, for ``restore``."""
        return {
            "seen": {r: _those(members, seen) for r, seen in self.seen.items()},
            "digests": _those(members, self.digests),
            "answers": _those(members, self.answers),
        }

    def restore(self, seen: Mapping[str, Any]) -> None:
        """Go on from what ``of`` gave."""
        for round_, of_round in seen["seen"].items():
            self.seen[round_].update(of_round)
        self.digests.update(seen["digests"])
        self.answers.update(seen["answers"])


def _those(members: Sequence[int], found: Mapping[int, T]) -> dict[int, T]:
    return {i: found[i] for i in members if i in found}


def _digest(learner: LocalLearner) -> bytes:
    """Hash of everything that a learner has learned."""
    sha = hashlib.sha256()
    for name, value in sorted(learner.state().items()):
        sha.update(f"{name}/{value.dtype.str}/{value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.digest()
