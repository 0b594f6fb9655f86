"""Learners whose rounds run in step: what passes between them stays in arrays.

A simulation of gossip learning alone, without a network in between, needs no message objects: all
train, all speak, all listen. The numbers are those of ``train_together``, ``payloads_together`` and
``merge_together`` with one message for each who hears another, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import is_

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.averaging import Heard, Inboxes, take_in
from p2prec.collaboration.parameters import ParameterMethod
from p2prec.collaboration.payload import ModelUpdate
from p2prec.collaboration.updates import Room, Said, say
from p2prec.draws import stream
from p2prec.errors import ConfigError
from p2prec.kernels import compiled
from p2prec.models.model import Searching
from p2prec.models.stack import Stack
from p2prec.training.epoch import Examples, learn
from p2prec.training.knowledge import Group, shelved
from p2prec.training.local import PUBLISH, TRAIN, LocalLearner


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """Learners that sit on one shelf.

    Attributes:
        members: Shape ``(n,)``, their places in the cohort.
        seats: Shape ``(n,)``.
        pupils: Shape ``(n_pupils,)``, which of them have something to learn from, those with the
            most examples first.
        examples: Of the pupils.
        room: For what they say.
    """

    members: NDArray[np.int64]
    seats: NDArray[np.int64]
    pupils: NDArray[np.int64]
    examples: Examples | None
    room: Room = field(default_factory=Room)


class Cohort:
    """Learners of one model and one setting.

    They may be used one by one as well, between two rounds.

    Args:
        learners: Different ones. Their method averages with equal weights, and nothing is added to
            or taken from what they say.

    Raises:
        ConfigError: They differ, or do not learn in this way.
    """

    def __init__(self, learners: Sequence[LocalLearner]) -> None:
        first = learners[0]
        method, knowledge = first.collaboration, first.knowledge
        if (
            not isinstance(method, ParameterMethod)
            or type(method).mix is not ParameterMethod.mix
            or first.protection.config.method != "none"
        ):
            raise ConfigError("a cohort averages with equal weights and without protection")
        alike = all(
            learner.knowledge.model is knowledge.model
            and learner.knowledge.config is knowledge.config
            and learner.config == first.config
            for learner in learners
        )
        if not alike:
            raise ConfigError("the learners of a cohort have one model and one setting")
        self._learners = learners
        self._model, self._config, self._options = knowledge.model, knowledge.config, method.options
        self._searches = isinstance(self._model, Searching)
        self._seeds = np.array([learner.seed for learner in learners], np.uint64)
        self._held: list[object] = []  # tables and histories that the benches are made of
        self._benches: list[_Bench] = []

    def round(
        self, round_: int, firsts: NDArray[np.int64], senders: NDArray[np.int64]
    ) -> list[Said]:
        """All train, all speak, all listen; what was said, of the learners ``spoken`` one by one.

        It is said in the same memory each time: what one round returns is gone with the next.

        Args:
            round_: Of all of them.
            firsts: Shape ``(n + 1,)``, where in ``senders`` those begin whom each hears.
            senders: Places in the cohort, each at most once for each who hears it.
        """
        self._sit()
        self._train(round_)
        if self._searches:
            for learner in self._learners:
                learner.knowledge.search(round_)
        said = self._speak(round_)
        self._listen(round_, said, firsts, senders)
        for learner in self._learners:
            learner.publish_snapshot()
        return said

    @property
    def spoken(self) -> NDArray[np.int64]:
        """Places in the cohort in the order in which the last round has its messages."""
        return np.concatenate([bench.members for bench in self._benches])

    def _sit(self) -> None:
        """Find everybody's seat and examples, where they are not those of the last round."""
        peers = [learner.knowledge for learner in self._learners]
        histories = [p.history for p in peers]
        held: list[object] = [*(p.table for p in peers), *histories]
        if len(held) == len(self._held) and all(map(is_, held, self._held)):
            return
        self._benches = []
        for members in shelved(peers, range(len(peers))):
            n = np.array([peers[i].n_examples for i in members])
            pupils = np.argsort(-n, kind="stable")[: np.count_nonzero(n)]
            learning = [peers[members[i]] for i in pupils]
            self._benches.append(
                _Bench(
                    members=np.array(members),
                    seats=np.array([peers[i].table.seat for i in members]),
                    pupils=pupils,
                    examples=Examples.of(learning) if learning else None,
                )
            )
        self._held = [*(p.table for p in peers), *histories]

    def _group(self, bench: _Bench, chosen: NDArray[np.int64]) -> Group:
        shelf = self._learners[int(bench.members[0])].knowledge.table.shelf
        return Group(
            members=bench.members[chosen].tolist(),
            model=self._model,
            config=self._config,
            stack=Stack(shelf, bench.seats[chosen]),
        )

    def _train(self, round_: int) -> None:
        keys = stream(self._seeds, TRAIN, round_)
        for epoch in range(self._config.epochs):
            drawing = stream(keys, epoch)
            for bench in self._benches:
                if bench.examples is None:
                    continue
                order = bench.examples.order(drawing[bench.members[bench.pupils]])
                group = self._group(bench, bench.pupils)
                learn(group, bench.examples, order, lessons=[()] * len(bench.pupils))

    def _speak(self, round_: int) -> list[Said]:
        keys = stream(self._seeds, PUBLISH, round_)
        most = int(self._options["max_rows"])
        return [
            say(
                self._group(bench, np.arange(len(bench.members))),
                np.full(len(bench.members), most),
                keys[bench.members],
                room=bench.room,
            )
            for bench in self._benches
        ]

    def _listen(
        self,
        round_: int,
        said: list[Said],
        firsts: NDArray[np.int64],
        senders: NDArray[np.int64],
    ) -> None:
        heard = Heard.said(said)
        messages = [] if compiled() is not None else _messages(round_, said)
        place_of = np.empty(len(self._learners), np.int64)
        place_of[self.spoken] = np.arange(len(self._learners))
        counts = np.diff(firsts)
        # As the weights of so many senders are added up one by one.
        shares = 1.0 / (np.arange(counts.max(initial=0) + 1) + 1)
        listened = np.array([sum([share] * n) for n, share in enumerate(shares.tolist())])
        dilution = np.float32(self._options["dilution"])
        hearsay = int(self._options["max_hearsay"])
        for bench in self._benches:
            listening = np.flatnonzero(counts[bench.members])
            if not len(listening):
                continue
            members = bench.members[listening]
            n = counts[members]
            arrows = np.concatenate([senders[firsts[i] : firsts[i + 1]] for i in members.tolist()])
            numbers = place_of[arrows]
            inboxes = Inboxes(
                firsts=np.concatenate([np.zeros(1, np.int64), np.cumsum(n)]),
                heard=heard.take(numbers),
                weights=np.repeat(shares[n], n).astype(np.float32),
                exact_weights=np.repeat(shares[n], n),
                own_weight=shares[n].astype(np.float32),
                dilution=np.full(len(n), dilution),
                listened=listened[n].astype(np.float32),
            )
            take_in(
                self._group(bench, listening),
                inboxes,
                max_hearsay=np.full(len(n), hearsay),
                updates=[messages[i] for i in numbers.tolist()] if messages else (),
            )


def _messages(round_: int, said: Sequence[Said]) -> list[ModelUpdate]:
    n = [len(part.counts) for part in said]
    return [
        update
        for part, m in zip(said, n, strict=True)
        for update in part.updates([round_] * m, [1] * m)
    ]
