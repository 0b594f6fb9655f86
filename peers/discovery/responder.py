"""One mDNS responder for all peers of a host.

Hundreds of peers that each run mDNS would ask each other N squared questions. Instead a small
process announces all of them, browses once for each cell, and tells every peer of a random few
of those it found. Peers talk to it over a Unix socket, JSON lines:

    peer to responder   {"op": "advertise", "instance", "host", "port", "label", "advert"}
                        {"op": "browse", "label"}     {"op": "withdraw", "instance"}
    responder to peer   {"found": [{"instance", "host", "port", "advert"}]}   {"lost": [instance]}

``advert`` (base64) saves them a connection each; it is empty where the responder has none. What a
connection has announced vanishes with it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from p2prec.errors import TransportError
from p2prec.limits import MAX_ADVERT_BYTES, MAX_KNOWN_ADVERTS
from peers.discovery.mdns import LocalService, MdnsDiscovery
from peers.transports.tcp import fetch_bundle

_MAX_LINE_BYTES: Final = 16_384
_MAX_SERVICES_PER_CLIENT: Final = 4
_FETCH: Final = "responder.fetch"
_FETCHES_AT_ONCE: Final = 8
_FETCHED_S: Final = 300.0  # how long an advert of another host is handed out
_BATCH_S: Final = 0.2  # events of this long go out together
FOUND_PER_CLIENT: Final = 24  # peers that one client hears of; gossip spreads the rest


@dataclass(eq=False, slots=True)
class _Client:
    writer: asyncio.StreamWriter
    services: dict[str, LocalService] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)


class Responder:
    """The server side; one mDNS instance for all clients."""

    def __init__(self, *, path: Path, interfaces: tuple[str, ...], rng: random.Random) -> None:
        self._path = path
        self._rng = rng
        self._mdns = MdnsDiscovery(interfaces=interfaces, on_found=self._found, on_lost=self._lost)
        self._known: dict[str, LocalService] = {}
        self._adverts: dict[str, str] = {}
        self._clients: set[_Client] = set()
        self._server: asyncio.Server | None = None
        self._gone: set[str] = set()
        self._jobs: set[asyncio.Task[None]] = set()
        self._fetching: set[str] = set()
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def start(self) -> None:
        """Open multicast and listen for peers of this host."""
        await self._mdns.start()
        self._server = await asyncio.start_unix_server(
            self._serve, self._path, limit=_MAX_LINE_BYTES, backlog=1_024
        )
        self._path.chmod(0o600)

    async def run(self) -> None:
        """Tell clients what is new, in batches, until cancelled."""
        while True:
            await asyncio.sleep(_BATCH_S)
            gone, self._gone = self._gone, set()
            for client in list(self._clients):
                self._tell(client, gone)

    async def close(self) -> None:
        """Withdraw everything."""
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.writer.close()
        while self._clients:  # noqa: ASYNC110 - ends with the last connection
            await asyncio.sleep(0.01)
        for job in self._jobs:
            if job.get_name() == _FETCH:
                job.cancel()
        if self._jobs:
            await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._mdns.close()
        self._path.unlink(missing_ok=True)

    def _found(self, service: LocalService) -> None:
        self._known[service.instance] = service
        unknown = service.instance not in self._adverts and service.instance not in self._fetching
        if unknown and len(self._fetching) < MAX_KNOWN_ADVERTS:
            self._fetching.add(service.instance)
            self._do(self._fetch(service), _FETCH)

    async def _fetch(self, service: LocalService) -> None:
        """Ask a peer of another host once for all clients, instead of once for each."""
        try:
            async with self._fetches:
                advert = await fetch_bundle(service.host, service.port)
            if service.instance in self._known:
                self._adverts[service.instance] = base64.b64encode(advert).decode()
                # An advert ages: those who are told of it later ask for it themselves.
                loop = asyncio.get_running_loop()
                loop.call_later(_FETCHED_S, self._age, service.instance)
        except TransportError:
            pass  # clients will try themselves
        finally:
            self._fetching.discard(service.instance)

    def _age(self, instance: str) -> None:
        if not any(instance in client.services for client in self._clients):
            self._adverts.pop(instance, None)

    def _do(self, job: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(job, name=name)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _lost(self, instance: str) -> None:
        self._known.pop(instance, None)
        self._adverts.pop(instance, None)
        self._gone.add(instance)

    def _tell(self, client: _Client, gone: set[str]) -> None:
        lines: list[dict[str, object]] = []
        lost = client.told & gone
        if lost:
            client.told -= lost
            lines.append({"lost": sorted(lost)})
        room = FOUND_PER_CLIENT - len(client.told)
        if room > 0:
            fresh = [
                s
                for s in self._known.values()
                if s.label in client.labels
                and s.instance not in client.told
                and s.instance not in client.services
                and s.instance not in self._fetching
            ]
            chosen = self._rng.sample(fresh, min(room, len(fresh)))
            client.told |= {s.instance for s in chosen}
            if chosen:
                lines.append({"found": [self._record(s) for s in chosen]})
        if lines and client.writer.transport.get_write_buffer_size() < 1 << 20:
            client.writer.write("".join(json.dumps(x) + "\n" for x in lines).encode())

    def _record(self, service: LocalService) -> dict[str, object]:
        return {
            "instance": service.instance,
            "host": service.host,
            "port": service.port,
            "label": service.label,
            "advert": self._adverts.get(service.instance, ""),
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer)
        self._clients.add(client)
        try:
            while line := await reader.readline():
                await self._command(client, json.loads(line))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # a client of this host that speaks nonsense loses its connection
        finally:
            self._clients.discard(client)
            for instance in list(client.services):
                self._withdraw(client, instance)
            writer.close()

    async def _command(self, client: _Client, command: dict[str, object]) -> None:
        match command["op"]:
            case "advertise" if len(client.services) < _MAX_SERVICES_PER_CLIENT:
                service = LocalService(
                    instance=str(command["instance"]),
                    host=str(command["host"]),
                    port=int(str(command["port"])),
                    label=str(command["label"]),
                )
                advert = str(command["advert"])[: 2 * MAX_ADVERT_BYTES]
                renewed = client.services.get(service.instance) == service
                client.services[service.instance] = service
                self._known[service.instance] = service
                self._adverts[service.instance] = advert
                if not renewed:
                    await self._mdns.browse(service.label)
                    with contextlib.suppress(TransportError):
                        await self._mdns.advertise(service)
            case "browse":
                client.labels.add(str(command["label"]))
                await self._mdns.browse(str(command["label"]))
            case "withdraw":
                self._withdraw(client, str(command["instance"]))

    def _withdraw(self, client: _Client, instance: str) -> None:
        if client.services.pop(instance, None) is not None:
            self._lost(instance)
            self._do(self._mdns.withdraw(instance), "responder.withdraw")


class ResponderClient:
    """What a peer uses in place of an mDNS instance of its own."""

    def __init__(
        self,
        *,
        path: Path,
        on_found: Callable[[LocalService, bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._path = path
        self._on_found, self._on_lost = on_found, on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            TransportError: No responder listens there.
        """
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(
                self._path, limit=1 << 20
            )
        except OSError as error:
            raise TransportError(f"no responder at {self._path}: {error.strerror}") from None

    async def run(self) -> None:
        """Hand on what the responder tells; ends with the connection, however it ends."""
        if self._reader is None:
            raise TransportError("the responder was not connected")
        with contextlib.suppress(OSError):  # a responder that was killed resets its connections
            while line := await self._reader.readline():
                self._hand_on(json.loads(line))

    def _hand_on(self, news: dict[str, list[Any]]) -> None:
        for record in news.get("found", ()):
            service = LocalService(
                instance=record["instance"],
                host=record["host"],
                port=record["port"],
                label=record["label"],
            )
            self._on_found(service, base64.b64decode(record["advert"]))
        for instance in news.get("lost", ()):
            self._on_lost(instance)

    async def close(self) -> None:
        """Disconnect; the responder withdraws what was announced."""
        if self._writer is not None:
            self._writer.close()

    async def advertise(self, service: LocalService, advert: bytes) -> None:
        """Announce the own service."""
        await self._send(
            {
                "op": "advertise",
                "instance": service.instance,
                "host": service.host,
                "port": service.port,
                "label": service.label,
                "advert": base64.b64encode(advert).decode(),
            }
        )

    async def browse(self, label: str) -> None:
        """Hear of peers of a cell."""
        await self._send({"op": "browse", "label": label})

    async def withdraw(self, instance: str) -> None:
        """Take the own service back."""
        await self._send({"op": "withdraw", "instance": instance})

    async def _send(self, command: dict[str, object]) -> None:
        if self._writer is None:
            raise TransportError("the responder was not connected")
        with contextlib.suppress(OSError):
            self._writer.write((json.dumps(command) + "\n").encode())
            await self._writer.drain()
