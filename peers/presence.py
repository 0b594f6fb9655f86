"""How a running peer is found and finds others: the network opened, adverts shown and seen."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from p2prec import limits
from p2prec.errors import ConfigError, RemoteProtocolError, StoreError, TransportError
from peers import events as ev
from peers.adverts import VerifiedAdverts, decode_advert, encode_advert, is_address
from peers.books import Books
from peers.config import NetworkConfig
from peers.discovery.addresses import own_addresses
from peers.discovery.labels import cell_label, cells_around
from peers.discovery.mdns import LocalService, MdnsDiscovery
from peers.discovery.responder import ResponderClient
from peers.keys import Keyring
from peers.messages import Advert, Endpoints, Pseudonym
from peers.store import Store
from peers.transports.access import Access
from peers.transports.mqtt import MqttTransport
from peers.transports.tcp import TcpTransport, fetch_bundle
from peers.transports.ways import Ways
from topology.cells import NOWHERE

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to listen on, not to name
_LOOPBACK: Final = "127.0.0.1"
_GOODBYE_S: Final = 3.0  # what taking the advert back may last


class Presence:
    """Opens the network and keeps the peer visible in it.

    Args:
        config: The owner's settings of the network.
        keyring: Signs adverts.
        store: Keeps renewed keys.
        ways: Gets the transports that are opened.
        cell: Gives the coarse cell of the owner's activity.
        elsewhere: Another cell of the realm, drawn at random, in which brokers are asked as well.
        verified: Adverts whose signature was checked.
        rng: For the inbox's name and for jitter.
        books: Count what is refused, and tell.
        dispatch: Hears of adverts that are seen and that go.
        on_envelope: Takes what arrives, and the way that it came.
        host_seen: Address that adverts name; the listening address where empty.
        mqtt_buckets: Parts of a cell's presence on the broker.

    Attributes:
        advert: The current advert and its binding.
        inbox_name: Of this run, on every broker.
    """

    def __init__(
        self,
        *,
        config: NetworkConfig,
        keyring: Keyring,
        store: Store,
        ways: Ways,
        cell: Callable[[], str],
        elsewhere: str,
        verified: VerifiedAdverts,
        rng: random.Random,
        books: Books,
        dispatch: Callable[[ev.Event], None],
        on_envelope: Callable[[bytes, str], Awaitable[bool]],
        host_seen: str,
        mqtt_buckets: int,
    ) -> None:
        self._config = config
        self._keyring, self._store = keyring, store
        self._ways = ways
        self._cell, self._elsewhere = cell, elsewhere
        self._rings = 0  # around the own cell that are looked into
        self._around: set[str] = set()  # labels of them
        self._verified = verified
        self._rng = rng
        self._books = books
        self._dispatch, self._on_envelope = dispatch, on_envelope
        self._host_seen = host_seen
        self._mqtt_buckets = mqtt_buckets
        self.inbox_name = f"{rng.getrandbits(128):032x}"
        self.advert: tuple[Advert, bytes] | None = None
        self._advert_bytes = b""
        self._local: ResponderClient | MdnsDiscovery | None = None
        self._local_instance = ""
        self._group: asyncio.TaskGroup | None = None
        self._fetching: set[str] = set()

    # --- opening and closing ----------------------------------------------------------------

    async def open(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Open what the settings name; the tasks end only when they are cancelled.

        Raises:
            ConfigError: A broker's settings do not fit.
            TransportError: The port is taken.
        """
        self._group = group
        config = self._config
        brokers = [Access.of(broker) for broker in config.mqtt]
        tasks: list[asyncio.Task[None]] = []
        if config.tcp:
            self._ways.tcp = TcpTransport(
                host=config.host,
                port=config.port,
                on_envelope=lambda e: self._on_envelope(e, "tcp"),
                bundle=lambda: self._advert_bytes,
            )
            await self._ways.tcp.start()
        for broker in brokers:
            transport = MqttTransport(
                broker=broker,
                realm=self._keyring.realm,
                inbox=self.inbox_name,
                on_envelope=lambda e: self._on_envelope(e, "mqtt"),
                on_presence=self._presence,
                rng=self._rng,
                buckets=self._mqtt_buckets,
                on_state=functools.partial(self._broker_state, broker.name),
            )
            self._ways.mqtt.append(transport)
            tasks.append(group.create_task(transport.run(), name="p2prec.mqtt"))
        if config.mdns and self._ways.tcp is not None:
            try:
                tasks += await self._open_local(group)
            except TransportError as error:
                self._no_multicast(str(error))
        return tasks

    async def _open_local(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        if self._config.mdns_responder:
            client = ResponderClient(
                path=Path(self._config.mdns_responder),
                on_found=self._found,
                on_lost=self._lost,
            )
            await client.start()
            self._local = client
            return [group.create_task(self._listen_to(client), name="p2prec.responder")]
        mdns = MdnsDiscovery(
            interfaces=self._config.mdns_interfaces,
            on_found=lambda s: self._found(s, b""),
            on_lost=self._lost,
        )
        await mdns.start()
        self._local = mdns
        if not self._config.mdns_interfaces and not own_addresses():
            self._no_multicast(
                "this device has no network but itself: peers elsewhere are not seen until the "
                "peer is started again with one"
            )
        return []

    async def _listen_to(self, client: ResponderClient) -> None:
        await client.run()
        self._no_multicast("the responder of this host has gone; peers known by now are kept")

    def _no_multicast(self, reason: str) -> None:
        self._books.counters["no_multicast"] += 1
        self._books.tell("no_multicast", reason=reason)

    def _broker_state(self, broker: str, reason: str) -> None:
        if reason:
            self._books.tell("broker_lost", broker=broker, reason=reason)
        else:
            self._books.tell("broker_connected", broker=broker)

    async def close(self) -> None:
        """Close what is open, but for brokers: their tasks are cancelled."""
        if self._ways.tcp is not None:
            await self._ways.tcp.close()
        if self._local is not None:
            await self._local.close()

    # --- being found ------------------------------------------------------------------------

    async def advertise(self, *, rotate: bool) -> None:
        """Show a renewed advert everywhere; ``rotate`` asks for a new pseudonym and prekey."""
        now_s = time.time()
        self._renew_keys(now_s, rotate=rotate)
        label = cell_label(self._keyring.realm, self._cell(), now_s=now_s)
        host = self._host_seen or self._config.host
        if host in _WILDCARDS:
            host = next(iter(own_addresses()), "")
        listener, mqtt = self._ways.tcp, self._ways.mqtt
        self._around = {label}
        for ring in range(1, self._rings + 1):  # in a new week cells are called otherwise
            await self._look_into(ring)
        elsewhere = cell_label(self._keyring.realm, self._elsewhere, now_s=now_s)
        # Whom only a broker joins to this device must not be sent to their own loopback.
        tcp = ((host or _LOOPBACK, listener.port),) if listener and (host or not mqtt) else ()
        advert = self._keyring.advert(
            endpoints=Endpoints(tcp=tcp, mqtt_inbox=self.inbox_name if mqtt else ""),
            cell_label=label,
            now_s=now_s,
            lifetime_s=self._config.advert_lifetime_s,
        )
        self.advert = (advert, self._keyring.binding())
        self._advert_bytes = encode_advert(advert)
        for transport in mqtt:
            await transport.advertise(
                label=label, pseudonym=advert.pseudonym, advert=self._advert_bytes
            )
            await transport.browse(label)
            if self._elsewhere != NOWHERE and elsewhere not in self._around:
                await transport.browse(elsewhere, drawn_only=True)
        if listener is not None:
            await self._advertise_locally(
                LocalService(
                    instance=advert.pseudonym,
                    host=host or _LOOPBACK,
                    port=listener.port,
                    label=label,
                )
            )
        self._books.tell("advertised", pseudonym=advert.pseudonym)
        self._dispatch(ev.Advertised())

    async def _advertise_locally(self, service: LocalService) -> None:
        if self._local is None:
            return
        await self._local.browse(service.label)
        if isinstance(self._local, ResponderClient):
            await self._local.advertise(service, self._advert_bytes)
        elif self._local_instance != service.instance:
            if self._local_instance:
                await self._local.withdraw(self._local_instance)
            await self._local.advertise(service)
        self._local_instance = service.instance

    def _renew_keys(self, now_s: float, *, rotate: bool) -> None:
        """New keys where it is time, also after restarts; old ones destroyed after their grace."""
        if rotate or self._keyring.is_due(now_s, lifetime_s=self._config.pseudonym_lifetime_s):
            self._keyring.rotate(now_s)
        elif not self._keyring.expire(now_s):
            return
        try:
            self._store.save_keyring(self._keyring.to_bytes())
        except StoreError as error:
            self._books.store_failed(error)

    async def withdraw(self) -> None:
        """Take the advert back everywhere, as far as that is quick."""
        with contextlib.suppress(TransportError, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                for transport in self._ways.mqtt:
                    await transport.withdraw()
                if self._local is not None and self._local_instance:
                    await self._local.withdraw(self._local_instance)

    # --- finding others ---------------------------------------------------------------------

    async def look_further(self, ring: int) -> None:
        """Look for peers also in the cells that are ``ring`` steps from the own one."""
        self._rings = max(self._rings, ring)
        await self._look_into(ring)

    async def _look_into(self, ring: int) -> None:
        for cell in cells_around(self._cell(), ring):
            label = cell_label(self._keyring.realm, cell, now_s=time.time())
            self._around.add(label)
            for transport in self._ways.mqtt:
                await transport.browse(label)
            if self._local is not None:
                await self._local.browse(label)

    def _presence(self, pseudonym: str, data: bytes) -> None:
        if data:
            self._see(data, ev.Source.MQTT)
        else:
            self._dispatch(ev.AdvertGone(pseudonym=Pseudonym(pseudonym)))

    def _found(self, service: LocalService, advert: bytes) -> None:
        if service.instance == self._local_instance or service.instance in self._fetching:
            return
        if advert:
            self._see(advert, ev.Source.MDNS)
        elif self._group is not None and len(self._fetching) < limits.MAX_ADVERTS_PER_SHUFFLE * 4:
            self._fetching.add(service.instance)
            self._group.create_task(self._fetch(service), name="p2prec.fetch")

    def _lost(self, instance: str) -> None:
        if len(instance) == 32:
            self._dispatch(ev.AdvertGone(pseudonym=Pseudonym(instance)))

    async def _fetch(self, service: LocalService) -> None:
        try:
            data = await fetch_bundle(service.host, service.port)
            self._see(data, ev.Source.MDNS)
        except TransportError:
            self._books.counters["advert_not_fetched"] += 1
        finally:
            self._fetching.discard(service.instance)

    def _see(self, data: bytes, source: ev.Source) -> None:
        try:
            with self._books.crypto.part("adverts"):
                advert = decode_advert(
                    data, realm=self._keyring.realm, now_s=time.time(), verified=self._verified
                )
        except RemoteProtocolError as error:
            self._books.dropped(error.reason)
            return
        if source is ev.Source.MQTT and advert.cell_label not in self._around:
            source = ev.Source.ELSEWHERE
        self._dispatch(ev.AdvertSeen(advert=advert, source=source))


def check_hosts(*hosts: str) -> None:
    """Refuse host names: others refuse to look up names for strangers.

    Raises:
        ConfigError: A host is neither empty, nor a wildcard, nor a numeric address.
    """
    for host in hosts:
        if host and host not in _WILDCARDS and not is_address(host):
            raise ConfigError(
                f"[network] host is {host!r}; it must be a numeric address, such as "
                "192.168.1.7, since others refuse to look up names for strangers"
            )
