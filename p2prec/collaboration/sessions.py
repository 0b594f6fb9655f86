"""Sessions spread: what people did at one stretch, without a name and among made-up items.

Ours. In the manner of Gossple (Bertier et al., Middleware 2010), where profiles spread by gossip
without their owners' names, and of the desensitised sequences of DARD (arXiv 2401.13448), of which
no item is the owner's; here a session holds items of its owner, each beside its pseudo item:

    told(s)   = items of s and what stands beside them, ascending: no order, no times, no name
    message   = at most ``told`` sessions that this peer has not passed on yet, own and others'
                alike, and ``again`` of those that it has, for whoever comes later
    held      = the newest ``capacity`` sessions, at most a quarter of them first told by one sender

Each peer passes a session on once, to all who listen, so that it reaches everybody as a rumour does
(Demers et al., PODC 1987), and who tells of a session need not be whose it is. What is held is the
model (``p2prec.models.session_knn``): nothing is averaged, so that what many know together is not
lost in a mean. An owner tells of each item once, and of none without a made-up one beside it. What
an observer learns from sessions is in ``docs/threats.md``.

Measured: ``docs/results/films_evaluate.md``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from p2prec.collaboration.averaging import forget_hearsay
from p2prec.collaboration.method import (
    Amount,
    Amounts,
    Listener,
    Options,
    PeerByPeer,
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
    "again": Amount(32.0, least=0, most=MAX_SESSIONS // 2),
    "capacity": Amount(8_192.0, least=1, most=MAX_HELD_SESSIONS),
    "max_hearsay": AVERAGING["max_hearsay"],
}
_OF_ONE_TELLER = 4  # of what is held nobody was the first to tell of more than one in so many
_OWN = 0  # the teller of own sessions
_STATE = (
    "sessions_items", "sessions_lengths", "sessions_tellers", "sessions_passed",
    "sessions_own_items", "sessions_own_lengths",
)  # fmt: skip


class SessionGossip(PeerByPeer):
    """Sessions of many, without names and among made-up items, are passed on by everybody."""

    __slots__ = ("_by_teller", "_held", "_options", "_own", "_passed")
    teaches = False
    sends: Sends = "sessions"
    table: ClassVar[str | None] = None
    family: ClassVar[str | None] = SessionKNN.family
    amounts: ClassVar[Amounts] = _AMOUNTS

    def __init__(self, options: Options) -> None:
        self._options = read_amounts(options, self.amounts)
        self._begin()

    def _begin(self) -> None:
        # Own sessions come and go as all others do: what were told longer would be seen to be own.
        self._held: dict[Told, int] = {}  # who told of it first; the newest behind
        self._by_teller: dict[int, dict[Told, None]] = {}  # the same, by teller
        self._own: set[Told] = set()  # all that there ever were: they must not vote
        self._passed: set[Told] = set()

    @property
    def capacity(self) -> int:
        """Sessions that are held, at most."""
        return int(self._options["capacity"])

    @property
    def _quota(self) -> int:
        """Sessions that one peer may be the first to tell of."""
        return max(1, self.capacity // _OF_ONE_TELLER)

    def publish(self, speaker: Speaker) -> Sequence[Payload]:
        """What one peer says."""
        self._tell_own(speaker)
        rng, passed = generator(speaker.key), self._passed.copy()
        fresh = [told for told in self._held if told not in passed]
        known = [told for told in self._held if told in passed]
        chosen = _some(fresh, int(self._options["told"]), rng)
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
        for item in listener.received:
            if not isinstance(item.payload, SessionSet):
                rejected[item.sender] = "no_sessions"
                continue
            new[item.sender] += 1  # who tells of what is known confirms it
            teller = _number_of(item.sender)
            for told in item.payload.sessions:
                if told not in self._held:
                    self._hold(told, teller)
                    new[item.sender] += told not in self._own
        if not new:
            return MergeReport(weights={}, rejected=rejected)
        self._passed &= self._held.keys()
        self._learn(listener.knowledge)
        total = sum(new.values())
        return MergeReport(weights={s: n / total for s, n in new.items()}, rejected=rejected)

    def state(self, knowledge: Knowledge) -> dict[str, NDArray[np.generic]]:
        """All sessions, by whom they were told, and which of them were passed on."""
        del knowledge
        held, own, passed = self._held.copy(), self._own.copy(), self._passed
        sessions, ours = Sessions(tuple(held)), Sessions(tuple(sorted(own)))
        arrays: tuple[NDArray[np.generic], ...] = (
            sessions.items,
            sessions.lengths.astype(np.uint8),
            np.array(list(held.values()), np.int64),
            np.array([told in passed for told in held], np.bool_),
            ours.items,
            ours.lengths.astype(np.uint8),
        )
        return dict(zip(_STATE, arrays, strict=True))

    def restore(self, state: Mapping[str, NDArray[np.generic]], knowledge: Knowledge) -> None:
        """Go on with them.

        Raises:
            StoreError: They belong to another realm, or are damaged.
        """
        self._begin()
        if _STATE[0] not in state:
            return
        try:
            stored = [np.asarray(state[name]) for name in _STATE]
            items, lengths, tellers, passed, own_items, own_lengths = stored
            both = _stored(items, lengths, knowledge), _stored(own_items, own_lengths, knowledge)
            _check(fits=tellers.shape == passed.shape == lengths.shape)
            _check(fits=len(set(both[0])) == len(both[0]) and tellers.dtype.kind in "iu")
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise StoreError(f"what was stored of sessions is damaged: {error}") from None
        self._own = set(both[1])
        for told, teller in zip(both[0], tellers.tolist(), strict=True):
            self._hold(told, int(teller))
        told_before = zip(both[0], passed.tolist(), strict=True)
        self._passed = {told for told, was in told_before if was} & self._held.keys()
        knowledge.sessions = self._voting()

    def _hold(self, told: Told, teller: int) -> None:
        """One more, in the place of an older one of its teller, or of anybody's."""
        of_teller = self._by_teller.setdefault(teller, {})
        self._held[told], of_teller[told] = teller, None
        oldest = None
        if len(of_teller) > self._quota:
            oldest = next(iter(of_teller))
        elif len(self._held) > self.capacity:
            oldest = next(iter(self._held))
        if oldest is not None:
            gone = self._held.pop(oldest)
            del self._by_teller[gone][oldest]
            if not self._by_teller[gone]:  # tellers come and go without number
                del self._by_teller[gone]

    def _tell_own(self, speaker: Speaker) -> None:
        """Own sessions of which all items may be named; as long as nobody was heard, a part of one.

        An item is told of once: sessions that share items would be seen to be of one owner.
        """
        model, timeline = speaker.knowledge.model, speaker.knowledge.timeline
        assert isinstance(model, SessionKNN)  # noqa: S101 - others are refused with their settings
        items = timeline.item[timeline.is_new]
        before = Sessions(tuple(self._own)).items  # made-up items among them
        waiting = ~np.isin(items, speaker.shown())
        told_now = np.isin(items, speaker.among(items)) & ~np.isin(items, before)
        end = int(waiting.argmax()) if waiting.any() else len(items)  # from the beginning on
        parts = stretches(items[:end][told_now[:end]], model.size)
        if waiting.any():  # the last one will yet become longer
            parts = [part for part in parts if len(part) == model.size]
        if not self._held.keys() - self._own:  # whose these are is seen
            few = items[:end][told_now[:end]][: model.size]
            parts = [few] if not self._held else []
        # What has to go before it has left would never be told.
        leaving = sum(told not in self._passed for told in self._by_teller.get(_OWN, ()))
        for part in parts[: max(self._quota - leaving, 0)]:
            self._add_own(part, speaker)

    def _add_own(self, part: NDArray[np.integer], speaker: Speaker) -> None:
        items = speaker.among(part)
        if len(items) > MAX_SESSION_ITEMS:  # many pseudo items beside each place
            half = len(part) // 2
            self._add_own(part[:half], speaker)
            self._add_own(part[half:], speaker)
        elif len(items):
            told = session_of(items)
            self._own.add(told)
            if told not in self._held:
                self._hold(told, _OWN)

    def _learn(self, knowledge: Knowledge) -> None:
        """What is held votes from now on, and says what is popular."""
        sessions = knowledge.sessions = self._voting()
        popular = sessions.counts(len(knowledge.catalogue)) / max(1, len(sessions))
        table = knowledge.table
        table.touch(np.flatnonzero(popular))
        table.others[:] = popular[table.rows]
        most = np.array([self._options["max_hearsay"]], np.int64)
        forget_hearsay(Stack(table.shelf, np.array([table.seat])), most)

    def _voting(self) -> Sessions:
        own = self._own
        return Sessions(tuple(told for told in self._held if told not in own))


def _number_of(sender: str) -> int:
    """Who told of a session, in eight bytes; a peer counts for itself under another number."""
    digest = hashlib.blake2b(sender.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _stored(
    items: NDArray[np.generic], lengths: NDArray[np.generic], knowledge: Knowledge
) -> list[Told]:
    numbers, counts = np.asarray(items, np.int64), np.asarray(lengths, np.uint8)
    _check(fits=numbers.ndim == counts.ndim == 1 and numbers.min(initial=0) >= 0)
    _check(fits=are_sessions(numbers, counts, len(knowledge.catalogue)))
    return sessions_of(numbers.astype("<u4").tobytes(), counts)


def _check(*, fits: bool) -> None:
    if not fits:
        raise ValueError("its parts do not fit each other, or belong to another realm")


def _some(of: Sequence[Told], most: int, rng: np.random.Generator) -> list[Told]:
    """At most so many, in any order."""
    return [of[i] for i in rng.permutation(len(of))[:most].tolist()]
