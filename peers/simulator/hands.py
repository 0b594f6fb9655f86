"""Where a shard runs: in this process, in another one, or wherever a subclass takes it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

from p2prec.errors import P2PRecError
from p2prec.evaluation.answers import Answer
from peers.asking import sizes_of
from peers.simulator.form import RECORDS
from peers.simulator.happenings import Outgoing, Parcel
from peers.simulator.meeting import Announcement
from peers.simulator.records import no_collection
from peers.simulator.shard import Part, Shard
from peers.simulator.world import World

GONE: Final = "a process of the simulation has ended; was memory too short?"
FAILED: Final = "a process of the simulation failed:\n{}"
_UNANSWERED: Final = frozenset({"begin", "deliver", "restore", "save"})

_COLLECT_AS_EVER: Final = gc.get_threshold()


@dataclass(slots=True, kw_only=True)
class Report:
    """What one shard has to say at the end."""

    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    seen: dict[int, dict[int, tuple[int, bool, float]]] = field(default_factory=dict)
    sizes: dict[str, Counter[int]] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)
    ready_s: dict[int, float] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    peer_rounds: int = 0


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

    def save(self) -> None:
        """Begin to give parts, between two slices."""
        ...

    def part(self) -> tuple[Part, bytes] | None:
        """The next part of all that another shard is to go on from; None behind the last."""
        ...

    def restore(self, part: Part, data: bytes) -> None:
        """Go on from a part, before the first slice."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class InProcess:
    """A shard in this very process."""

    def __init__(self, world: World, number: int, shards: int) -> None:
        self.shard = Shard(world, number, shards)
        self._out = Outgoing()
        self._saving: Iterator[tuple[Part, Any]] = iter(())
        self._known: dict[Any, Any] = {}

    def begin(self, number: int) -> None:
        """As of ``Hand``."""
        self._known = {}  # what came of restoring is in its place
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

    def save(self) -> None:
        """As of ``Hand``."""
        self._saving = self.shard.parts()

    def part(self) -> tuple[Part, bytes] | None:
        """As of ``Hand``."""
        with no_collection():
            for part, state in self._saving:
                return part, RECORDS.pack(state)
        return None

    def restore(self, part: Part, data: bytes) -> None:
        """As of ``Hand``."""
        with no_collection():
            self.shard.restore(part, RECORDS.unpack(data, known=self._known))

    def close(self) -> None:
        """As of ``Hand``."""
        # What this shard has left, and all before it, is collected as ever again; see ``Shard``.
        gc.unfreeze()
        gc.set_threshold(*_COLLECT_AS_EVER)


class Elsewhere(ABC):
    """A shard that is told and asked what an ``InProcess`` in another process then does."""

    @abstractmethod
    def _tell(self, what: str, *arguments: object) -> None:
        """Begin a call whose answer nobody needs."""

    @abstractmethod
    def _ask(self, what: str) -> Any:
        """The answer of a call.

        Raises:
            P2PRecError: The process has failed or ended.
        """

    @abstractmethod
    def close(self) -> None:
        """As of ``Hand``."""

    def begin(self, number: int) -> None:
        """As of ``Hand``."""
        self._tell("begin", number)

    def outgoing(self) -> Outgoing:
        """As of ``Hand``."""
        return self._ask("outgoing")  # type: ignore[no-any-return]

    def deliver(self, parcels: Sequence[Parcel], said: Sequence[Announcement]) -> None:
        """As of ``Hand``."""
        self._tell("deliver", parcels, said)

    def next_slice(self) -> int | None:
        """As of ``Hand``."""
        return self._ask("next_slice")  # type: ignore[no-any-return]

    def standing(self) -> tuple[int, int]:
        """As of ``Hand``."""
        return self._ask("standing")  # type: ignore[no-any-return]

    def report(self) -> Report:
        """As of ``Hand``."""
        return self._ask("report")  # type: ignore[no-any-return]

    def save(self) -> None:
        """As of ``Hand``."""
        self._tell("save")

    def part(self) -> tuple[Part, bytes] | None:
        """As of ``Hand``."""
        return self._ask("part")  # type: ignore[no-any-return]

    def restore(self, part: Part, data: bytes) -> None:
        """As of ``Hand``."""
        self._tell("restore", part, data)


class OtherProcess(Elsewhere):
    """A shard in a process of its own, which shares the world's memory by a fork."""

    def __init__(self, world: World, number: int, shards: int) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, world, number, shards), daemon=True
        )
        self._process.start()
        other.close()

    def close(self) -> None:
        """As of ``Hand``."""
        # Its end of the pipe lives on in younger shards, so that closing alone would not be heard.
        with contextlib.suppress(OSError):
            self._pipe.send(("stop",))
        self._pipe.close()
        self._process.join(timeout=5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _tell(self, what: str, *arguments: object) -> None:
        try:
            self._pipe.send((what, *arguments))
        except OSError:
            raise P2PRecError(self._why()) from None

    def _ask(self, what: str) -> Any:
        self._tell(what)
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise P2PRecError(GONE) from None
        if isinstance(answer, str):
            raise P2PRecError(FAILED.format(answer))
        return answer

    def _why(self) -> str:
        """What it said before it ended."""
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                if isinstance(answer := self._pipe.recv(), str):
                    return FAILED.format(answer)
        return GONE


def _serve(pipe: Connection, world: World, number: int, shards: int) -> None:
    """Answer the driver until it hangs up."""
    import torch

    torch.set_num_threads(1)  # a forked process does not inherit it, and sums would differ
    for name in (signal.SIGINT, signal.SIGTERM):  # they are sent to all; the driver decides
        signal.signal(name, signal.SIG_IGN)
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
            if name not in _UNANSWERED:
                pipe.send(answer)
    except BaseException:  # noqa: BLE001 - the driver tells of it
        pipe.send(traceback.format_exc())


def _result(shard: Shard, index: int) -> dict[str, Any]:
    """What a peer of a swarm would have reported."""
    peer = shard.peers[index]
    assert peer.result is not None  # noqa: S101 - asked for those alone
    life = peer.life
    counters = peer.counters
    return {
        "rank": peer.result[0],
        "new": peer.result[1],
        **(sizes_of(peer.learner) if peer.learner is not None else {}),
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
