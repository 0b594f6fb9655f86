"""What a device keeps: one SQLite file, safe against a crash at any moment.

Tables: ``interaction``, ``learner`` (named arrays as raw bytes, never pickle), ``progress``,
``keyring``, ``seen`` and ``floor`` (replay memory), ``release`` (the privacy ledger), ``counter``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2prec import limits
from p2prec.data.interactions import History
from p2prec.errors import StoreError
from peers.messages import PeerId

_VERSION: Final = 1
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
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise StoreError(
                    f"{path} was written by a newer p2prec (store version {version}); update p2prec"
                )
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path} cannot be opened: {error}") from None
        return cls(db, path)

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
        rows = self._db.execute(
            "SELECT item, timestamp_s, rating FROM interaction ORDER BY timestamp_s, item"
        ).fetchall()
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
        row = self._db.execute("SELECT round, neighbours FROM progress").fetchone()
        if row is None:
            return None
        return Progress(round=row[0], neighbours=tuple(PeerId(p) for p in row[1].split()))

    def learner_state(self) -> dict[str, NDArray[np.generic]]:
        """The learner's arrays; empty for a newcomer.

        Raises:
            StoreError: An array is damaged.
        """
        state: dict[str, NDArray[np.generic]] = {}
        for name, dtype, shape, data in self._db.execute("SELECT * FROM learner"):
            try:
                size = tuple(map(int, shape.split()))
                state[name] = np.frombuffer(data, np.dtype(dtype)).reshape(size).copy()
            except (ValueError, TypeError) as error:
                raise StoreError(f"{self.path}: array {name!r} is damaged: {error}") from None
        return state

    # --- keys, replay, ledger, counters -----------------------------------------------------

    def save_keyring(self, data: bytes) -> None:
        """Keep the keys."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO keyring VALUES (1, ?)", (data,))

    def keyring(self) -> bytes | None:
        """The keys, or None for a newcomer."""
        row = self._db.execute("SELECT data FROM keyring").fetchone()
        return None if row is None else bytes(row[0])

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """Whether a message is new; durable, bounded, see ``peers.sealing.ReplayMemory``."""
        del expires_s
        with self._transaction():
            floor = self._db.execute(
                "SELECT created_s FROM floor WHERE sender = ?", (sender,)
            ).fetchone()
            if floor is not None and created_s <= floor[0]:
                return False
            added = self._db.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (sender, message_id, created_s)
            ).rowcount
            if added:
                self._bound_replay(sender)
            return bool(added)

    def _bound_replay(self, sender: PeerId) -> None:
        [n] = self._db.execute("SELECT count(*) FROM seen WHERE sender = ?", (sender,)).fetchone()
        if n <= limits.REPLAY_IDS_PER_SENDER:
            return
        # The older half goes at once, so that this happens rarely; the floor keeps it refused.
        [floor] = self._db.execute(
            "SELECT created_s FROM seen WHERE sender = ? ORDER BY created_s LIMIT 1 OFFSET ?",
            (sender, n // 2),
        ).fetchone()
        self._db.execute("INSERT OR REPLACE INTO floor VALUES (?, ?)", (sender, floor))
        self._db.execute("DELETE FROM seen WHERE sender = ? AND created_s <= ?", (sender, floor))

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
            for r in self._db.execute("SELECT * FROM release ORDER BY round")
        ]

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to durable counters."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + ?",
                [(name, n, n) for name, n in counts.items()],
            )

    def counters(self) -> dict[str, int]:
        """All durable counters."""
        return dict(self._db.execute("SELECT name, n FROM counter ORDER BY name").fetchall())

    def check(self) -> str:
        """``"ok"``, or what is wrong with the file."""
        return str(self._db.execute("PRAGMA integrity_check").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            hint = " Free some space." if "full" in str(error) else ""
            raise StoreError(f"{self.path} was not written: {error}.{hint}") from None
