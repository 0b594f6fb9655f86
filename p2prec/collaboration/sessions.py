"""Sessions spread: what people did at one stretch, without a name and among made-up items.

Ours. In the manner of Gossple (Bertier et al., Middleware 2010), where profiles spread by gossip
without their owners' names, and of the desensitised sequences of DARD (arXiv 2401.13448), of which
no item is the owner's; here a session holds its owner's items, each beside its pseudo item:

    told(s)   = items of s and what stands beside them, ascending: no order, no times, no name
    message   = at most ``told`` sessions that this peer has not passed on yet, own and others'
                alike, and ``again`` of those that it has
    held      = the newest ``capacity`` sessions, at most a quarter of them first told by one sender

Each peer passes a session on once, to all who listen, so that it reaches everybody as a rumour does
(Demers et al., PODC 1987), and who tells of a session need not be whose it is. What is
held is the model (``p2prec.models.session_knn``): nothing is averaged, so that what many know
together is not lost in a mean. Sessions of one owner are not linked to each other, but for what the
first messages of a peer show. ``docs/threats.md`` has what an observer learns.

Measured: ``docs/results/films_evaluate.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.averaging import forget_hearsay
from p2prec.collaboration.method import (
    Amount,
    Amounts,
    Listener,
    Options,
    PlainMethod,
    Sends,
    Speaker,
    read_amounts,
)
from p2prec.collaboration.parameters import AVERAGING
from p2prec.collaboration.payload import Payload, SessionSet
from p2prec.draws import generator
from p2prec.errors import StoreError
from p2prec.limits import MAX_HELD_SESSIONS, MAX_SESSION_ITEMS, MAX_SESSIONS
from p2prec.models.session_knn import SessionKNN
from p2prec.models.sessions import (
    Sessions,
    Told,
    are_sessions,
    session_of,
    sessions_of,
    stretches,
)
from p2prec.models.stack import Stack
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport

_AMOUNTS: Final[Amounts] = {
    "told": Amount(128.0, least=1, most=MAX_SESSIONS // 2),
    "again": Amount(16.0, least=0, most=MAX_SESSIONS // 2),
    "capacity": Amount(8_192.0, least=1, most=MAX_HELD_SESSIONS),
    "max_hearsay": AVERAGING["max_hearsay"],
}
_OF_ONE_SENDER = 4  # nobody is the first to tell of more than one of so many that are held
_STATE = (
    "sessions_items", "sessions_lengths", "sessions_passed", "sessions_own", "sessions_until",
)  # fmt: skip


class SessionGossip(PlainMethod):
    """Sessions of many, unlinked and among made-up items, are passed on by everybody."""

    __slots__ = ("_held", "_options", "_own", "_passed", "_until")
    teaches = False
    sends: Sends = "sessions"
    table: ClassVar[str | None] = None
    family: ClassVar[str | None] = SessionKNN.family
    amounts: ClassVar[Amounts] = _AMOUNTS

    def __init__(self, options: Options) -> None:
        self._options = read_amounts(options, self.amounts)
        self._held: dict[Told, str] = {}  # who told of it first; the newest behind
        self._own: dict[Told, None] = {}  # apart, since own sessions must not vote
        self._passed: set[Told] = set()
        self._until = 0  # interactions that are in own sessions

    @property
    def capacity(self) -> int:
        """Sessions of others that are held, at most."""
        return int(self._options["capacity"])

    @classmethod
    def publish_together(
        cls, methods: Sequence[Self], speakers: Sequence[Speaker]
    ) -> list[Sequence[Payload]]:
        """What was not passed on yet, and some of what was."""
        return [method.publish(s) for method, s in zip(methods, speakers, strict=True)]

    @classmethod
    def merge_together(
        cls, methods: Sequence[Self], listeners: Sequence[Listener]
    ) -> list[MergeReport]:
        """Hold what is new."""
        return [method.merge(listener) for method, listener in zip(methods, listeners, strict=True)]

    def publish(self, speaker: Speaker) -> Sequence[Payload]:
        """What one peer says."""
        rng, passed = generator(speaker.key), self._passed
        self._tell_own(speaker)
        known = [*self._held, *self._own]
        fresh = [told for told in known if told not in passed]
        known = [told for told in known if told in passed]
        chosen = [*_some(fresh, int(self._options["told"]), rng)]
        chosen += _some(known, int(self._options["again"]), rng)
        if not chosen:
            return ()
        mixed = _some(chosen, len(chosen), rng)  # what is told again tells nothing by its place
        return (SessionSet(round=speaker.round, sessions=tuple(mixed)),)

    def left(self, payload: Payload) -> None:
        """Its sessions have been passed on."""
        if isinstance(payload, SessionSet):
            self._passed.update(payload.sessions)

    def merge(self, listener: Listener) -> MergeReport:
        """What one peer hears."""
        rejected: dict[str, str] = {}
        new: Counter[str] = Counter()
        most, by_sender = max(1, self.capacity // _OF_ONE_SENDER), Counter(self._held.values())
        for item in listener.received:
            if not isinstance(item.payload, SessionSet):
                rejected[item.sender] = "no_sessions"
                continue
            new[item.sender] += 1  # who tells of what is known confirms it
            for told in item.payload.sessions:
                if told in self._held or told in self._own:
                    continue
                if by_sender[item.sender] >= most:
                    rejected[item.sender] = "too_many_sessions"
                    break
                self._held[told] = item.sender
                by_sender[item.sender] += 1
                new[item.sender] += 1
        if not new:
            return MergeReport(weights={}, rejected=rejected)
        for told in list(self._held)[: max(0, len(self._held) - self.capacity)]:
            del self._held[told]
        self._passed &= self._held.keys() | self._own.keys()
        self._learn(listener.knowledge)
        total = sum(new.values())
        weights = {sender: n / total for sender, n in new.items() if sender not in rejected}
        return MergeReport(weights=weights, rejected=rejected)

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """All sessions, and which of them were passed on; who told of them is not kept."""
        del knowledge
        both = [*self._held, *self._own]
        sessions = Sessions(tuple(both))
        arrays: tuple[NDArray[np.generic], ...] = (
            sessions.items,
            sessions.lengths.astype(np.uint8),
            np.array([told in self._passed for told in both], np.bool_),
            np.array(len(self._own), np.int64),
            np.array(self._until, np.int64),
        )
        return dict(zip(_STATE, arrays, strict=True))

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """Go on with them.

        Raises:
            StoreError: They belong to another realm, or are damaged.
        """
        self._held, self._own, self._passed, self._until = {}, {}, set(), 0
        if _STATE[0] not in state:
            return
        try:
            items = np.asarray(state[_STATE[0]], np.int64)
            lengths = np.asarray(state[_STATE[1]], np.uint8)
            passed = np.asarray(state[_STATE[2]], np.bool_).tolist()
            n_own, until = (int(np.asarray(state[name]).item()) for name in _STATE[3:])
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(f"what was stored of sessions is not whole: {error}") from None
        sound = are_sessions(items, lengths, len(knowledge.catalogue))
        if not (
            sound
            and items.min(initial=0) >= 0
            and len(passed) == len(lengths)
            and 0 <= n_own <= len(lengths)
            and until >= 0
        ):
            raise StoreError("what was stored of sessions belongs to another realm, or is damaged")
        both = sessions_of(items.astype("<u4").tobytes(), lengths)
        n_held = len(both) - n_own
        self._held, self._own = dict.fromkeys(both[:n_held], ""), dict.fromkeys(both[n_held:])
        self._passed = {told for told, was in zip(both, passed, strict=True) if was}
        self._until = until
        knowledge.sessions = Sessions(tuple(self._held))

    def _tell_own(self, speaker: Speaker) -> None:
        """Own sessions of which all items may be named; before anything was heard, one of some."""
        model, history = speaker.knowledge.model, speaker.knowledge.timeline.item
        assert isinstance(model, SessionKNN)  # noqa: S101 - others are refused with their settings
        named = speaker.shown()
        for part in stretches(history, model.size, since=self._until):
            if not np.isin(part, named).all():
                break
            self._until += len(part)
            self._add_own(part, speaker)
        if not self._held and not self._own:
            self._add_own(history[np.isin(history, named)][: model.size], speaker)

    def _add_own(self, part: NDArray[np.integer], speaker: Speaker) -> None:
        items = speaker.among(part)
        if len(items) > MAX_SESSION_ITEMS:  # many pseudo items beside each place
            half = len(part) // 2
            self._add_own(part[:half], speaker)
            self._add_own(part[half:], speaker)
        elif len(items):
            self._own[session_of(items)] = None

    def _learn(self, knowledge: Knowledge) -> None:
        """What is held votes from now on, and says what is popular."""
        sessions = knowledge.sessions = Sessions(tuple(self._held))
        popular = sessions.counts(len(knowledge.catalogue)) / max(1, len(sessions))
        table = knowledge.table
        table.touch(np.flatnonzero(popular))
        table.others[:] = popular[table.rows]
        most = np.array([self._options["max_hearsay"]], np.int64)
        forget_hearsay(Stack(table.shelf, np.array([table.seat])), most)


def _some(of: Sequence[Told], most: int, rng: np.random.Generator) -> list[Told]:
    """At most so many, in any order."""
    return [of[i] for i in rng.permutation(len(of))[:most].tolist()]
