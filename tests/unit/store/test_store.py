"""The store keeps what it was given, whatever happens."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from p2prec.data.city import generate_city
from p2prec.data.interactions import History
from p2prec.errors import StoreError
from p2prec.limits import REPLAY_IDS_PER_SENDER
from peers.messages import PeerId
from peers.store import Release, Store


def history(n: int) -> History:
    return History(
        item=np.arange(n, dtype=np.int32),
        timestamp_s=np.arange(n, dtype=np.int64) * 60,
        rating=np.ones(n, np.float32),
    )


def release(round_: int) -> Release:
    return Release(
        round=round_, time_s=1.0, kind="dclr", recipients=3, n_bytes=10, noise_multiplier=0.0
    )


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a" / "peer.db")
    assert store.add_interactions(history(5)) == 5
    assert store.add_interactions(history(7)) == 2
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.empty((0, 4), np.uint32)}
    store.save_progress(round_=4, neighbours=(PeerId("p"), PeerId("q")), learner=arrays)
    store.save_keyring(b"keys")
    store.record_release(release(4))
    store.count({"bad_signature": 2})
    store.count({"bad_signature": 1})
    store.close()
    again = Store.open(tmp_path / "a" / "peer.db")
    assert len(again.history()) == 7
    progress = again.progress()
    assert progress is not None
    assert (progress.round, progress.neighbours) == (4, ("p", "q"))
    state = again.learner_state()
    assert (state["x"] == arrays["x"]).all()
    assert state["n"].shape == (0, 4)
    assert again.keyring() == b"keys"
    assert again.releases() == [release(4)]
    assert again.counters() == {"bad_signature": 3}
    assert again.check() == "ok"
    assert (tmp_path / "a" / "peer.db").stat().st_mode & 0o077 == 0


def test_a_round_is_released_once(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    store.record_release(release(1))
    with pytest.raises(StoreError):
        store.record_release(release(1))


def test_replay_is_refused_after_a_restart_and_beyond_the_bound(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    sender = PeerId("s")
    n = REPLAY_IDS_PER_SENDER + 5
    for i in range(n):
        assert store.accept(sender, i.to_bytes(16, "big"), created_s=float(i), expires_s=1e9)
    store.close()
    store = Store.open(tmp_path / "peer.db")
    for i in range(0, n, 50):
        assert not store.accept(sender, i.to_bytes(16, "big"), created_s=float(i), expires_s=1e9)
    assert store.accept(sender, b"new" + bytes(13), created_s=1e6, expires_s=1e9)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "peer.db")
    store.save_progress(round_=1, neighbours=(), learner={"x": np.zeros(10)})
    store._db.execute("PRAGMA max_page_count = 40")
    with pytest.raises(StoreError, match=r"was not written: .*full.*Free some space"):
        store.save_progress(round_=2, neighbours=(), learner={"x": np.zeros(1_000_000)})
    progress = store.progress()
    assert progress is not None
    assert progress.round == 1
    assert store.learner_state()["x"].shape == (10,)


def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "peer.db"
    code = textwrap.dedent(
        f"""
        import numpy as np
        from pathlib import Path
        from peers.store import Store
        store = Store.open(Path({str(path)!r}))
        r = 0
        while True:
            r += 1
            store.save_progress(round_=r, neighbours=(), learner={{"x": np.full(20000, r)}})
            print(r, flush=True)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    last = 0
    for line in child.stdout:
        last = int(line)
        if last == 30:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    child.wait()
    store = Store.open(path)
    progress = store.progress()
    assert progress is not None
    assert progress.round >= last
    assert (store.learner_state()["x"] == progress.round).all()
    assert store.check() == "ok"


def test_no_store_at_all_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "peer.db").write_bytes(b"this is no database, it only looks like a file" * 30)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path / "peer.db")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="newer"):
        Store.open(tmp_path / "newer.db")


def test_a_history_comes_back_in_the_order_in_which_a_simulation_has_it(tmp_path: Path) -> None:
    """Check-ins of one minute too, or a real peer would learn from another past."""
    city = generate_city(rng=np.random.default_rng(11), n_users=120, n_places=400)
    histories = [city.interactions.history(user) for user in range(120)]
    together = [h for h in histories if (np.diff(h.timestamp_s) == 0).any()]
    assert len(together) > 3
    for number, given in enumerate(together):
        store = Store.open(tmp_path / f"{number}.db")
        store.add_interactions(given)
        assert np.array_equal(store.history().item, given.item)
        store.close()
