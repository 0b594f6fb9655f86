"""What a device keeps: one SQLite file, safe against a crash at any moment.

Tables: ``interaction``, ``learner`` (named arrays as raw bytes, never pickle), ``progress``,
``keyring``, ``seen`` and ``floor`` (replay memory), ``release`` (the privacy ledger), ``counter``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2prec import limits
from p2prec.data.interactions import History
from p2prec.errors import StoreError
from p2prec.privacy.ledger import PrivacySpent, spent
from peers.messages import PeerId

STORE_NAME: Final = "peer.db"  # in the peer's folder
_VERSION: Final = 1
_OF_OTHERS: Final = "held_"  # names of arrays that come back by themselves begin so
_EVERYBODY: Final = ""  # the row of ``floor`` that holds for all senders
_SCHEMA: Final = """
CREATE TABLE interaction (
    timestamp_s INTEGER NOT NULL, item INTEGER NOT NULL, rating REAL NOT NULL,
    PRIMARY KEY (timestamp_s, item)
) STRICT, WITHOUT ROWID;
CREATE TABLE learner (
    name TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1), round INTEGER NOT NULL, neighbours TEXT NOT NULL
) STRICT;
CREATE TABLE keyring (one INTEGER PRIMARY KEY CHECK (one = 1), data BLOB NOT NULL) STRICT;
CREATE TABLE seen (
    sender TEXT NOT NULL, id BLOB NOT NULL, created_s REAL NOT NULL, PRIMARY KEY (sender, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE floor (sender TEXT PRIMARY KEY, created_s REAL NOT NULL) STRICT;
CREATE TABLE release (
    round INTEGER PRIMARY KEY, time_s REAL NOT NULL, kind TEXT NOT NULL,
    recipients INTEGER NOT NULL, bytes INTEGER NOT NULL, noise_multiplier REAL NOT NULL
) STRICT;
CREATE TABLE counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One round in which something left the device."""

    round: int
    time_s: float
    kind: str
    recipients: int
    n_bytes: int
    noise_multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the peer's life stands."""

    round: int
    neighbours: tuple[PeerId, ...]


class Store:
    """The file of one peer; used from one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path
        self._n_seen = 0
        self._seen_of: dict[PeerId, int] = {}  # how many ids of a sender, counted when it speaks
        self._floors: dict[str, float] = {}
        self._read_replay()

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or create; the folder is made readable for its owner alone.

        Raises:
            StoreError: It cannot be opened, is damaged, or is of a newer version.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA cache_size = -256")
            db.execute("PRAGMA busy_timeout = 5000")
            db.execute("PRAGMA secure_delete = FAST")  # a destroyed prekey leaves no bytes behind
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise StoreError(
                    f"{path} was written by a newer p2prec (store version {version}); update p2prec"
                )
            return cls(db, path)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path} cannot be opened: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- the owner's interactions -----------------------------------------------------------

    def add_interactions(self, history: History) -> int:
        """Add; what is there already stays. Returns how many were new."""
        before = self._db.total_changes
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO interaction VALUES (?, ?, ?)",
                zip(
                    history.timestamp_s.tolist(),
                    history.item.tolist(),
                    history.rating.tolist(),
                    strict=True,
                ),
            )
        return self._db.total_changes - before

    def history(self) -> History:
        """All interactions, oldest first."""
        rows = self._rows(
            "SELECT item, timestamp_s, rating FROM interaction ORDER BY timestamp_s, item"
        )
        return History(
            item=np.array([r[0] for r in rows], np.int32),
            timestamp_s=np.array([r[1] for r in rows], np.int64),
            rating=np.array([r[2] for r in rows], np.float32),
        )

    # --- progress and learner ---------------------------------------------------------------

    def save_progress(
        self,
        *,
        round_: int,
        neighbours: tuple[PeerId, ...],
        learner: Mapping[str, NDArray[np.generic]],
    ) -> None:
        """Round, neighbours and the learner's arrays, all or nothing."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO progress VALUES (1, ?, ?)", (round_, " ".join(neighbours))
            )
            for name, array in learner.items():
                shape = " ".join(map(str, array.shape))
                data = np.ascontiguousarray(array).tobytes()
                self._db.execute(
                    "INSERT OR REPLACE INTO learner VALUES (?, ?, ?, ?)",
                    (name, array.dtype.str, shape, data),
                )

    def progress(self) -> Progress | None:
        """What ``save_progress`` kept last."""
        rows = self._rows("SELECT round, neighbours FROM progress")
        if not rows:
            return None
        [row] = rows
        return Progress(round=row[0], neighbours=tuple(PeerId(p) for p in row[1].split()))

    def learner_state(self) -> dict[str, NDArray[np.generic]]:
        """The learner's arrays; empty for a newcomer. Damaged ones of others are left out.

        Raises:
            StoreError: An array is damaged.
        """
        state: dict[str, NDArray[np.generic]] = {}
        for name, dtype, shape, data in self._rows("SELECT * FROM learner"):
            try:
                size = tuple(map(int, shape.split()))
                state[name] = np.frombuffer(data, np.dtype(dtype)).reshape(size).copy()
            except (ValueError, TypeError) as error:
                if name.startswith(_OF_OTHERS):
                    continue
                raise StoreError(f"{self.path}: array {name!r} is damaged: {error}") from None
        return state

    # --- keys, replay, ledger, counters -----------------------------------------------------

    def save_keyring(self, data: bytes) -> None:
        """Keep the keys; keys that are no longer among them leave the files."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO keyring VALUES (1, ?)", (data,))
        # The log still has the old page until it is written back and cut.
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def keyring(self) -> bytes | None:
        """The keys, or None for a newcomer."""
        rows = self._rows("SELECT data FROM keyring")
        return bytes(rows[0][0]) if rows else None

    def seen(self, sender: PeerId, message_id: bytes, *, created_s: float) -> bool:
        """Whether ``accept`` would refuse; changes nothing."""
        if created_s <= self._floor(sender):
            return True
        known = self._rows("SELECT 1 FROM seen WHERE sender = ? AND id = ?", (sender, message_id))
        return bool(known)

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """Whether a message is new; durable, bounded, see ``peers.replay.ReplayMemory``."""
        del expires_s
        if created_s <= self._floor(sender):
            return False
        if sender not in self._seen_of:
            if len(self._seen_of) >= limits.MAX_REMEMBERED_SENDERS:
                self._seen_of.clear()
            self._seen_of[sender] = self._count_seen(sender)
        with self._written():
            # One statement, which is its own transaction: this is done for every message.
            added = self._db.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (sender, message_id, created_s)
            ).rowcount
        if added < 1:
            return False
        self._n_seen += 1
        self._seen_of[sender] += 1
        if self._seen_of[sender] > limits.REPLAY_IDS_PER_SENDER:
            self._bound_replay(sender)
        if self._n_seen > limits.MAX_REMEMBERED_IDS:
            self._bound_all_replay(created_s)
        return True

    def _floor(self, sender: PeerId) -> float:
        return max(self._floors.get(sender, -1.0), self._floors.get(_EVERYBODY, -1.0))

    def _count_seen(self, sender: PeerId) -> int:
        [n] = self._db.execute("SELECT count(*) FROM seen WHERE sender = ?", (sender,)).fetchone()
        return int(n)

    def _read_replay(self) -> None:
        [self._n_seen] = self._db.execute("SELECT count(*) FROM seen").fetchone()
        self._floors = dict(self._db.execute("SELECT sender, created_s FROM floor"))
        self._seen_of.clear()

    def _bound_replay(self, sender: PeerId) -> None:
        n = self._seen_of[sender]
        # The older half goes at once, so that this happens rarely; the floor keeps it refused.
        [floor] = self._db.execute(
            "SELECT created_s FROM seen WHERE sender = ? ORDER BY created_s LIMIT 1 OFFSET ?",
            (sender, n // 2),
        ).fetchone()
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO floor VALUES (?, ?)", (sender, floor))
            self._db.execute(
                "DELETE FROM seen WHERE sender = ? AND created_s <= ?", (sender, floor)
            )
        self._read_replay()

    def _bound_all_replay(self, newest_s: float) -> None:
        """Identities cost nothing, so that all senders together are bounded too."""
        # Nothing that was created so long before an acceptable message can be accepted any more.
        expired_s = newest_s - limits.MAX_MESSAGE_LIFETIME_S - limits.MAX_CLOCK_SKEW_S
        with self._transaction():
            self._db.execute("DELETE FROM seen WHERE created_s < ?", (expired_s,))
            self._db.execute(
                "DELETE FROM floor WHERE created_s < ? AND sender != ?", (expired_s, _EVERYBODY)
            )
            [n] = self._db.execute("SELECT count(*) FROM seen").fetchone()
            if n > limits.MAX_REMEMBERED_IDS // 2:
                [floor] = self._db.execute(
                    "SELECT created_s FROM seen ORDER BY created_s LIMIT 1 OFFSET ?", (n // 2,)
                ).fetchone()
                self._db.execute("INSERT OR REPLACE INTO floor VALUES (?, ?)", (_EVERYBODY, floor))
                self._db.execute("DELETE FROM seen WHERE created_s <= ?", (floor,))
                self._db.execute(
                    "DELETE FROM floor WHERE created_s <= ? AND sender != ?", (floor, _EVERYBODY)
                )
        self._read_replay()

    def record_release(self, release: Release) -> None:
        """Write a release down, on the disk before this returns; a round is released once.

        Raises:
            StoreError: The round was released before, or the disk does not take it.
        """
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction():
                self._db.execute(
                    "INSERT INTO release VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        release.round,
                        release.time_s,
                        release.kind,
                        release.recipients,
                        release.n_bytes,
                        release.noise_multiplier,
                    ),
                )
        finally:
            self._db.execute("PRAGMA synchronous = NORMAL")

    def releases(self) -> list[Release]:
        """The ledger, oldest first."""
        return [
            Release(
                round=r[0],
                time_s=r[1],
                kind=r[2],
                recipients=r[3],
                n_bytes=r[4],
                noise_multiplier=r[5],
            )
            for r in self._rows("SELECT * FROM release ORDER BY round")
        ]

    def spent(self, delta: float) -> PrivacySpent:
        """What all releases of the ledger have cost."""
        return spent(noise_multipliers=[r.noise_multiplier for r in self.releases()], delta=delta)

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to durable counters."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + ?",
                [(name, n, n) for name, n in counts.items()],
            )

    def counters(self) -> dict[str, int]:
        """All durable counters."""
        return dict(self._rows("SELECT name, n FROM counter ORDER BY name"))

    def check(self) -> str:
        """``"ok"``, or what is wrong with the file."""
        try:
            return str(self._rows("PRAGMA integrity_check")[0][0])
        except StoreError as error:  # too damaged even to be checked
            return str(error)

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._written():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            hint = " Free some space." if "full" in str(error) else ""
            raise StoreError(f"{self.path} was not written: {error}.{hint}") from None
