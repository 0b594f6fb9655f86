"""Learners whose rounds run in step: what passes between them stays in arrays.

A simulation of gossip learning alone, without a network in between, needs no message objects: all
train, all speak, all listen. The numbers are those of ``train_together``, ``payloads_together`` and
``merge_together`` with one message for each who hears another, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.averaging import Heard, Inboxes, take_in
from p2prec.collaboration.in_place import Hearing, heard_in_place
from p2prec.collaboration.parameters import ParameterMethod, most_rows
from p2prec.collaboration.payload import ModelUpdate
from p2prec.collaboration.updates import Room, Said, say
from p2prec.draws import stream
from p2prec.errors import ConfigError
from p2prec.kernels import compiled
from p2prec.models.model import Searching
from p2prec.models.shelf import spans
from p2prec.models.stack import Stack
from p2prec.training.epoch import Examples, learn, mended
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
    """

    members: NDArray[np.int64]
    seats: NDArray[np.int64]
    pupils: NDArray[np.int64]
    examples: Examples | None


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
        self._room = Room()

    def round(self, round_: int, firsts: NDArray[np.int64], senders: NDArray[np.int64]) -> None:
        """All train, all speak, all listen.

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
        self._exchange(round_, firsts, senders)
        for learner in self._learners:
            learner.publish_snapshot()

    def said(self, round_: int) -> list[Said]:
        """What all would say now, of the learners ``spoken`` one by one."""
        self._sit()
        keys = stream(self._seeds, PUBLISH, round_)
        return [self._say(bench, np.arange(len(bench.members)), keys) for bench in self._benches]

    @property
    def spoken(self) -> NDArray[np.int64]:
        """Places in the cohort in the order in which ``said`` has its messages."""
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
                drawn = bench.examples.drawn(drawing[bench.members[bench.pupils]])
                group = self._group(bench, bench.pupils)
                learn(group, drawn, lessons=[()] * len(bench.pupils))
                mended(group)

    def _say(
        self,
        bench: _Bench,
        chosen: NDArray[np.int64],
        keys: NDArray[np.uint64],
        room: Room | None = None,
    ) -> Said:
        most = np.full(len(chosen), most_rows(self._options, self._model.width))
        return say(self._group(bench, chosen), most, keys[bench.members[chosen]], room=room)

    def _exchange(self, round_: int, firsts: NDArray[np.int64], senders: NDArray[np.int64]) -> None:
        benches, spoken = self._benches, self.spoken
        place_of = np.empty_like(spoken)
        place_of[spoken] = np.arange(len(spoken))
        counts = np.diff(firsts)[spoken]
        hearing = Hearing(
            firsts=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            senders=place_of[senders[spans(firsts[spoken], counts)]],
        )
        keys = stream(self._seeds, PUBLISH, round_)
        groups = [self._group(bench, np.arange(len(bench.members))) for bench in benches]
        if compiled() is None:
            said = self.said(round_)
            everything, order = Heard.said(said), None
            messages = _messages(round_, said)
        else:
            self._room.clear()
            everything, order = heard_in_place(
                groups,
                hearing,
                most_rows(self._options, self._model.width),
                lambda number, places: self._say(benches[number], places, keys, self._room),
            )
            messages = []
        dilution, hearsay = self._options["dilution"], int(self._options["max_hearsay"])
        # As the weights of so many senders are added up one by one.
        shares = 1.0 / (np.arange(counts.max(initial=0) + 1) + 1)
        listened = np.array([sum([share] * n) for n, share in enumerate(shares.tolist())])
        exact = np.repeat(shares[counts], counts)
        take_in(
            groups,
            Inboxes(
                firsts=hearing.firsts,
                heard=everything.take(hearing.senders),
                weights=exact.astype(np.float32),
                exact_weights=exact,
                own_weight=shares[counts].astype(np.float32),
                dilution=np.full(len(counts), dilution, np.float32),
                listened=listened[counts].astype(np.float32),
            ),
            max_hearsay=np.full(len(counts), hearsay),
            updates=[messages[i] for i in hearing.senders.tolist()] if messages else (),
            order=order,
        )


def _messages(round_: int, said: Sequence[Said]) -> list[ModelUpdate]:
    n = [len(part.counts) for part in said]
    return [
        update
        for part, m in zip(said, n, strict=True)
        for update in part.updates([round_] * m, [1] * m)
    ]
