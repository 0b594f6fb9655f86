"""A simulation kept in a folder, so that it can be stopped and goes on later.

``FOLDER/checkpoint`` is replaced as a whole, by a rename, and holds frames::

    8 bytes length | 32 bytes SHA-256 of the rest | MessagePack of (name, number, bytes)

in this order: ``run`` (what was asked for, as JSON), an ``outcome`` for each run that is over,
``now`` (which method is going on, and where), the parts of its shards, ``end`` with the number of
frames before it. ``FOLDER/result.json`` is written at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from p2prec.errors import ConfigError, StoppedByUserError, StoreError
from peers.cli.say import clock
from peers.scenario import Scenario
from peers.simulator.form import RECORDS
from peers.simulator.hands import Hand
from peers.simulator.run import Standing
from peers.simulator.world import World
from peers.swarm.data import Realm
from peers.swarm.summary import MethodRun
from peers.version import code, version

FORMAT: Final = 2
CHECKPOINT: Final = "checkpoint"
RESULT: Final = "result.json"
_MAGIC: Final = b"p2prec simulation\n"
_HEADER: Final = struct.Struct(">Q32s")
# What another machine, or another number of processes, may change.
_OF_THE_MACHINE: Final = frozenset(
    {"made_by", "seconds", "uss_mib", "peer_rounds_per_second", "mib_per_peer"}
)

_OTHER_DATA: Final = (
    "the interactions are other ones than those of the run in {}; it goes on with the same data "
    "alone"
)

Frame = tuple[str, int, bytes]
Run = tuple[int, str]  # seed, title of the row, behind the question where there are several
_FRAME: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left of a method when all its peers are over.

    Attributes:
        run: What its peers reported.
        digest: Of their models and results.
        facts: For the summary.
    """

    run: MethodRun
    digest: str
    facts: Mapping[str, float]


class _Over(NamedTuple):
    """A run that is over: on which data, and its ``Outcome``, packed: it may hold all answers."""

    data: bytes
    outcome: bytes


class _Now(NamedTuple):
    """The run that was going on, where, after how many seconds, and on which data."""

    run: Run
    turn: int
    virtual_s: float
    seconds: float
    data: bytes


@dataclass(slots=True)
class Keeper:
    """Saves a run in a folder, and knows what an earlier one left there.

    Args:
        folder: Of this run alone.
        asked: What was asked for, by ``asked_for``.
        every_s: Seconds between two saves.
        again: The command that goes on.
        stop: Whether to save and stop.
        say: Tells the user a sentence.
    """

    folder: Path
    asked: Mapping[str, Any]
    every_s: float
    again: str
    stop: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda _: None
    _outcomes: dict[Run, _Over] = field(default_factory=dict)
    _now: _Now | None = None
    _saved_s: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / CHECKPOINT

    def begin(self) -> None:
        """Take a folder for a new run.

        Raises:
            ConfigError: It holds one already.
            StoreError: It cannot be written.
        """
        if self.path.exists():
            raise ConfigError(
                f"{self.folder} holds a run already; --continue {self.folder} goes on with it, and "
                "--save takes another folder for a new one"
            )
        self._write(None)

    def resume(self) -> None:
        """Go on with the run of the folder.

        Raises:
            ConfigError: There is none, or it is another one.
            StoreError: It is damaged, or was saved by other code.
        """
        if not self.path.is_file():
            raise ConfigError(f"{self.folder} holds no run; --save {self.folder} begins one there")
        with self._readable():
            for name, _, data in self._frames():  # all: damage is told before anything begins
                if name == "run":
                    self._compare(json.loads(data))
                elif name == "outcome":
                    run, digest, outcome = RECORDS.unpack(data)
                    self._outcomes[run] = _Over(digest, outcome)
                elif name == "now":
                    self._now = _Now(*RECORDS.unpack(data))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was computed so far that a run could go on from."""
        return not self._outcomes and self._now is None

    def forget(self) -> None:
        """Leave no trace of a run of which nothing was computed."""
        if self.is_empty:
            self.path.unlink(missing_ok=True)

    def pause(self, run: Run) -> None:
        """Stop before more is computed of what can only be begun anew, if the user wants it.

        Raises:
            StoppedByUserError: The user does, and what was over is saved.
            StoreError: The user does, and it could not be saved.
        """
        if self.stop():
            self._write(None)
            raise StoppedByUserError(
                f"stopped in {run[1]}, which will begin anew; what was over before it is saved, "
                f"and goes on with: {self.again}"
            )

    def is_over(self, run: Run) -> bool:
        """Whether there is an outcome of it."""
        return run in self._outcomes

    def outcome(self, run: Run, realm: Realm) -> Outcome | None:
        """Of a run that was over when the folder was saved.

        Raises:
            ConfigError: It was one on other data.
        """
        over = self._outcomes.get(run)
        if over is None:
            return None
        self._same_data(over.data, realm)
        return Outcome(*RECORDS.unpack(over.outcome))

    def restore(self, run: Run, world: World, hands: Sequence[Hand]) -> tuple[Standing, float]:
        """Where a run goes on, and how many seconds it has lasted; a new one at its beginning.

        Raises:
            ConfigError: The data are not those of the saved run.
            StoreError: It is damaged.
        """
        now = self._now
        if now is None or now.run != run:
            return Standing(), 0.0
        self._same_data(now.data, world.realm)
        with self._readable():
            for name, number, data in self._frames():
                if name == "world":
                    for hand in hands:
                        hand.restore(("world", number), data)
                elif name == "counts":  # of a shard as a whole; only their sums matter
                    hands[0].restore(("counts", number), data)
                elif name == "group":
                    hands[number % len(hands)].restore(("group", number), data)
        return Standing(turn=now.turn, virtual_s=now.virtual_s), now.seconds

    def between(
        self, run: Run, world: World, hands: Sequence[Hand], seconds: Callable[[], float]
    ) -> Callable[[Standing], None]:
        """What ``live`` calls between two slices.

        It saves where that is due. Where that fails, the run goes on and the user is told.

        Raises:
            StoppedByUserError: The user wants it, and all is saved.
            StoreError: The user wants it, and nothing could be saved.
        """
        data = data_digest(world.realm)

        def look(standing: Standing) -> None:
            stop = self.stop()
            if not stop and time.monotonic() - self._saved_s < self.every_s:
                return
            self._now = _Now(run, standing.turn, standing.virtual_s, seconds(), data)
            try:
                self._write(_parts(hands))
            except StoreError as error:
                if stop:
                    raise
                self.say(f"{error}; the run goes on")
            if stop:
                raise StoppedByUserError(
                    f"stopped after {clock(standing.virtual_s)} of virtual time in {run[1]}; all "
                    f"is saved, and goes on with: {self.again}"
                )

        return look

    def finished(self, run: Run, realm: Realm, outcome: Outcome) -> None:
        """Keep what a run came to; where it cannot be saved, all goes on and the user is told."""
        told = outcome.run, outcome.digest, dict(outcome.facts)
        self._outcomes[run] = _Over(data_digest(realm), RECORDS.pack(told))
        self._now = None
        try:
            self._write(None)
        except StoreError as error:
            self.say(f"{error}; the run goes on")

    def result(self, summary: Mapping[str, Any]) -> None:
        """Write the result: the summary without what depends on the machine.

        Where that fails the user is told: the summary is still there to be shown.
        """
        text = json.dumps(_without(summary, _OF_THE_MACHINE), indent=1, sort_keys=True) + "\n"
        try:
            self._replace(self.folder / RESULT, lambda file: file.write(text.encode()))
        except StoreError as error:
            self.say(f"{error}; make room, then: {self.again}")

    # --- the file ------------------------------------------------------------------------------

    def _compare(self, saved: Mapping[str, Any]) -> None:
        if saved.get("format") != FORMAT or saved.get("code") != self.asked["code"]:
            raise StoreError(
                f"{self.folder} was saved by another p2prec ({saved.get('version')}, this is "
                f"{self.asked['version']}), whose results would differ; go on with that one, or "
                "begin anew with --save"
            )
        if saved["data"] != self.asked["data"]:
            raise ConfigError(_OTHER_DATA.format(self.folder))
        for key, said in (("options", "options"), ("scenario", "scenario"), ("seeds", "--seeds")):
            for name, there, here in _differences(saved[key], self.asked[key], said):
                raise ConfigError(
                    f"{self.folder} holds another run: {name} is {there} there and {here} here; "
                    "ask as then, or --save takes another folder for a new run"
                )

    def _same_data(self, data: bytes, realm: Realm) -> None:
        if data != data_digest(realm):
            raise ConfigError(_OTHER_DATA.format(self.folder))

    def _write(self, parts: Iterator[Frame] | None) -> None:
        """Replace the checkpoint; the earlier one stays until this one is on the disk.

        Args:
            parts: Of the run that is going on; None for no such run.
        """

        def write(file: BinaryIO) -> None:
            file.write(_MAGIC)
            n = 0
            for frame in self._all(parts):
                data = msgspec.msgpack.encode(frame)
                file.write(_HEADER.pack(len(data), hashlib.sha256(data).digest()) + data)
                n += 1
            data = msgspec.msgpack.encode(("end", n, b""))
            file.write(_HEADER.pack(len(data), hashlib.sha256(data).digest()) + data)

        self._replace(self.path, write)
        self._saved_s = time.monotonic()

    def _all(self, parts: Iterator[Frame] | None) -> Iterator[Frame]:
        yield "run", 0, json.dumps(self.asked, sort_keys=True).encode()
        for number, (run, over) in enumerate(self._outcomes.items()):
            yield "outcome", number, RECORDS.pack((run, *over))
        if self._now is not None and parts is not None:
            yield "now", 0, RECORDS.pack(tuple(self._now))
            yield from parts

    def _replace(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        new = path.with_name(path.name + ".new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("wb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        except OSError as error:
            kept = "; what was saved before is still there" if self.path.exists() else ""
            raise StoreError(f"{path} was not written: {error.strerror or error}{kept}") from None

    def _frames(self) -> Iterator[Frame]:
        """All frames but the last, checked; see ``_readable``."""
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("it does not begin as one")
            for n in itertools.count():
                name, number, data = _frame(file)
                if name == "end":
                    if number != n or file.read(1):
                        raise ValueError("parts are missing")
                    return
                yield name, number, data

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Tell of what is wrong with the file.

        Raises:
            StoreError: Something is missing or has changed.
        """
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.path} is damaged ({error}) and nothing can go on from it; the file was "
                "left as it is"
            ) from None


def kept_or(
    compute: Callable[[], Outcome], keeper: Keeper | None, run: Run, realm: Realm
) -> Outcome:
    """What a run came to: as it was kept, or else computed, and kept from now on.

    Raises:
        ConfigError: What was kept is of other data.
    """
    outcome = keeper.outcome(run, realm) if keeper is not None else None
    if outcome is None:
        outcome = compute()
        if keeper is not None:
            keeper.finished(run, realm, outcome)
    return outcome


def asked_for(
    scenarios: Mapping[str, Scenario],
    *,
    seeds: int,
    options: Mapping[str, Any] | None = None,
    data: bytes = b"",
) -> dict[str, Any]:
    """What has to be the same for a run to go on, as JSON holds it; of seeds the first counts.

    Args:
        scenarios: By question; ``""`` where there is one only.
        seeds: How many.
        options: Of the command that decide about more than the scenarios say; they are compared
            first, since the user wrote them.
        data: Of the first seed, as of ``data_digest``; empty where they are not read yet.
    """
    as_json = json.loads(msgspec.json.encode(dict(scenarios)))
    return {
        "format": FORMAT,
        "version": version(),
        "code": code(),
        "data": data.hex(),
        "options": dict(options or {}),
        "scenario": as_json[""] if list(as_json) == [""] else as_json,
        "seeds": seeds,
    }


def _parts(hands: Sequence[Hand]) -> Iterator[Frame]:
    for hand in hands:
        hand.save()
    for hand in hands:
        while (found := hand.part()) is not None:
            (name, number), data = found
            yield name, number, data


def _frame(file: BinaryIO) -> Frame:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise ValueError("it ends too early")
    length, digest = _HEADER.unpack(header)
    if length > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError("it ends too early")
    data = file.read(length)
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("a part has changed")
    return _FRAME.decode(data)


def data_digest(realm: Realm) -> bytes:
    """Of the interactions that a run is about; all else is in the scenario."""
    sha = hashlib.sha256(realm.catalogue.digest)
    for history in realm.histories:
        for column in (history.item, history.timestamp_s, history.rating):
            sha.update(column.tobytes())
    sha.update(repr(realm.friends).encode())
    return sha.digest()


def _differences(there: Any, here: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}")
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from _differences(one, other, f"{name}[{i}]")
    elif there != here:
        name = name.removeprefix("scenario.").removeprefix("options.")
        yield name, _named(there), _named(here)


def _named(value: Any) -> Any:
    """Of methods their names: all of their settings would fill a terminal."""
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return ", ".join(str(each.get("label") or each.get("name")) for each in value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "given"
    return "not given" if value is None else value


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v, names) for k, v in value.items() if k not in names}
    return [_without(v, names) for v in value] if isinstance(value, list) else value
