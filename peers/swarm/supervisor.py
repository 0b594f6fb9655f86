"""One command, N real peers: starts them, watches them, collects, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2prec.errors import StoppedByUserError
from peers.broker import free_port
from peers.scenario import MethodConfig, Scenario, mqtt_buckets, rounds_of
from peers.swarm.data import Realm
from peers.swarm.summary import MethodRun, summarise
from peers.swarm.zygote import die_with_parent

_PEERS_PER_RESPONDER = 150
_PEERS_PER_BROKER = 400
_RECEIVE_BYTES = 65_536
_ZYGOTE_EXIT_S = 25.0


class Supervisor:
    """Runs the methods of a scenario one after the other.

    Args:
        scenario: What to run.
        scenario_path: Its file, read again by the warm parent.
        realm: The data, for the baselines.
        data: CSV that overrides the scenario's, or "".
        keep: Folder that keeps the peers' homes, or None.
        progress: Called a few times a second with the running method.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        scenario_path: Path,
        realm: Realm,
        data: str,
        keep: Path | None,
        progress: Callable[[MethodRun, int], None],
    ) -> None:
        self._scenario = scenario
        self._path = scenario_path
        self._realm = realm
        self._data = data
        self._keep = keep
        self._progress = progress
        self._zygote: subprocess.Popen[bytes] | None = None
        self._interrupted = False

    def run(self) -> dict[str, Any]:
        """All methods and baselines; see ``docs/summary-schema.md``.

        Raises:
            StoppedByUserError: SIGINT or SIGTERM came; everything is stopped.
        """
        previous = {
            number: signal.signal(number, self._interrupt)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        begun = time.monotonic()
        try:
            runs = [self._run_method(m) for m in self._scenario.methods]
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return summarise(self._scenario, self._realm, runs, seconds=time.monotonic() - begun)

    def _interrupt(self, number: int, frame: object) -> None:
        del number, frame
        self._interrupted = True

    def _run_method(self, method: MethodConfig) -> MethodRun:
        folder = Path(tempfile.mkdtemp(prefix="p2prec-"))
        count = self._scenario.peers.count
        rounds = rounds_of(self._scenario, method)
        run = MethodRun(label=method.title, rounds=rounds)
        alone = method.name == "alone"
        responders = 0 if alone else max(2, -(-count // _PEERS_PER_RESPONDER))
        brokers = 0 if alone else -(-count // _PEERS_PER_BROKER)
        job = {
            "scenario": str(self._path.resolve()),
            "data": str(Path(self._data).resolve()) if self._data else "",
            "seed": self._scenario.seed,
            "count": count,
            "rounds": rounds,
            "method": run.label,
            "folder": str(folder),
            "reports": str(folder / "reports.sock"),
            "responders": [str(folder / f"mdns-{i}.sock") for i in range(responders)],
            "brokers": [free_port() for _ in range(brokers)],
            "mqtt_buckets": mqtt_buckets(self._scenario, count),
        }
        (folder / "job.json").write_text(json.dumps(job))
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            channel.bind(str(job["reports"]))
            channel.settimeout(0.1)
            with (folder / "peers.log").open("wb") as log:
                # A group of its own: Ctrl-C reaches the supervisor alone, which then stops all.
                self._zygote = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", "peers.swarm.zygote", str(folder / "job.json")],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    # Two threads allocate; one arena keeps what each peer holds for itself small.
                    env={**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536"},
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads run here
                )
            self._watch(run, channel, count)
            run.seconds = time.monotonic() - run.began_s
        finally:
            stopped = self._stop()
            channel.close()
            self._tidy(folder, run)
        if self._interrupted:
            raise StoppedByUserError(f"interrupted: {stopped}")
        return run

    def _watch(self, run: MethodRun, channel: socket.socket, count: int) -> None:
        run.began_s = time.monotonic()
        shown_s = 0.0
        while len(run.results) + len(run.died - run.results.keys()) < count:
            now_s = time.monotonic()
            if self._interrupted or now_s - run.began_s > self._scenario.timeout_s:
                return
            if self._zygote is not None and self._zygote.poll() is not None:
                return
            with contextlib.suppress(TimeoutError, ValueError):
                run.take(json.loads(channel.recv(_RECEIVE_BYTES)), time.monotonic())
            if now_s - shown_s > 0.25:
                self._progress(run, count)
                shown_s = now_s
        self._progress(run, count)

    def _stop(self) -> str:
        zygote, self._zygote = self._zygote, None
        if zygote is None:
            return "nothing was running"
        n = _descendants(zygote.pid)
        with contextlib.suppress(ProcessLookupError):
            zygote.terminate()
        try:
            zygote.wait(_ZYGOTE_EXIT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(zygote.pid, signal.SIGKILL)
            zygote.wait()
        return f"stopped all {n} processes (peers, responders and broker) of this swarm"

    def _tidy(self, folder: Path, run: MethodRun) -> None:
        missing = self._scenario.peers.count - len(run.results)
        if missing and not self._interrupted:
            log = (folder / "peers.log").read_text(errors="replace").strip()
            print(  # noqa: T201
                f"{run.label}: {missing} peers gave no result, {len(run.died)} of them died. "
                f"Their log ends:\n{log[-2000:]}",
                file=sys.stderr,
            )
        if self._keep is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._keep.mkdir(parents=True, exist_ok=True)
        target = self._keep / run.label
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(folder, target)


def _descendants(pid: int) -> int:
    """How many live processes the warm parent has, itself included."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        return 1 + len(children.read_text().split())
    return 1
