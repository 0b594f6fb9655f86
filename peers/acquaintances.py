"""Whom a peer knows: adverts seen, strangers greeted, hellos weighed, neighbours chosen.

A part of the peer's life, as free of I/O as the rest of it. Every collection is bounded; what goes
beyond a bound is dropped and told.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import numpy as np

from p2prec import limits
from p2prec.collaboration.methods import METHODS
from peers import events as ev
from peers.config import NeighbourConfig
from peers.messages import Advert, Hello, PeerId, Pseudonym, Shuffle
from topology.selection import Candidate, choose_neighbours
from topology.similarity import geographic_similarity, semantic_similarity

KNOWN_PER_NEIGHBOUR: Final = 3  # acquaintances to choose from; each greeting costs both sides
FOLLOWERS_PER_NEIGHBOUR: Final = 4  # a liked peer sends to at most four times its own k
MAX_FAILURES: Final = 3  # deliveries that may fail in a row
_LOOK_AGAIN_S: Final = 1.0  # between two looks around while neighbours are missing
_PATIENCE_S: Final = 6.0  # what a newcomer waits for more acquaintances before it chooses
_ANSWER_S: Final = 30.0  # after this, an unanswered greeting is not waited for
_GREET_AGAIN_S: Final = 300.0  # a greeting may get lost, and with it the only acquaintance
_SETTLED_SHUFFLES: Final = 6  # intervals between two shuffles of a peer that knows enough others
_FURTHEST_RING: Final = 2  # cells around the own one that a lonely peer looks into
_ALL_AROUND_S: Final = _PATIENCE_S * (_FURTHEST_RING + 1)  # by then they have been looked into
_MOST_FAR: Final = limits.MAX_KNOWN_ADVERTS // 4  # adverts of cells elsewhere
_LARGEST_FAR_SHARE: Final = 0.5  # of those who are greeted
_CELLS_AROUND: Final = 32  # labels of cells that are looked into, those of two weeks
_ENOUGH_PER_NEIGHBOUR: Final = 2  # acquaintances with which shuffles become few


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the peer says of itself in a hello.

    Attributes:
        peer_id: Own id.
        area: Blurred area cell, "" without positions.
        sketch: Noisy category sketch, b"" where the owner refuses.
        method: Collaboration method.
        model: Model schema.
    """

    peer_id: PeerId
    area: str
    sketch: bytes
    method: str
    model: str


@dataclass(slots=True, kw_only=True)
class Acquaintance:
    """A peer whose hello was opened; ``order`` is that of its latest one, as of ``Arrived``."""

    advert: Advert
    geographic: float
    semantic: float
    compatible: bool
    last_seen_s: float
    order: float = 0.0
    same_model: bool = True
    failures: int = 0
    minute: int = 0
    messages_this_minute: int = 0

    def too_many(self, now: float) -> bool:
        """Count a message; whether it is beyond what one sender may send in a minute."""
        minute = int(now // 60)
        if minute != self.minute:
            self.minute, self.messages_this_minute = minute, 0
        self.messages_this_minute += 1
        return self.messages_this_minute > limits.MAX_MESSAGES_PER_MINUTE_PER_SENDER


class Acquaintances:
    """All other peers, as one peer sees them.

    Args:
        config: How neighbours are found and chosen.
        identity: What a hello says.
        rng: Handed in; decides whom to greet and which neighbours are drawn at random.
        own_advert: The current advert and its binding, kept by the driver.
        on_follower: Hears of a new follower; what it gives goes out at once.
        on_forgotten: Hears of a peer that is known no longer.

    Attributes:
        adverts: Seen and not yet gone, the newest last.
        known: Whose hello was opened, the last heard last.
        neighbours: Whom the peer learns from.
        followers: Who learns from the peer.
        discovered: How many adverts became known by which way.
    """

    def __init__(
        self,
        *,
        config: NeighbourConfig,
        identity: Identity,
        rng: np.random.Generator,
        own_advert: Callable[[], tuple[Advert, bytes] | None],
        on_follower: Callable[[PeerId], list[ev.Effect]],
        on_forgotten: Callable[[PeerId], object],
    ) -> None:
        self._config = config
        self._friends = frozenset(config.friends if config.selection == "social" else ())
        self._identity = identity
        self._rng = rng
        self._own_advert = own_advert
        self._on_follower, self._on_forgotten = on_follower, on_forgotten
        self.adverts: dict[Pseudonym, Advert] = {}  # a plain one: samples list it again and again
        self.known: OrderedDict[PeerId, Acquaintance] = OrderedDict()
        self.neighbours: tuple[PeerId, ...] = ()
        self.followers: OrderedDict[PeerId, None] = OrderedDict()
        self.discovered: Counter[str] = Counter()
        self._beside: OrderedDict[Pseudonym, None] = OrderedDict()  # seen on a local network
        self._around: OrderedDict[str, None] = OrderedDict()  # labels of cells that are looked into
        self._far: OrderedDict[Pseudonym, None] = OrderedDict()  # those who show others
        self._greeted: OrderedDict[Pseudonym, float] = OrderedDict()  # and when
        self._former: OrderedDict[Pseudonym, None] = OrderedDict()  # own, and of the known
        self._left: OrderedDict[PeerId, float] = OrderedDict()  # order of their goodbyes
        self._answered: list[float] = []
        self._ring = 0
        self._started_s = 0.0
        # Until when looking around changes nothing, and among which neighbours that was found.
        self._settled_until_s = -math.inf
        self._settled_for: tuple[PeerId, ...] = ()

    def start(self, now: float) -> None:
        """Patience and looking further count from here."""
        self._started_s = now

    def look_around(self, now: float) -> list[ev.Effect]:
        """Choose among the known, greet strangers, look into further cells where all is quiet."""
        if now < self._settled_until_s and self._settled_for is self.neighbours:
            return []
        effects = [*self.choose(now), *self._greet(now), *self._look_further(now)]
        if not effects and self._has_all(now):
            self._settled_until_s = min(a.advert.expires_s for a in self.known.values())
            self._settled_for = self.neighbours
        return effects

    def _has_all(self, now: float) -> bool:
        """Whether nobody is missing, among neighbours or acquaintances, until one goes."""
        if self._friends:  # one that failed too often may be well again, and be chosen
            return False
        return len(self.neighbours) >= self._config.k and not self._missing(now)

    def announce(self) -> list[ev.Effect]:
        """Tell all companions the own advert, whose name comes back by gossip when it is former."""
        own = self._own_advert()
        if own is not None:
            self._outlived(own[0].pseudonym)
        return self._hellos(self.companions(), wants_reply=False)

    def discover_delay_s(self) -> float:
        """Look around quickly until there are neighbours, then at leisure."""
        interval_s = self._config.discover_interval_s
        missing = len(self.neighbours) < self._config.k
        return min(interval_s, _LOOK_AGAIN_S) if missing else interval_s

    def shuffle_delay_s(self) -> float:
        """Who knows enough others only keeps up with who comes and goes."""
        config = self._config
        enough = len(self.known) >= _ENOUGH_PER_NEIGHBOUR * config.k
        return config.shuffle_interval_s * (_SETTLED_SHUFFLES if enough else 1)

    def companions(self) -> list[Advert]:
        """Adverts of all whom this peer learns from or who learn from it."""
        both = dict.fromkeys((*self.neighbours, *self.followers))
        return [self.known[p].advert for p in both if p in self.known]

    def remember(self, advert: Advert, source: ev.Source) -> list[ev.Effect]:
        """Keep an advert of somebody else, where there is a way to them."""
        name = advert.pseudonym
        if source is ev.Source.MDNS:
            self._beside[name] = None
            _shorten(self._beside, limits.MAX_KNOWN_ADVERTS)
        if source in {ev.Source.MDNS, ev.Source.MQTT}:
            self._around[advert.cell_label] = None
            _shorten(self._around, _CELLS_AROUND)
        if self.adverts.get(name) is advert:
            self.adverts[name] = self.adverts.pop(name)  # to the end
            self._make_room(advert)  # as for a copy of it, which another process would bring
            return []
        own = self._own_advert()
        if own is None or name == own[0].pseudonym or name in self._former:
            return []
        if not _reachable(own[0], advert):
            return [dropped("no_common_transport")]
        held = self.adverts.get(name)
        gossip = source is ev.Source.GOSSIP
        if gossip and held is not None and held.not_before_s > advert.not_before_s:
            return []  # its owner has made another one since
        if self.adverts.pop(name, None) is None:
            self.discovered[source] += 1
        self.adverts[name] = advert
        self._make_room(advert)
        return []

    def _make_room(self, newest: Advert) -> None:
        """Forget the adverts seen longest ago where there are too many, of those far away first."""
        if self._is_far(newest):  # a large city must not push out those who are near
            self._far.pop(newest.pseudonym, None)
            self._far[newest.pseudonym] = None
            if len(self._far) > _MOST_FAR:
                self.adverts.pop(self._far.popitem(last=False)[0], None)
        while len(self.adverts) > limits.MAX_KNOWN_ADVERTS:
            del self.adverts[next(iter(self.adverts))]

    def _strangers(self, now: float) -> list[Advert]:
        """Those that we only know by their advert and have not greeted lately."""
        met = {a.advert.pseudonym for a in self.known.values()}
        return [
            advert
            for name, advert in self.adverts.items()
            if name not in met
            and advert.expires_s > now
            and now - self._greeted.get(name, -_GREET_AGAIN_S) >= _GREET_AGAIN_S
        ]

    def _unanswered(self, now: float) -> int:
        """Greetings that may still be answered."""
        met = {a.advert.pseudonym for a in self.known.values()}
        lately = [name for name, at in self._greeted.items() if now - at < _ANSWER_S]
        return sum(name not in met for name in lately)

    def _missing(self, now: float) -> int:
        """Acquaintances to look for: with enough to choose from, shuffles keep the view fresh."""
        wanted = KNOWN_PER_NEIGHBOUR * self._config.k
        if not self._friends and len(self.known) >= wanted:
            return 0
        unanswered = self._unanswered(now)
        # Nothing tells a friend's advert from others: whoever misses friends goes on greeting.
        unmet = sum(friend not in self.known for friend in self._friends)
        # Strangers look too: each greeting that goes out is likely to be matched by one that comes.
        return max(
            0,
            wanted - len(self.known) - 2 * unanswered,
            min(unmet, self._config.k) - unanswered,
        )

    def _greet(self, now: float) -> list[ev.Effect]:
        """Introduce ourselves to a random few strangers."""
        n = min(self._missing(now), self._config.greetings_per_interval)
        if not n:
            return []
        chosen = self._drawn(self._strangers(now), n, now)
        for advert in chosen:
            self._greeted[advert.pseudonym] = now
            self._greeted.move_to_end(advert.pseudonym)
        _shorten(self._greeted, limits.MAX_KNOWN_ADVERTS)
        return self._hellos(chosen, wants_reply=True)

    def _drawn(self, strangers: list[Advert], n: int, now: float) -> list[Advert]:
        """At most ``n`` strangers at random: from the local network, the own cell, and elsewhere.

        Who greets whoever is seen first knows those beside it and nobody else, and what all have
        learned finds no way from one local network or cell to the next. So half of those who are
        near are from beyond the local network, where there are such; and of those who are far there
        are as many as there are places for neighbours drawn at random, until all around have been
        looked for.
        """
        drawn = [strangers[i] for i in self._rng.permutation(len(strangers))]
        far = [advert for advert in drawn if self._is_far(advert)]
        here = [advert for advert in drawn if not self._is_far(advert)]
        beside = [advert for advert in here if advert.pseudonym in self._beside]
        beyond = [advert for advert in here if advert.pseudonym not in self._beside]
        near = [a for pair in zip_longest(beyond, beside) for a in pair if a is not None]
        share = min(self._config.random_share, _LARGEST_FAR_SHARE)
        met = sum(self._is_far(a.advert) for a in self.known.values())
        room = round(KNOWN_PER_NEIGHBOUR * self._config.k * share) - met
        n_far = max(0, min(round(n * share), room, len(far)))
        if now - self._started_s >= _ALL_AROUND_S:
            n_far = max(n_far, n - len(near))
        return [*far[:n_far], *near[: n - n_far]]

    def _is_far(self, advert: Advert) -> bool:
        """Whether it shows a cell that is neither the own one nor one of those looked into."""
        own = self._own_advert()
        around = own is None or advert.cell_label == own[0].cell_label
        return not around and advert.cell_label not in self._around

    def _look_further(self, now: float) -> list[ev.Effect]:
        """Look into the cells around where the own one holds too few."""
        due = now - self._started_s >= _PATIENCE_S * (self._ring + 1)
        if not due or self._ring >= _FURTHEST_RING:
            return []
        missing = self._missing(now)
        if not missing or missing <= sum(not self._is_far(a) for a in self._strangers(now)):
            return []
        self._ring += 1
        return [ev.LookFurther(ring=self._ring)]

    def _hellos(self, to: list[Advert], *, wants_reply: bool) -> list[ev.Effect]:
        own = self._own_advert()
        if own is None:
            return []
        accepted = {self.known[p].advert.pseudonym for p in self.neighbours if p in self.known}
        return [
            ev.Send(
                to=advert,
                message=Hello(
                    advert=own[0],
                    binding=own[1],
                    wants_reply=wants_reply,
                    area=self._identity.area,
                    sketch=self._identity.sketch,
                    method=self._identity.method,
                    model=self._identity.model,
                    accepts=advert.pseudonym in accepted,
                ),
            )
            for advert in to
        ]

    def choose(self, now: float) -> list[ev.Effect]:
        """Forget the expired, replace lost neighbours; both sides of a change hear of it."""
        for peer in [p for p, a in self.known.items() if a.advert.expires_s <= now]:
            self.forget(peer)
        for name in [n for n, advert in self.adverts.items() if advert.expires_s <= now]:
            del self.adverts[name]
        config = self._config
        usable = {
            peer: a for peer, a in self.known.items() if a.compatible and a.failures < MAX_FAILURES
        }
        kept = [p for p in self.neighbours if p in usable]
        if len(kept) >= config.k:  # they change only where one is lost: links must last
            chosen = self._with_friends(kept, usable)
        elif not self.neighbours and self._worth_waiting(len(usable), now):
            return []
        else:
            chosen = self._chosen(usable)
            if now - self._started_s < _ALL_AROUND_S:  # links last: those around may yet be found
                far = {peer for peer, a in usable.items() if self._is_far(a.advert)}
                surplus = [peer for peer in chosen if peer in far][self._n_drawn :]
                if surplus:
                    left_out = far.difference(chosen) | set(surplus)
                    chosen = self._chosen({p: a for p, a in usable.items() if p not in left_out})
        changed = [p for p in (*chosen, *self.neighbours) if p in self.known]
        changed = [p for p in changed if (p in chosen) != (p in self.neighbours)]
        if tuple(chosen) == self.neighbours:
            return []
        self.neighbours = tuple(chosen)
        told = ev.Tell(what="neighbours_chosen", fields={"n": len(chosen)})
        return [told, *self._hellos([self.known[p].advert for p in changed], wants_reply=False)]

    @property
    def _n_drawn(self) -> int:
        """Places for neighbours that are drawn at random."""
        return round(self._config.k * self._config.random_share)

    def _chosen(self, among: Mapping[PeerId, Acquaintance]) -> list[PeerId]:
        config = self._config
        candidates = [
            Candidate(
                peer_id=peer,
                geographic=a.geographic,
                semantic=a.semantic,
                is_friend=peer in config.friends,
            )
            for peer, a in among.items()
        ]
        return [PeerId(peer) for peer in chosen_by(config, candidates, rng=self._rng)]

    def _with_friends(
        self, kept: list[PeerId], usable: Mapping[PeerId, Acquaintance]
    ) -> list[PeerId]:
        """Friends who were met late take places of others, but for those drawn at random."""
        late = [p for p in usable if p in self._friends and p not in kept]
        others = [p for p in kept if p not in self._friends]
        by_likeness = others[: max(0, len(others) - self._n_drawn)]
        places = by_likeness[::-1][: len(late)]  # the least near first
        return late[: len(places)] + [p for p in kept if p not in places]

    def _worth_waiting(self, usable: int, now: float) -> bool:
        """Whether a newcomer will soon have more to choose from; every change costs hellos."""
        if usable >= KNOWN_PER_NEIGHBOUR * self._config.k:
            return False
        expected = bool(self._unanswered(now) or self._strangers(now))
        return expected and now - self._started_s < _PATIENCE_S

    def shuffle(self, now: float) -> list[ev.Effect]:
        """Exchange adverts with a random known peer, so that those out of sight are found too."""
        if not self.known:
            return []
        peers = list(self.known)
        to = self.known[peers[int(self._rng.integers(len(peers)))]].advert
        return [ev.Send(to=to, message=self.sample(to, now, wants_reply=True))]

    def sample(self, to: Advert, now: float, *, wants_reply: bool) -> Shuffle:
        """Some adverts that hold, for the peer behind ``to``."""
        others = [
            advert
            for name, advert in self.adverts.items()
            if name != to.pseudonym and advert.expires_s > now
        ]
        order = self._rng.permutation(len(others))[: limits.MAX_ADVERTS_PER_SHUFFLE].tolist()
        return Shuffle(adverts=tuple(others[i] for i in order), wants_reply=wants_reply)

    def failed(self, event: ev.SendFailed, now: float) -> list[ev.Effect]:
        """Who cannot be reached several times in a row is replaced."""
        self.adverts.pop(event.to, None)
        if event.to in self._greeted:
            self._greeted[event.to] = now - _ANSWER_S  # no answer will come
        for acquaintance in self.known.values():
            if acquaintance.advert.pseudonym == event.to:
                acquaintance.failures += 1
                self._settled_until_s = -math.inf
                if acquaintance.failures >= MAX_FAILURES:
                    return [dropped("unreachable"), *self.choose(now)]
        return [dropped("not_delivered")]

    def hello(
        self, sender: PeerId, hello: Hello, now: float, *, order: float = 0.0
    ) -> list[ev.Effect]:
        """Weigh the sender of a hello, let it follow, answer where it asks.

        One that a later hello has overtaken says nothing more, but may still ask. Overtaken by a
        goodbye it says nothing at all: nobody is there to hear an answer.

        Args:
            sender: Who says it.
            hello: What it says.
            now: UTC epoch seconds.
            order: As of ``Arrived``.
        """
        if order < self._left.get(sender, order):
            return [dropped("older_than_known")]
        known, advert = self.known.get(sender), hello.advert
        if known is None or order >= known.order:
            effects = self._weigh(sender, hello, now, order)
        else:
            effects, advert = [dropped("older_than_known")], known.advert
        if hello.wants_reply:
            self._answered = [t for t in self._answered if now - t < 60.0]
            if len(self._answered) >= limits.MAX_GREETINGS_PER_MINUTE:
                return [*effects, dropped("too_many_greetings")]
            self._answered.append(now)
            effects += self._hellos([advert], wants_reply=False)
        return effects

    def goodbye(self, sender: PeerId, now: float, *, order: float) -> list[ev.Effect]:
        """Forget who leaves, also where no hello of it has come yet, and choose another one.

        Args:
            sender: Who says it.
            now: UTC epoch seconds.
            order: As of ``Arrived``.
        """
        known = self.known.get(sender)
        if order < max(known.order if known else order, self._left.get(sender, order)):
            return [dropped("older_than_known")]  # it has come back since
        self._left[sender] = order
        self._left.move_to_end(sender)
        _shorten(self._left, limits.MAX_KNOWN_ADVERTS)
        if known is None:
            return [dropped("from_a_stranger")]
        self.forget(sender)
        self.adverts.pop(known.advert.pseudonym, None)
        return [ev.Tell(what="goodbye", fields={"peer": sender[:8]}), *self.choose(now)]

    def _weigh(self, sender: PeerId, hello: Hello, now: float, order: float) -> list[ev.Effect]:
        effects: list[ev.Effect] = self.remember(hello.advert, ev.Source.HELLO)
        before = self.known.pop(sender, None)  # to the end: who was heard last is forgotten last
        if before is not None and before.advert.pseudonym != hello.advert.pseudonym:
            self._outlived(before.advert.pseudonym)
        method = METHODS[self._identity.method]
        same_model = hello.model == self._identity.model
        understood = same_model or method.sends != "parameters"
        self._settled_until_s = -math.inf
        self.known[sender] = Acquaintance(
            advert=hello.advert,
            geographic=geographic_similarity(self._identity.area, hello.area),
            semantic=semantic_similarity(self._identity.sketch, hello.sketch),
            compatible=hello.method == self._identity.method and understood,
            same_model=same_model,
            last_seen_s=now,
            order=order,
            minute=before.minute if before else 0,
            messages_this_minute=before.messages_this_minute if before else 0,
        )
        while len(self.known) > limits.MAX_KNOWN_ADVERTS:
            self.forget(next(p for p in self.known if p not in self.neighbours))
        effects += self._follow(sender, accepts=hello.accepts)
        return effects

    def _outlived(self, pseudonym: Pseudonym) -> None:
        """Others may pass its adverts on for a while: it must not be greeted as a stranger."""
        self.adverts.pop(pseudonym, None)
        self._former[pseudonym] = None
        _shorten(self._former, limits.MAX_KNOWN_ADVERTS)

    def _follow(self, sender: PeerId, *, accepts: bool) -> list[ev.Effect]:
        if not accepts:
            self.followers.pop(sender, None)
            return []
        if sender in self.followers or not self.known[sender].compatible:
            return []
        if len(self.followers) >= FOLLOWERS_PER_NEIGHBOUR * self._config.k:
            return [dropped("too_many_followers")]
        self.followers[sender] = None
        return self._on_follower(sender)

    def forget(self, peer: PeerId) -> None:
        """As if it had never been met."""
        self._settled_until_s = -math.inf
        self.known.pop(peer, None)
        self.followers.pop(peer, None)
        self._on_forgotten(peer)
        self.neighbours = tuple(p for p in self.neighbours if p != peer)


def chosen_by(
    settings: NeighbourConfig, candidates: Sequence[Candidate], *, rng: np.random.Generator
) -> list[str]:
    """Ids of the neighbours that a peer with these settings chooses, best first."""
    return choose_neighbours(
        candidates,
        selection=settings.selection,
        k=settings.k,
        geographic_threshold=settings.geographic_threshold,
        semantic_threshold=settings.semantic_threshold,
        random_share=settings.random_share,
        rng=rng,
    )


def dropped(reason: str) -> ev.Tell:
    """Something was refused; a counter by its reason."""
    return ev.Tell(what="dropped", fields={"reason": reason})


def _shorten(table: OrderedDict[Any, Any], most: int) -> None:
    """Let go what came first, until there are at most so many."""
    while len(table) > most:
        table.popitem(last=False)


def _reachable(own: Advert, other: Advert) -> bool:
    return bool(
        (own.endpoints.tcp and other.endpoints.tcp)
        or (own.endpoints.mqtt_inbox and other.endpoints.mqtt_inbox)
    )
