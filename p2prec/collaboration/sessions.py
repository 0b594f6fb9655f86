"""Sessions spread: what people did at one stretch goes around, without a name and among made-up items.

Ours. In the manner of Gossple (Bertier et al., Middleware 2010), where profiles spread by gossip
without their owners' names, and of the desensitised sequences of DARD (arXiv 2401.13448), of which
no item is the owner's; here a session holds its owner's items, each beside its pseudo item:

    told(s)   = named items of s and what stands beside them, ascending: no order, no times, no name
    message   = at most ``told`` sessions that this peer has not passed on yet, own and others' alike,
                and ``again`` of those that it has
    held      = the newest ``capacity`` sessions, at most a quarter of them first told by one sender

Each peer passes a session on once, to all who listen, so that it reaches everybody as a rumour does
(Demers et al., PODC 1987, section 1.3), and who tells of a session need not be whose it is. What is
held is the model (``p2prec.models.session_knn``): nothing is averaged, so that what many know
together is not lost in a mean. Sessions of one owner are not linked to each other, but for what the
first messages of a peer show. ``docs/threats.md`` has what an observer learns.

Measured: ``docs/results/films_evaluate.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

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
from p2prec.collaboration.payload import Payload, SessionSet, are_sessions
from p2prec.draws import generator
from p2prec.errors import StoreError
from p2prec.limits import MAX_HELD_SESSIONS, MAX_SESSION_ITEMS, MAX_SESSIONS
from p2prec.models.session_knn import SessionKNN
from p2prec.models.sessions import Sessions, stretches
from p2prec.training.knowledge import Knowledge
from p2prec.training.learner import MergeReport

_AMOUNTS: Final[Amounts] = {
    "told": Amount(128.0, least=1, most=MAX_SESSIONS // 2),
    "again": Amount(16.0, least=0, most=MAX_SESSIONS // 2),
    "capacity": Amount(8_192.0, least=1, most=MAX_HELD_SESSIONS),
}
_OF_ONE_SENDER = 4  # nobody is the first to tell of more than one of so many that are held
_STATE = (
    "sessions_items", "sessions_lengths", "sessions_passed", "sessions_own", "sessions_until",
)  # fmt: skip

Told = bytes
"""Items of a session as 32-bit numbers: what is equal is the same session."""


class SessionGossip(PlainMethod):
    """Sessions of many, unlinked and among made-up items, are passed on by everybody."""

    __slots__ = ("_first_told", "_held", "_options", "_own", "_until")
    teaches = False
    sends: Sends = "sessions"
    table: ClassVar[str | None] = None
    family: ClassVar[str | None] = SessionKNN.family
    amounts: ClassVar[Amounts] = _AMOUNTS

    def __init__(self, options: Options) -> None:
        self._options = read_amounts(options, self.amounts)
        # Whether each was passed on; oldest first. Own ones are apart: they must not vote.
        self._held: dict[Told, bool] = {}
        self._own: dict[Told, bool] = {}
        self._first_told: dict[Told, str] = {}  # by whom, of those that are held
        self._until = 0  # interactions that are in own sessions

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
        rng = generator(speaker.key)
        self._tell_own(speaker)
        everything = {**self._held, **self._own}
        fresh = [told for told, passed in everything.items() if not passed]
        known = [told for told, passed in everything.items() if passed]
        chosen = [
            some[i]
            for some, most in ((fresh, "told"), (known, "again"))
            for i in rng.permutation(len(some))[: int(self._options[most])].tolist()
        ]
        if not chosen:
            return ()
        for told in chosen:
            (self._own if told in self._own else self._held)[told] = True
        mixed = [chosen[i] for i in rng.permutation(len(chosen))]
        lengths = np.array([len(told) // 4 for told in mixed], np.uint8)
        items = np.frombuffer(b"".join(mixed), "<u4").astype(np.uint32)
        return (SessionSet(round=speaker.round, items=items, lengths=lengths),)

    def merge(self, listener: Listener) -> MergeReport:
        """What one peer hears."""
        rejected: dict[str, str] = {}
        new: Counter[str] = Counter()
        most = max(1, int(self._options["capacity"]) // _OF_ONE_SENDER)
        by_sender = Counter(self._first_told.values())
        for item in listener.received:
            if not isinstance(item.payload, SessionSet):
                rejected[item.sender] = "no_sessions"
                continue
            new[item.sender] += 1  # who tells what is known already confirms it
            for told in _told(item.payload):
                if told in self._held or told in self._own:
                    continue
                if by_sender[item.sender] >= most:
                    rejected[item.sender] = "too_many_sessions"
                    break
                self._held[told] = False
                self._first_told[told] = item.sender
                by_sender[item.sender] += 1
                new[item.sender] += 1
        if not new:
            return MergeReport(weights={}, rejected=rejected)
        for told in list(self._held)[: max(0, len(self._held) - int(self._options["capacity"]))]:
            del self._held[told], self._first_told[told]
        self._learn(listener.knowledge)
        total = sum(new.values())
        return MergeReport(weights={s: n / total for s, n in new.items()}, rejected=rejected)

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """All sessions, and which of them were passed on."""
        del knowledge
        both = [*self._held.items(), *self._own.items()]
        items = np.frombuffer(b"".join(told for told, _ in both), "<u4").astype(np.uint32)
        arrays: tuple[NDArray[np.generic], ...] = (
            items,
            np.array([len(told) // 4 for told, _ in both], np.uint8),
            np.array([passed for _, passed in both], np.bool_),
            np.array(len(self._own), np.int64),
            np.array(self._until, np.int64),
        )
        return dict(zip(_STATE, arrays, strict=True))

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """Go on with them; who told of what is not kept.

        Raises:
            StoreError: They belong to another realm, or are damaged.
        """
        self._held, self._own, self._first_told, self._until = {}, {}, {}, 0
        if _STATE[0] not in state:
            return
        try:
            items = np.asarray(state[_STATE[0]], np.uint32)
            lengths = np.asarray(state[_STATE[1]], np.uint8)
            passed = np.asarray(state[_STATE[2]], np.bool_).tolist()
            n_own, until = (int(np.asarray(state[name]).item()) for name in _STATE[3:])
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(f"what was stored of sessions is not whole: {error}") from None
        if not are_sessions(items, lengths, len(knowledge.catalogue)) or not (
            len(passed) == len(lengths) and 0 <= n_own <= len(lengths) and until >= 0
        ):
            raise StoreError("what was stored of sessions belongs to another realm, or is damaged")
        both = list(zip(_split(items, lengths), passed, strict=True))
        self._held = dict(both[: len(both) - n_own])
        self._own, self._until = dict(both[len(both) - n_own :]), until
        self._first_told = dict.fromkeys(self._held, "")
        self._gather(knowledge)

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
            self._own.setdefault(items.astype("<u4").tobytes(), False)

    def _learn(self, knowledge: Knowledge) -> None:
        """What is held votes from now on, and says what is popular."""
        self._gather(knowledge)
        sessions = knowledge.sessions
        popular = sessions.counts(len(knowledge.catalogue)) / max(1, len(sessions))
        table = knowledge.table
        table.touch(np.flatnonzero(popular))
        table.others[:] = popular[table.rows]

    def _gather(self, knowledge: Knowledge) -> None:
        joined = b"".join(self._held)
        knowledge.sessions = Sessions(
            items=np.frombuffer(joined, "<u4").astype(np.int32),
            lengths=np.array([len(told) // 4 for told in self._held], np.int64),
        )


def _told(payload: SessionSet) -> Iterable[Told]:
    return _split(payload.items, payload.lengths)


def _split(items: NDArray[np.uint32], lengths: NDArray[np.uint8]) -> list[Told]:
    raw, ends = items.astype("<u4").tobytes(), np.cumsum(4 * lengths.astype(np.int64)).tolist()
    return [raw[start:end] for start, end in zip([0, *ends], ends, strict=False)]
