"""Starting and ending peers that are processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from p2prec.errors import TransportError
from peers.control import ControlClient

# Conditions, not clocks, decide: a machine that others use may be twenty times slower.
PATIENCE_S = 240.0
HERE = Path(__file__).resolve().parent


class PeerProcess:
    """``peer_process.py`` with one home; may be started again after its death."""

    def __init__(self, home: Path, *, prefix: tuple[str, ...] = (), **job: Any) -> None:
        self.home, self.prefix = home, prefix
        self.job = {"home": str(home), **job}
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    def start(self, **changes: Any) -> None:
        path = self.home / "job.json"
        path.write_text(json.dumps(self.job | changes))
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, str(HERE / "peer_process.py"), str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
            )

    def wait(self, seconds: float = PATIENCE_S) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def told(self, what: str) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.home / "told.jsonl").read_text().splitlines()
            return [t for t in map(json.loads, lines) if t["what"] == what]
        return []

    def status(self) -> dict[str, Any]:
        """What the running peer says; a Unix socket is reached across network namespaces."""
        with contextlib.suppress(TransportError):
            return ControlClient(self.home).request("status")
        return {}

    def end(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def ending(*peers: PeerProcess) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for peer in peers:
            print(peer.home, (peer.home / "log").read_text()[-2_000:])  # noqa: T201 - pytest shows
        raise
    finally:
        for peer in peers:
            peer.end()


def until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def zygote(supervisor: int) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in peers_of(supervisor):  # libraries start short-lived helpers too
            with contextlib.suppress(OSError):
                if b"peers.swarm.zygote" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        time.sleep(0.05)
    raise AssertionError("no warm parent")


def peers_of(parent: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except FileNotFoundError:
        return []
