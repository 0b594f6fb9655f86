"""Replay memories, in RAM and on disk: one contract."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cast import ALICE, BOB, BOB_ADVERT, NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from p2prec import limits
from p2prec.errors import RemoteProtocolError
from peers.messages import PeerId
from peers.meter import CpuMeter, MeteredReplay
from peers.replay import BoundedReplayMemory, ReplayMemory
from peers.sealing import Opener, seal
from peers.store import Store

A, B = PeerId("a" * 64), PeerId("b" * 64)


@contextmanager
def memory(kind: str) -> Iterator[ReplayMemory]:
    if kind == "ram":
        yield BoundedReplayMemory()
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "peer.db")
        yield store
        store.close()


both = pytest.mark.parametrize("kind", ["ram", "disk"])


def take(replay: ReplayMemory, sender: PeerId, number: int, created_s: float | None = None) -> bool:
    created_s = float(number) if created_s is None else created_s
    name = number.to_bytes(16, "big")
    seen = replay.seen(sender, name, created_s=created_s)
    accepted = replay.accept(sender, name, created_s=created_s, expires_s=created_s + 60)
    assert accepted != seen
    return accepted


@both
def test_an_id_is_accepted_once_a_sender(kind: str) -> None:
    with memory(kind) as replay:
        assert take(replay, A, 1)
        assert not take(replay, A, 1)
        assert take(replay, B, 1)
        assert take(replay, A, 2)


@both
def test_after_4096_later_ids_the_first_ones_are_still_refused(kind: str) -> None:
    with memory(kind) as replay:
        n = limits.REPLAY_IDS_PER_SENDER + 50
        for i in range(n):
            assert take(replay, A, i)
        assert not any(take(replay, A, i) for i in range(n))
        assert take(replay, A, n)  # and time goes on


@both
@given(
    said=st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 30), st.integers(0, 40)), max_size=120
    )
)
@settings(max_examples=40, deadline=None)
def test_nothing_is_accepted_twice_however_little_is_remembered(
    kind: str, said: list[tuple[str, int, int]]
) -> None:
    # An id comes with the time that its sender signed: the same at every repetition.
    with pytest.MonkeyPatch.context() as patch, memory(kind) as replay:
        patch.setattr(limits, "REPLAY_IDS_PER_SENDER", 4)
        patch.setattr(limits, "MAX_REMEMBERED_SENDERS", 3)
        patch.setattr(limits, "MAX_REMEMBERED_IDS", 12)
        signed: dict[tuple[str, int], int] = {}
        accepted = set()
        for sender, number, created in said:
            created_s = float(signed.setdefault((sender, number), created))
            if take(replay, PeerId(sender), number, created_s):
                assert (sender, number) not in accepted
                accepted.add((sender, number))


@both
def test_a_flood_of_identities_stays_bounded_and_forgets_no_refusal(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_REMEMBERED_SENDERS", 20)
    monkeypatch.setattr(limits, "MAX_REMEMBERED_IDS", 40)
    with memory(kind) as replay:
        assert take(replay, A, 0, created_s=1.0)
        for i in range(500):
            take(replay, PeerId(f"{i:064x}"), i, created_s=float(i + 2))
        assert not take(replay, A, 0, created_s=1.0)
        assert take(replay, A, 1, created_s=1_000.0)
        if isinstance(replay, Store):
            [n] = replay._db.execute("SELECT count(*) FROM seen").fetchone()
            [floors] = replay._db.execute("SELECT count(*) FROM floor").fetchone()
            assert n <= 41
            assert floors == 1
        else:
            assert isinstance(replay, BoundedReplayMemory)
            assert len(replay._senders) <= 20


def test_old_ids_make_room_without_refusing_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_REMEMBERED_IDS", 40)
    store = Store.open(tmp_path / "peer.db")
    for i in range(40):
        assert take(store, PeerId(f"{i:064x}"), i, created_s=float(i))
    later = limits.MAX_MESSAGE_LIFETIME_S + limits.MAX_CLOCK_SKEW_S + 41
    assert take(store, A, 100, created_s=later)
    assert take(store, B, 101, created_s=later - 1_000)  # no floor was raised
    assert store._db.execute("SELECT count(*) FROM seen").fetchone() == (2,)
    store.close()


def test_an_envelope_is_refused_after_a_restart_and_4096_later_messages(tmp_path: Path) -> None:
    [envelope] = seal(b"once", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)
    store = Store.open(tmp_path / "peer.db")
    assert Opener(BOB, store).open(envelope, now_s=NOW) is not None
    store.close()
    store = Store.open(tmp_path / "peer.db")
    with pytest.raises(RemoteProtocolError, match="replayed"):
        Opener(BOB, store).open(envelope, now_s=NOW)
    for i in range(limits.REPLAY_IDS_PER_SENDER + 1):
        assert store.accept(
            ALICE.peer_id, i.to_bytes(16, "big"), created_s=NOW + 1 + i / 1e6, expires_s=NOW + 99
        )
    for _ in range(100):
        with pytest.raises(RemoteProtocolError, match="replayed"):
            Opener(BOB, store).open(envelope, now_s=NOW)
    [fresh] = seal(b"twice", keyring=ALICE, to=BOB_ADVERT, now_s=NOW + 2)
    assert Opener(BOB, store).open(fresh, now_s=NOW + 2) is not None
    store.close()


def test_time_of_the_replay_memory_is_a_part_of_its_own(tmp_path: Path) -> None:
    store, meter = Store.open(tmp_path / "peer.db"), CpuMeter()
    envelopes = [seal(b"x", keyring=ALICE, to=BOB_ADVERT, now_s=NOW)[0] for _ in range(50)]
    opener = Opener(BOB, MeteredReplay(store, meter))
    begun_s = time.thread_time()
    for envelope in envelopes:
        with meter.part("open"):
            assert opener.open(envelope, now_s=NOW) is not None
    took_s = time.thread_time() - begun_s
    assert set(meter.seconds) == {"open", "replay"}
    assert 0 < meter.seconds["replay"] < meter.seconds["open"]
    assert 0.5 * took_s < meter.total_s <= took_s
    store.close()
