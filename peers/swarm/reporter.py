"""What a peer of a swarm reports to its supervisor: one datagram for each step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from typing import Any

from p2prec.data.interactions import History
from p2prec.data.split import leave_one_out
from peers import events as ev
from peers.asking import rank, sizes_of
from peers.daemon import Daemon


def report(path: str, fields: dict[str, Any]) -> None:
    """One datagram to the supervisor; dropped where it has gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5.0)
        with contextlib.suppress(OSError):
            channel.sendto(json.dumps(fields).encode(), path)


class Reporter:
    """Turns what a peer tells into short reports."""

    def __init__(self, index: int, path: str, history: History) -> None:
        self._index, self._path, self._history = index, path, history
        self._split = leave_one_out(history)
        self.daemon: Daemon | None = None
        self._advertised = self._ready = False

    def told(self, tell: ev.Tell) -> None:
        daemon = self.daemon
        if daemon is None:
            return
        schedule = daemon.config.schedule
        if tell.what == "neighbours_chosen":
            n = int(str(tell.fields["n"]))
            if not self._ready and n >= schedule.min_neighbours:
                self._ready = True
                self._send(k="ready", neighbours=n)
        elif tell.what == "round_finished":
            place, new = rank(daemon.learner, self._split.validation)
            counters = daemon.books.of_all_runs()  # what left before a restart has left too
            self._send(
                k="round",
                round=tell.fields["round"],
                rank=place,
                new=new,
                messages=sum(n for name, n in counters.items() if name.startswith("sent.")),
                bytes=counters.get("payload_bytes", 0),
            )
        elif tell.what == "advertised" and not self._advertised:
            self._advertised = True
            self._send(k="advertised")
        elif tell.what == "resting":
            asyncio.get_running_loop().call_soon(self._finish, daemon)

    def _finish(self, daemon: Daemon) -> None:
        """The test interaction is looked at once, with the validation one known."""
        if len(self._split.validation):
            daemon.learner.add(self._history.head(-1))
        place, new = rank(daemon.learner, self._split.test)
        counters = daemon.books.of_all_runs()
        self._send(
            k="result",
            rank=place,
            new=new,
            **sizes_of(daemon.learner),
            uss_kib=uss_kib(),
            cpu_s=time.process_time(),
            crypto_s=dict(daemon.books.crypto.seconds),
            counters={
                n: c for n, c in counters.items() if n.startswith(("sent", "said", "payload"))
            },
            dropped={n: c for n, c in counters.items() if n.startswith("dropped")},
            sizes=_sampled(daemon.outbox.message_sizes),
            discovered=dict(daemon.life.discovered),
            area=daemon.portrait.area,
            peer=daemon.keyring.peer_id[:16],
            neighbours=[p[:16] for p in daemon.life.neighbours],
        )

    def _send(self, **fields: Any) -> None:
        report(self._path, {"i": self._index, **fields})


def _sampled(sizes: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return sizes[:: max(1, len(sizes) // 40)]


def uss_kib() -> int:
    """Memory that only this process holds, in KiB."""
    total = 0
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1])
    return total
