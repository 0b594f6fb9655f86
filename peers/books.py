"""What a running peer counts and tells; all its parts share one set of books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from p2prec.errors import StoreError
from peers import events as ev
from peers.meter import CpuMeter
from peers.store import Store
from peers.transports.ways import Ways


class Books:
    """Counters of this run and, with the store, of all runs before it.

    Args:
        store: Keeps the counters.
        ways: Transports, which count for themselves.
        on_tell: Hears what is told; must be quick.

    Attributes:
        counters: Of this run, without those of the transports.
        crypto: CPU time of cryptography and encoding.
    """

    def __init__(self, *, store: Store, ways: Ways, on_tell: Callable[[ev.Tell], None]) -> None:
        self._store, self._ways, self._on_tell = store, ways, on_tell
        self.counters: Counter[str] = Counter()
        self.crypto = CpuMeter()
        self._kept: Counter[str] = Counter()  # what the store has of this run
        self._store_fails = False
        self._withholds = False
        self._diverges = False

    def tell(self, what: str, **fields: object) -> None:
        """Tell the owner, a log or a swarm."""
        self.pass_on(ev.Tell(what=what, fields=fields))

    def pass_on(self, tell: ev.Tell) -> None:
        """Tell what the life tells; what it drops is counted."""
        if tell.what == "dropped":
            self.dropped(str(tell.fields["reason"]))
        self._on_tell(tell)

    def dropped(self, reason: str) -> None:
        """Count something that was refused."""
        self.counters[f"dropped.{reason}"] += 1

    def store_failed(self, error: StoreError) -> None:
        """The peer goes on from memory; said once, and said again when the store works again."""
        self.counters["store_failed"] += 1
        if not self._store_fails:
            self._store_fails = True
            self.tell("store_failed", reason=str(error))

    def store_works(self, *, round_: int) -> None:
        """A round was stored."""
        if self._store_fails:
            self._store_fails = False
            self.tell("store_recovered", round=round_)

    def withheld(self, *, releases: int, next_s: float | None) -> None:
        """The releases of the window are used up; said once, and said when there is room again."""
        self.counters["withheld"] += 1
        if not self._withholds:
            self._withholds = True
            self.tell("withheld", releases=releases, next_s=next_s)

    def released(self, *, round_: int) -> None:
        """A round may leave."""
        if self._withholds:
            self._withholds = False
            self.tell("released_again", round=round_)

    def trained(self, *, round_: int, diverged: bool) -> None:
        """A training is over; that they diverge is said once, and again after one that did not."""
        if diverged:
            self.counters["diverged"] += 1
            if not self._diverges:
                self.tell("diverged", round=round_)
        self._diverges = diverged

    def of_this_run(self) -> Counter[str]:
        """All counters since the start, those of the transports by their own names."""
        return self.counters + self._ways.counters()

    def of_all_runs(self) -> dict[str, int]:
        """All counters since the peer has its store."""
        return dict(self.of_this_run() - self._kept + Counter(self._store.counters()))

    def keep(self) -> None:
        """Add to the store what it has not yet.

        Raises:
            StoreError: The store does not take it.
        """
        current = self.of_this_run()
        self._store.count(current - self._kept)
        self._kept = current
