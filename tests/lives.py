"""Lives of peers without I/O: what they are given, and a world of many in virtual time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import numpy as np

from p2prec.collaboration.payload import ModelUpdate, TableUpdate
from p2prec.embeddings.code_update import DIGEST_BYTES, Mode
from p2prec.training.learner import MergeReport, TrainingReport
from peers import events as ev
from peers.acquaintances import Identity
from peers.config import NeighbourConfig, PeerConfig, ScheduleConfig
from peers.life import Peer
from peers.messages import Advert, Endpoints, Hello, PeerId

NOW = 1_000_000.0


def advert(name: int, *, tcp: bool = True, expires: float = NOW + 1e6) -> Advert:
    return Advert(
        realm=b"r" * 32,
        pseudonym_key=name.to_bytes(32, "big"),
        prekey_id=name.to_bytes(8, "big"),
        prekey=b"k",
        cell_label="abc",
        endpoints=Endpoints(
            tcp=(("127.0.0.1", 1000 + name % 60_000),) if tcp else (),
            mqtt_inbox="" if tcp else "0" * 32,
        ),
        not_before_s=NOW,
        expires_s=expires,
        signature=b"s",
    )


def update(round_: int) -> ModelUpdate:
    return ModelUpdate(
        round=round_,
        model="m",
        rows=np.zeros(0, np.uint32),
        values=np.zeros((0, 3), np.float32),
        evidence=np.zeros(0, np.float32),
        dense=np.zeros(1, np.float32),
        degree=1,
    )


def table_update(round_: int, mode: Mode) -> TableUpdate:
    whole = mode is Mode.WHOLE
    return TableUpdate(
        round=round_,
        model="m",
        base=b"" if whole else bytes(DIGEST_BYTES),
        mode=mode,
        rows=np.zeros(0, np.uint32),
        columns=np.zeros((0, 2), np.float32),
        evidence=np.zeros(0, np.float32),
        changed=np.zeros(0, np.bool_),
        codes=np.zeros((0, 1), np.uint8),
        bits=1,
        words=np.zeros((1, 2 if whole else 1, 1), np.float32),
        dense=np.zeros(1, np.float32),
        degree=1,
    )


def whole(round_: int) -> TableUpdate:
    return table_update(round_, Mode.WHOLE)


def changing(round_: int) -> TableUpdate:
    return table_update(round_, Mode.QUEUE)


def hello(name: int, *, reply: bool = False, accepts: bool = True, method: str = "dclr") -> Hello:
    return Hello(
        advert=advert(name),
        binding=b"b",
        wants_reply=reply,
        area="",
        sketch=b"",
        method=method,
        model="m",
        accepts=accepts,
    )


def peer(
    name: int = 0,
    *,
    share: bool = True,
    k: int = 3,
    rounds: int = 4,
    neighbours: NeighbourConfig | None = None,
) -> Peer:
    own = advert(name)
    return Peer(
        config=PeerConfig(
            share=share,
            neighbours=neighbours or NeighbourConfig(k=k, discover_interval_s=2.0),
            schedule=ScheduleConfig(
                round_interval_s=0.0, inbox_timeout_s=20.0, max_rounds=rounds, min_neighbours=1
            ),
        ),
        identity=Identity(
            peer_id=PeerId(f"id{name}"), area="", sketch=b"", method="dclr", model="m"
        ),
        rng=np.random.default_rng(name),
        own_advert=lambda: (own, b"b"),
    )


class World:
    """Many lives in virtual time; messages are late, lost, doubled and out of order.

    Args:
        n: Lives, called 0 to n - 1.
        seed: Of everything.
        loss: Probability that a message does not arrive.
        k: Neighbours wanted.
        sees: Whether a discovery shows the second life to the first.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        loss: float,
        k: int = 3,
        sees: Callable[[int, int], bool] = lambda _i, _j: True,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.loss = loss
        self.lives = [peer(i, k=k) for i in range(1, n + 1)]
        self.by_pseudonym = {advert(i + 1).pseudonym: i for i in range(n)}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.now = NOW
        self.timers: dict[tuple[int, ev.Timer], int] = {}
        self.merged = 0
        for i in range(n):
            self.at(self.rng.random(), lambda i=i: self.give(i, ev.Started()))
            for other in range(n):
                if other != i and sees(i, other):
                    seen = ev.AdvertSeen(advert=advert(other + 1), source=ev.Source.MDNS)
                    self.at(1 + self.rng.random(), lambda i=i, s=seen: self.give(i, s))

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.order), action))

    def give(self, i: int, event: ev.Event) -> None:
        for effect in self.lives[i].handle(event, self.now):
            self.perform(i, effect)

    def perform(self, i: int, effect: ev.Effect) -> None:  # noqa: C901 - one table of effects
        match effect:
            case ev.SetTimer():
                token = next(self.order)
                self.timers[i, effect.timer] = token

                def fire(timer: ev.Timer = effect.timer, token: int = token) -> None:
                    if self.timers.get((i, timer)) == token:
                        self.give(i, ev.TimerFired(timer=timer))

                self.at(effect.delay_s, fire)
            case ev.Send():
                j = self.by_pseudonym[effect.to.pseudonym]
                event = ev.Arrived(
                    sender=PeerId(f"id{i + 1}"), message=effect.message, transport="tcp", n_bytes=1
                )
                for _ in range(1 + (self.rng.random() < 0.1)):
                    if self.rng.random() >= self.loss:
                        self.at(self.rng.exponential(0.3), lambda: self.give(j, event))
            case ev.Advertise():
                self.at(0.01, lambda: self.give(i, ev.Advertised()))
            case ev.Train():
                report = TrainingReport(loss=1.0, n_examples=1)
                done = ev.Trained(round=effect.round, report=report)
                self.at(self.rng.exponential(1.0), lambda: self.give(i, done))
            case ev.MakePayloads():
                ready = ev.PayloadsReady(round=effect.round, payloads=(update(effect.round),))
                self.at(0.1, lambda: self.give(i, ready))
            case ev.Merge():
                self.merged += len(effect.received)
                weights = {r.sender: 0.1 for r in effect.received}
                after = ev.Merged(
                    round=effect.round, report=MergeReport(weights=weights, rejected={})
                )
                self.at(0.1, lambda: self.give(i, after))

    def number(self, peer_id: PeerId) -> int:
        """Whose id it is."""
        return int(peer_id.removeprefix("id")) - 1

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.queue and self.queue[0][0] < end:
            self.now, _, action = heapq.heappop(self.queue)
            action()
