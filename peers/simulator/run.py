"""Drives the shards of a world through virtual time."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

from p2prec.errors import P2PRecError
from p2prec.evaluation.answers import Answer
from peers.simulator.meeting import Announcement
from peers.simulator.shard import Outgoing, Parcel, Shard, shard_of
from peers.simulator.world import World

_LOOK_EVERY: Final = 16  # slices between two looks at how many peers are over
_SHOWN_EVERY_S: Final = 0.25
_PATIENCE: Final = 20.0  # a run without an end of its own lasts at most as many times its rounds
_DAY_S: Final = 86_400.0


@dataclass(slots=True, kw_only=True)
class Report:
    """What one shard has to say at the end."""

    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    seen: dict[int, dict[int, tuple[int, bool]]] = field(default_factory=dict)
    sizes: dict[str, Counter[int]] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)
    ready_s: dict[int, float] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    peer_rounds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is.

    Attributes:
        virtual_s: Virtual time.
        peer_rounds: Finished so far.
        over: Peers that have done all their rounds.
    """

    virtual_s: float
    peer_rounds: int
    over: int


class Hand(Protocol):
    """A shard, wherever it runs: calls are begun for all shards, then their answers taken."""

    def begin(self, number: int) -> None:
        """Begin to live through a slice."""
        ...

    def outgoing(self) -> Outgoing:
        """What the slice has sent."""
        ...

    def deliver(self, parcels: Sequence[Parcel], said: Sequence[Announcement]) -> None:
        """Give it what the slice has sent to it."""
        ...

    def next_slice(self) -> int | None:
        """The next slice in which something happens there."""
        ...

    def standing(self) -> tuple[int, int]:
        """Its peer-rounds, and how many of its peers are not over; looks at every peer."""
        ...

    def report(self) -> Report:
        """The end."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class InProcess:
    """A shard in this very process."""

    def __init__(self, world: World, number: int, shards: int) -> None:
        self.shard = Shard(world, number, shards)
        self._out = Outgoing()

    def begin(self, number: int) -> None:
        """As of ``Hand``."""
        self._out = self.shard.advance(number)

    def outgoing(self) -> Outgoing:
        """As of ``Hand``."""
        return self._out

    def deliver(self, parcels: Sequence[Parcel], said: Sequence[Announcement]) -> None:
        """As of ``Hand``."""
        self.shard.deliver(parcels, said)

    def next_slice(self) -> int | None:
        """As of ``Hand``."""
        return self.shard.next_slice()

    def standing(self) -> tuple[int, int]:
        """As of ``Hand``."""
        return self.shard.peer_rounds, self.shard.unfinished

    def report(self) -> Report:
        """As of ``Hand``."""
        shard = self.shard
        shard.finish()
        examiner = shard.examiner
        return Report(
            results={i: _result(shard, i) for i in shard.members if shard.peers[i].result},
            seen={r: dict(seen) for r, seen in examiner.seen.items()},
            sizes=dict(examiner.sizes),
            digests=examiner.digests,
            answers=examiner.answers,
            ready_s={i: p.ready_s for i, p in shard.peers.items() if p.ready_s >= 0},
            peer_rounds=shard.peer_rounds,
        )

    def close(self) -> None:
        """As of ``Hand``."""


class OtherProcess:
    """A shard in a process of its own, which shares the world's memory by a fork."""

    def __init__(self, world: World, number: int, shards: int) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, world, number, shards), daemon=True
        )
        self._process.start()
        other.close()

    def begin(self, number: int) -> None:
        """As of ``Hand``."""
        self._pipe.send(("begin", number))

    def outgoing(self) -> Outgoing:
        """As of ``Hand``."""
        return self._ask("outgoing")  # type: ignore[no-any-return]

    def deliver(self, parcels: Sequence[Parcel], said: Sequence[Announcement]) -> None:
        """As of ``Hand``."""
        self._pipe.send(("deliver", parcels, said))

    def next_slice(self) -> int | None:
        """As of ``Hand``."""
        return self._ask("next_slice")  # type: ignore[no-any-return]

    def standing(self) -> tuple[int, int]:
        """As of ``Hand``."""
        return self._ask("standing")  # type: ignore[no-any-return]

    def report(self) -> Report:
        """As of ``Hand``."""
        return self._ask("report")  # type: ignore[no-any-return]

    def close(self) -> None:
        """As of ``Hand``."""
        # Its end of the pipe lives on in younger shards, so that closing alone would not be heard.
        with contextlib.suppress(OSError):
            self._pipe.send(("stop",))
        self._pipe.close()
        self._process.join(timeout=5.0)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _ask(self, what: str) -> Any:
        try:
            self._pipe.send((what,))
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise P2PRecError(
                "a process of the simulation has ended; was memory too short?"
            ) from None
        if isinstance(answer, str):
            raise P2PRecError(f"a process of the simulation failed:\n{answer}")
        return answer


def _serve(pipe: Connection, world: World, number: int, shards: int) -> None:
    """Answer the driver until it hangs up."""
    import torch

    torch.set_num_threads(1)  # a forked process does not inherit it, and sums would differ
    try:
        hand = InProcess(world, number, shards)
        while True:
            try:
                name, *arguments = pipe.recv()
            except EOFError:
                return
            if name == "stop":
                return
            answer = getattr(hand, name)(*arguments)
            if name not in {"begin", "deliver"}:
                pipe.send(answer)
    except BaseException:  # noqa: BLE001 - the driver tells of it
        pipe.send(traceback.format_exc())


def live(
    world: World,
    hands: Sequence[Hand],
    *,
    progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[list[Report], float]:
    """Let all shards live until every peer is over, or the virtual end; reports and that time."""
    shards = len(hands)
    end_s = world.settings.hours * 3_600.0 or _longest_s(world)
    virtual_s, shown_s, turn = 0.0, 0.0, 0
    while True:
        slices = [at for at in (hand.next_slice() for hand in hands) if at is not None]
        if not slices or min(slices) * world.slice_s >= end_s:
            break
        number = min(slices)
        virtual_s = (number + 1) * world.slice_s
        for hand in hands:
            hand.begin(number)
        sent = [hand.outgoing() for hand in hands]
        # In one order on any number of shards.
        said = sorted(
            (a for out in sent for a in out.announcements), key=lambda a: (a.at_s, a.peer)
        )
        parcels: list[list[Parcel]] = [[] for _ in hands]
        for out in sent:
            for parcel in out.parcels:
                parcels[shard_of(parcel.to, shards)].append(parcel)
        for hand, own in zip(hands, parcels, strict=True):
            hand.deliver(own, said)
        turn += 1
        now_s = time.monotonic()
        is_looked_at, is_shown = turn % _LOOK_EVERY == 0, now_s - shown_s > _SHOWN_EVERY_S
        if not (is_looked_at or is_shown):
            continue
        peer_rounds, unfinished = map(sum, zip(*(h.standing() for h in hands), strict=True))
        if is_shown:
            shown_s = now_s
            progress(
                Progress(virtual_s=virtual_s, peer_rounds=peer_rounds, over=world.n - unfinished)
            )
        if is_looked_at and not unfinished:
            break
    return [hand.report() for hand in hands], min(virtual_s, end_s)


def _longest_s(world: World) -> float:
    schedule = world.scenario.schedule
    round_s = schedule.round_interval_s + schedule.inbox_timeout_s
    people = world.settings.people
    return (
        _DAY_S
        + _PATIENCE * max(1, world.rounds) * round_s
        + 3_600.0 * (people.late_within_h + people.leave_within_h)
        + people.replay_days * _DAY_S
    )


def digest_of(reports: Sequence[Report]) -> str:
    """Hash of all final models and results, whatever the number of shards."""
    models: dict[int, bytes] = {}
    results: dict[int, dict[str, Any]] = {}
    for report in reports:
        models |= report.digests
        results |= report.results
    sha = hashlib.sha256(b"p2prec/simulation/1")
    for index in sorted(models):
        row = results[index]
        sha.update(f"{index}/{row['rank']}/{row['new']}/{sorted(row['counters'].items())}".encode())
        sha.update(models[index])
    return sha.hexdigest()


def _result(shard: Shard, index: int) -> dict[str, Any]:
    """What a peer of a swarm would have reported."""
    peer = shard.peers[index]
    assert peer.result is not None  # noqa: S101 - asked for those alone
    life = peer.life
    counters = peer.counters
    return {
        "rank": peer.result[0],
        "new": peer.result[1],
        "uss_kib": 0,
        "cpu_s": 0.0,
        "crypto_s": {},
        "counters": {
            n: c for n, c in counters.items() if n.startswith(("sent", "said", "payload"))
        },
        "dropped": {n: c for n, c in counters.items() if n.startswith("dropped")},
        "sizes": [],
        "discovered": {str(k): v for k, v in life.discovered.items()} if life else {},
        "area": peer.portrait.area,
        "peer": peer.papers.peer_id[:16],
        "neighbours": [p[:16] for p in life.neighbours] if life else [],
        "crashes": counters["crashes"],
    }
