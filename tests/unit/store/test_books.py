"""Counters of a peer that is stopped, killed and started again."""

from __future__ import annotations

from pathlib import Path

from p2prec.errors import StoreError
from peers import events as ev
from peers.books import Books
from peers.store import Store
from peers.transports.ways import Ways


def begin(folder: Path, told: list[ev.Tell]) -> tuple[Store, Books]:
    store = Store.open(folder / "peer.db")
    return store, Books(store=store, ways=Ways(), on_tell=told.append)


def test_counters_go_on_over_restarts_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    for run in range(3):
        store, books = begin(tmp_path, [])
        assert books.of_all_runs() == ({"payload_bytes": 150 * run} if run else {})
        books.counters["payload_bytes"] += 100
        books.keep()
        books.counters["payload_bytes"] += 50
        assert books.of_this_run() == {"payload_bytes": 150}
        assert books.of_all_runs() == {"payload_bytes": 150 * (run + 1)}
        books.keep()
        books.counters["payload_bytes"] += 7  # and killed: what was not kept is lost
        store.close()


def test_what_is_dropped_is_told_and_counted_by_its_reason(tmp_path: Path) -> None:
    told: list[ev.Tell] = []
    store, books = begin(tmp_path, told)
    books.pass_on(ev.Tell(what="dropped", fields={"reason": "from_a_stranger"}))
    books.dropped("replayed")
    assert books.counters == {"dropped.from_a_stranger": 1, "dropped.replayed": 1}
    assert [t.what for t in told] == ["dropped"]
    store.close()


def test_trainings_that_diverge_are_told_once_until_one_does_not(tmp_path: Path) -> None:
    told: list[ev.Tell] = []
    store, books = begin(tmp_path, told)
    for round_, diverged in enumerate([False, True, True, False, True]):
        books.trained(round_=round_, diverged=diverged)
    assert [(t.what, t.fields["round"]) for t in told] == [("diverged", 1), ("diverged", 4)]
    assert books.counters["diverged"] == 3
    store.close()


def test_a_store_that_fails_is_told_once_until_it_works_again(tmp_path: Path) -> None:
    told: list[ev.Tell] = []
    store, books = begin(tmp_path, told)
    for _ in range(2):
        books.store_failed(StoreError("full"))
        books.store_failed(StoreError("full"))
        books.store_works(round_=3)
        books.store_works(round_=4)
    assert [t.what for t in told] == ["store_failed", "store_recovered"] * 2
    assert books.counters["store_failed"] == 4
    store.close()
