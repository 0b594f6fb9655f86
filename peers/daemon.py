"""The daemon: carries out what the peer's life wants, on real sockets, disk and clock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from p2prec import limits
from p2prec.collaboration.payload import ModelUpdate, Payload
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import (
    ConfigError,
    LocalProtocolError,
    P2PRecError,
    RemoteProtocolError,
    StoreError,
    TransportError,
)
from p2prec.models.families import exchanged_models
from peers import events as ev
from peers.adverts import (
    VerifiedAdverts,
    check_advert,
    decode_advert,
    encode_advert,
    is_address,
    verify_binding,
)
from peers.codec import PayloadSchema, decode_message, encode_message
from peers.config import PeerConfig
from peers.control import ControlServer
from peers.discovery.addresses import own_addresses
from peers.discovery.labels import cell_label, cells_around
from peers.discovery.mdns import LocalService, MdnsDiscovery
from peers.discovery.responder import ResponderClient
from peers.keys import Keyring
from peers.life import Identity, Peer
from peers.memory import give_back
from peers.messages import (
    Advert,
    Endpoints,
    Hello,
    Message,
    PeerId,
    Pseudonym,
    Share,
    Shuffle,
)
from peers.meter import CpuMeter, MeteredReplay
from peers.owner import recommendations, stored_learner, what_it_cost, what_left
from peers.sealing import Opener, seal
from peers.store import STORE_NAME, Release, Store
from peers.transports.mqtt import MqttTransport, parse_broker
from peers.transports.tcp import TcpTransport, fetch_bundle
from topology.cells import NOWHERE, activity_centre, blurred_area, coarse_cell
from topology.profile import sketch

_SENDERS = 4  # messages on their way at once
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to listen on, not to name
_SWITCH_S = 0.002  # what the loop waits for the interpreter while the learner has it; not 5 ms
_LOOPBACK = "127.0.0.1"
_GOODBYE_S = 3.0  # what a leaving peer gives its last messages


def payload_schema(catalogue: Catalogue) -> PayloadSchema:
    """What payloads of a realm may look like."""
    models = exchanged_models(catalogue)
    return PayloadSchema(
        n_items=len(catalogue), models={m.name: (m.width, m.n_dense) for m in models}
    )


class Daemon:
    """One running peer.

    Args:
        config: The owner's settings.
        home: Folder of the store and the control socket.
        catalogue: The realm's items.
        on_tell: Hears what the life tells; must be quick.
        history: Interactions to begin with, where the store holds none.
        host_seen: Address that adverts name; the listening address where empty.
        mqtt_buckets: Parts of a cell's presence on the broker.
    """

    def __init__(
        self,
        *,
        config: PeerConfig,
        home: Path,
        catalogue: Catalogue,
        on_tell: Callable[[ev.Tell], None] | None = None,
        history: History | None = None,
        host_seen: str = "",
        mqtt_buckets: int = 1,
    ) -> None:
        for host in (config.network.host, host_seen):
            if host and host not in _WILDCARDS and not is_address(host):
                raise ConfigError(
                    f"[network] host is {host!r}; it must be a numeric address, such as "
                    "192.168.1.7, since others refuse to look up names for strangers"
                )
        self.config = config
        self.home = home
        self.catalogue = catalogue
        self._on_tell = on_tell or (lambda _: None)
        self.store = Store.open(home / STORE_NAME)
        if history is not None:
            self.store.add_interactions(history)
        self.keyring = self._keyring()
        self._device_seed = int.from_bytes(
            hashlib.sha256(b"p2prec/device/1" + self.keyring.sign(b"device")).digest()[:8], "big"
        )
        self.learner = stored_learner(self.store, catalogue, config, device_seed=self._device_seed)
        self._portrait = self._draw_portrait(self.store.learner_state().get("portrait"))
        self._schema = payload_schema(catalogue)
        self.crypto = CpuMeter()
        self._opener = Opener(
            self.keyring, MeteredReplay(self.store, self.crypto), on_drop=self._count_drop
        )
        self._rng = random.Random(self._device_seed)
        self._inbox_name = f"{self._rng.getrandbits(128):032x}"
        self._host_seen = host_seen
        self._mqtt_buckets = mqtt_buckets
        self._advert: tuple[Advert, bytes] | None = None
        self._advert_bytes = b""
        self.life = Peer(
            config=config,
            identity=Identity(
                peer_id=self.keyring.peer_id,
                area=self._portrait[0],
                sketch=self._portrait[1],
                method=config.learner.collaboration.method,
                model=self.learner.knowledge.model.name,
            ),
            rng=np.random.default_rng(self._device_seed),
            own_advert=lambda: self._advert,
        )
        self.counters: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()  # what the store has of them
        self._store_is_full = False
        self.message_sizes: list[tuple[str, int]] = []
        self._verified = VerifiedAdverts()
        self._bodies: list[tuple[Payload, bytes]] = []  # of this round, encoded once
        self._timers: dict[ev.Timer, asyncio.TimerHandle] = {}
        self._outbox: asyncio.Queue[tuple[Advert, Message]] = asyncio.Queue(
            limits.SEND_QUEUE_MESSAGES * 4
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="learner")
        self._tcp: TcpTransport | None = None
        self._mqtt: list[MqttTransport] = []
        self._local: ResponderClient | MdnsDiscovery | None = None
        self._local_instance = ""
        self._halted = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._fetching: set[str] = set()

    # --- life -------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Live until ``stop`` is set, then leave properly.

        Raises:
            TransportError: The port is taken, or another daemon runs from this folder.
        """
        sys.setswitchinterval(_SWITCH_S)
        control = ControlServer(home=self.home, handler=self._command)
        await control.start()
        background: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    if self.life.collaborates:
                        background += await self._open_network(group)
                    background += [
                        group.create_task(self._send_loop(), name=f"p2prec.send{i}")
                        for i in range(_SENDERS)
                    ]
                    progress = self.store.progress()
                    releases = self.store.releases()
                    # A round that was released is never released again with other content.
                    round_ = max(
                        progress.round if progress else 0,
                        releases[-1].round + 1 if releases else 0,
                    )
                    self.dispatch(ev.Started(round=round_, merged_rounds=self._merged_rounds()))
                    await stop.wait()
                    self.dispatch(ev.StopRequested())
                    await self._halted.wait()
                finally:
                    for timer in self._timers.values():
                        timer.cancel()
                    for task in background:
                        task.cancel()
        finally:
            await self._close(control)

    def dispatch(self, event: ev.Event) -> None:
        """Let the life handle an event and begin what it wants done."""
        for effect in self.life.handle(event, time.time()):
            self._perform(effect)

    def _perform(self, effect: ev.Effect) -> None:  # noqa: C901 - one visible table of effects
        match effect:
            case ev.Tell():
                if effect.what == "dropped":
                    self.counters[f"dropped.{effect.fields['reason']}"] += 1
                self._on_tell(effect)
            case ev.SetTimer():
                self._set_timer(effect)
            case ev.Send():
                self._enqueue(effect.to, effect.message)
            case ev.Train():
                self._begin("train", self._train(effect.round))
            case ev.MakePayloads():
                self._begin("payloads", self._payloads(effect))
            case ev.Merge():
                self._begin("merge", self._merge(effect))
            case ev.Persist():
                self._persist(effect)
            case ev.Advertise():
                self._begin("advertise", self._advertise(rotate=effect.rotate))
            case ev.LookFurther():
                self._begin("look_further", self._look_further(effect.ring))
            case ev.Withdraw():
                self._begin("withdraw", self._withdraw())
            case ev.Halt():
                self._begin("halt", self._halt())

    def _begin(self, name: str, job: Awaitable[None]) -> None:
        assert self._group is not None  # noqa: S101 - set before the first event
        self._group.create_task(_awaited(job), name=f"p2prec.{name}")

    def _set_timer(self, effect: ev.SetTimer) -> None:
        old = self._timers.pop(effect.timer, None)
        if old is not None:
            old.cancel()
        self._timers[effect.timer] = asyncio.get_running_loop().call_later(
            effect.delay_s, self.dispatch, ev.TimerFired(timer=effect.timer)
        )

    # --- learning ---------------------------------------------------------------------------

    async def _train(self, round_: int) -> None:
        loop = asyncio.get_running_loop()
        report = await loop.run_in_executor(self._worker, self.learner.train, round_)
        self.dispatch(ev.Trained(round=round_, report=report))

    async def _payloads(self, effect: ev.MakePayloads) -> None:
        degree = max(1, len(effect.recipients))
        payloads = await asyncio.get_running_loop().run_in_executor(
            self._worker, lambda: tuple(self.learner.payloads(effect.round, degree=degree))
        )
        protection = self.config.learner.protection
        try:
            with self.crypto.part("encode"):
                self._bodies = [(p, encode_message(Share(payload=p))) for p in payloads]
            n_bytes = sum(len(body) for _, body in self._bodies)
        except LocalProtocolError as error:  # a training that diverged; the next one may not
            self.counters["not_sendable"] += 1
            self._on_tell(ev.Tell(what="not_sendable", fields={"reason": str(error)}))
            payloads, n_bytes = (), 0
        if payloads:  # also without followers: one who comes later in the round gets them too
            release = Release(
                round=effect.round,
                time_s=time.time(),
                kind=self.config.learner.collaboration.method,
                recipients=len(effect.recipients),
                n_bytes=n_bytes,
                noise_multiplier=protection.noise_multiplier
                if any(isinstance(p, ModelUpdate) for p in payloads)
                else 0.0,
            )
            if not self._may_leave(release):
                payloads = ()
        self.dispatch(ev.PayloadsReady(round=effect.round, payloads=payloads))

    def _may_leave(self, release: Release) -> bool:
        """Written down before anything leaves: neither a crash nor a full disk hides a release."""
        protection = self.config.learner.protection
        try:
            since = release.time_s - protection.window_s
            recent = sum(r.time_s > since for r in self.store.releases())
            if protection.method == "none" or recent < protection.max_releases:
                self.store.record_release(release)
                return True
        except StoreError as error:
            self._store_failed(error)
            return False
        self.counters["withheld"] += 1
        self._on_tell(ev.Tell(what="withheld", fields={"releases": recent}))
        return False

    async def _merge(self, effect: ev.Merge) -> None:
        report = await asyncio.get_running_loop().run_in_executor(
            self._worker, self.learner.merge, effect.round, effect.received
        )
        self.dispatch(ev.Merged(round=effect.round, report=report))

    def _persist(self, effect: ev.Persist) -> None:
        state = self.learner.state()
        state["portrait"] = np.frombuffer(
            self._portrait[0].encode() + b"|" + self._portrait[1], np.uint8
        )
        merged = [[sender, kind, r] for (sender, kind), r in effect.merged_rounds.items()]
        state["merged_rounds"] = np.frombuffer(msgspec.json.encode(merged), np.uint8)
        try:
            self.store.save_progress(
                round_=effect.round, neighbours=effect.neighbours, learner=state
            )
            self._keep_counters()
        except StoreError as error:
            # The peer goes on from memory; the next round tries again.
            self._store_failed(error)
        else:
            if self._store_is_full:
                self._store_is_full = False
                self._on_tell(ev.Tell(what="store_recovered", fields={"round": effect.round}))
        give_back()

    def _merged_rounds(self) -> dict[tuple[PeerId, str], int]:
        """Of whom which round was merged before the restart, so that none is merged again."""
        kept = self.store.learner_state().get("merged_rounds")
        if kept is None:
            return {}
        try:
            rows = msgspec.json.decode(kept.tobytes(), type=list[tuple[PeerId, str, int]])
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self.store.path}: the rounds merged are damaged: {error}") from None
        return {(sender, kind): round_ for sender, kind, round_ in rows}

    def _keep_counters(self) -> None:
        current = self.counted()
        self.store.count(current - self._counted)
        self._counted = current

    def _store_failed(self, error: StoreError) -> None:
        self.counters["store_failed"] += 1
        if not self._store_is_full:  # said once; said again when the store works again
            self._store_is_full = True
            self._on_tell(ev.Tell(what="store_failed", fields={"reason": str(error)}))

    def _count_drop(self, reason: str) -> None:
        self.counters[f"dropped.{reason}"] += 1

    # --- network ----------------------------------------------------------------------------

    async def _open_network(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        network = self.config.network
        tasks: list[asyncio.Task[None]] = []
        if network.tcp:
            self._tcp = TcpTransport(
                host=network.host,
                port=network.port,
                on_envelope=lambda e: self._envelope(e, "tcp"),
                bundle=lambda: self._advert_bytes,
            )
            await self._tcp.start()
        for broker in network.mqtt:
            transport = MqttTransport(
                broker=broker,
                realm=self.catalogue.digest,
                inbox=self._inbox_name,
                on_envelope=lambda e: self._envelope(e, "mqtt"),
                on_presence=self._presence,
                rng=self._rng,
                buckets=self._mqtt_buckets,
                on_state=functools.partial(self._broker_state, parse_broker(broker)[:2]),
            )
            self._mqtt.append(transport)
            tasks.append(group.create_task(transport.run(), name="p2prec.mqtt"))
        if network.mdns and self._tcp is not None:
            try:
                tasks += await self._open_local(group)
            except TransportError as error:
                self._no_multicast(str(error))
        return tasks

    def _no_multicast(self, reason: str) -> None:
        self.counters["no_multicast"] += 1
        self._on_tell(ev.Tell(what="no_multicast", fields={"reason": reason}))

    def _broker_state(self, address: tuple[str, int], reason: str) -> None:
        what = "broker_lost" if reason else "broker_connected"
        fields = {"broker": f"{address[0]}:{address[1]}"} | ({"reason": reason} if reason else {})
        self._on_tell(ev.Tell(what=what, fields=fields))

    async def _open_local(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        network = self.config.network
        if network.mdns_responder:
            client = ResponderClient(
                path=Path(network.mdns_responder),
                on_found=self._found,
                on_lost=self._lost,
            )
            await client.start()
            self._local = client
            return [group.create_task(self._listen_to(client), name="p2prec.responder")]
        mdns = MdnsDiscovery(
            interfaces=network.mdns_interfaces,
            on_found=lambda s: self._found(s, b""),
            on_lost=self._lost,
        )
        await mdns.start()
        self._local = mdns
        if not network.mdns_interfaces and not own_addresses():
            self._no_multicast(
                "this device has no network but itself: peers elsewhere are not seen until the "
                "peer is started again with one"
            )
        return []

    async def _listen_to(self, client: ResponderClient) -> None:
        await client.run()
        self._no_multicast("the responder of this host has gone; peers known by now are kept")

    async def _advertise(self, *, rotate: bool) -> None:
        now_s = time.time()
        self._renew_keys(now_s, rotate=rotate)
        label = cell_label(self.catalogue.digest, self._cell(), now_s=now_s)
        host = self._host_seen or self.config.network.host
        if host in _WILDCARDS:
            host = next(iter(own_addresses()), "")
        # Whom only a broker joins to this device must not be sent to their own loopback.
        tcp = (
            ((host or _LOOPBACK, self._tcp.port),) if self._tcp and (host or not self._mqtt) else ()
        )
        advert = self.keyring.advert(
            endpoints=Endpoints(tcp=tcp, mqtt_inbox=self._inbox_name if self._mqtt else ""),
            cell_label=label,
            now_s=now_s,
            lifetime_s=self.config.network.advert_lifetime_s,
        )
        self._advert = (advert, self.keyring.binding())
        self._advert_bytes = encode_advert(advert)
        for transport in self._mqtt:
            await transport.advertise(
                label=label, pseudonym=advert.pseudonym, advert=self._advert_bytes
            )
            await transport.browse(label)
        if self._local is not None and self._tcp is not None:
            service = LocalService(
                instance=advert.pseudonym,
                host=host or _LOOPBACK,
                port=self._tcp.port,
                label=label,
            )
            await self._local.browse(label)
            if isinstance(self._local, ResponderClient):
                await self._local.advertise(service, self._advert_bytes)
            elif self._local_instance != advert.pseudonym:
                if self._local_instance:
                    await self._local.withdraw(self._local_instance)
                await self._local.advertise(service)
            self._local_instance = advert.pseudonym
        self._on_tell(ev.Tell(what="advertised", fields={"pseudonym": advert.pseudonym}))
        self.dispatch(ev.Advertised())

    def _renew_keys(self, now_s: float, *, rotate: bool) -> None:
        """New keys where it is time, also after restarts; old ones destroyed after their grace."""
        lifetime_s = self.config.network.pseudonym_lifetime_s
        if rotate or self.keyring.is_due(now_s, lifetime_s=lifetime_s):
            self.keyring.rotate(now_s)
        elif not self.keyring.expire(now_s):
            return
        try:
            self.store.save_keyring(self.keyring.to_bytes())
        except StoreError as error:
            self._store_failed(error)

    def _cell(self) -> str:
        centre = activity_centre(self.catalogue, self.learner.knowledge.history)
        if centre is None:
            return NOWHERE
        return coarse_cell(latitude_deg=centre[0], longitude_deg=centre[1])

    async def _look_further(self, ring: int) -> None:
        for cell in cells_around(self._cell(), ring):
            label = cell_label(self.catalogue.digest, cell, now_s=time.time())
            for transport in self._mqtt:
                await transport.browse(label)
            if self._local is not None:
                await self._local.browse(label)

    async def _withdraw(self) -> None:
        with contextlib.suppress(TransportError, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                for transport in self._mqtt:
                    await transport.withdraw()
                if self._local is not None and self._local_instance:
                    await self._local.withdraw(self._local_instance)

    async def _halt(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._outbox.join()
        self._halted.set()

    async def _close(self, control: ControlServer) -> None:
        await control.close()
        if self._tcp is not None:
            await self._tcp.close()
        if self._local is not None:
            await self._local.close()
        self._worker.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(StoreError):
            self._keep_counters()
        self.store.close()

    def _presence(self, pseudonym: str, data: bytes) -> None:
        if data:
            self._see(data, ev.Source.MQTT)
        else:
            self.dispatch(ev.AdvertGone(pseudonym=Pseudonym(pseudonym)))

    def _found(self, service: LocalService, advert: bytes) -> None:
        if service.instance == self._local_instance or service.instance in self._fetching:
            return
        if advert:
            self._see(advert, ev.Source.MDNS)
        elif len(self._fetching) < limits.MAX_ADVERTS_PER_SHUFFLE * 4:
            self._fetching.add(service.instance)
            self._begin("fetch", self._fetch(service))

    def _lost(self, instance: str) -> None:
        if len(instance) == 32:
            self.dispatch(ev.AdvertGone(pseudonym=Pseudonym(instance)))

    async def _fetch(self, service: LocalService) -> None:
        try:
            data = await fetch_bundle(service.host, service.port)
            self._see(data, ev.Source.MDNS)
        except TransportError:
            self.counters["advert_not_fetched"] += 1
        finally:
            self._fetching.discard(service.instance)

    def _see(self, data: bytes, source: ev.Source) -> None:
        try:
            with self.crypto.part("adverts"):
                advert = decode_advert(
                    data, realm=self.catalogue.digest, now_s=time.time(), verified=self._verified
                )
        except RemoteProtocolError as error:
            self.counters[f"dropped.{error.reason}"] += 1
            return
        self.dispatch(ev.AdvertSeen(advert=advert, source=source))

    def _enqueue(self, to: Advert, message: Message) -> None:
        if self._outbox.full():
            self.counters["dropped.outbox_full"] += 1
            self._outbox.get_nowait()
            self._outbox.task_done()
        self._outbox.put_nowait((to, message))

    async def _send_loop(self) -> None:
        while True:
            to, message = await self._outbox.get()
            try:
                await self._deliver(to, message)
            except (TransportError, RemoteProtocolError, LocalProtocolError) as error:
                self.counters["not_sent"] += 1
                self.dispatch(ev.SendFailed(to=to.pseudonym, reason=str(error)))
            finally:
                self._outbox.task_done()

    async def _deliver(self, to: Advert, message: Message) -> None:
        with self.crypto.part("encode"):
            body = self._body(message)
        with self.crypto.part("seal"):
            envelopes = seal(body, keyring=self.keyring, to=to, now_s=time.time())
        n_bytes = sum(map(len, envelopes))
        way = ""
        if self._tcp is not None and to.endpoints.tcp:
            with contextlib.suppress(TransportError):
                await self._tcp.send(to.endpoints.tcp, envelopes)
                way = "tcp"
        if not way and to.endpoints.mqtt_inbox:
            for transport in self._mqtt:
                with contextlib.suppress(TransportError):
                    await transport.send(to.endpoints.mqtt_inbox, envelopes)
                    way = "mqtt"
                    break
        if not way:
            raise TransportError("no way to this peer works")
        self.counters[f"sent.{way}"] += 1
        self.counters[f"said.{type(message).__name__.lower()}"] += 1
        self.counters[f"sent_bytes.{way}"] += n_bytes
        if isinstance(message, Share):
            kind = type(message.payload).__name__
            self.counters["payload_bytes"] += n_bytes
            if len(self.message_sizes) < 1_000:
                self.message_sizes.append((kind, n_bytes))

    def _body(self, message: Message) -> bytes:
        if isinstance(message, Share):
            for payload, body in self._bodies:
                if payload is message.payload:
                    return body
        return encode_message(message)

    async def _envelope(self, envelope: bytes, way: str) -> bool:
        try:
            with self.crypto.part("open"):
                opened = self._opener.open(envelope, now_s=time.time())
            if opened is None:
                return True
            with self.crypto.part("decode"):
                message = decode_message(opened.body, schema=self._schema)
            with self.crypto.part("adverts"):
                self._verify(message, opened.sender_key)
        except RemoteProtocolError as error:
            self.counters[f"dropped.{error.reason}"] += 1
            return error.reason == "replayed"
        except StoreError as error:
            self._store_failed(error)
            return True
        self.counters[f"received.{way}"] += 1
        self.counters[f"received_bytes.{way}"] += opened.n_bytes
        self.dispatch(
            ev.Arrived(sender=opened.sender, message=message, transport=way, n_bytes=opened.n_bytes)
        )
        return True

    def _verify(self, message: Message, sender_key: bytes) -> None:
        now_s, realm = time.time(), self.catalogue.digest
        match message:
            case Hello():
                check_advert(message.advert, realm=realm, now_s=now_s, verified=self._verified)
                verify_binding(message.advert, message.binding, sender_key)
            case Shuffle():
                for advert in message.adverts:
                    check_advert(advert, realm=realm, now_s=now_s, verified=self._verified)

    # --- the owner --------------------------------------------------------------------------

    def counted(self) -> Counter[str]:
        """All counters since the start, those of the transports by their own names."""
        total = Counter(self.counters)
        if self._tcp is not None:
            total.update({f"tcp.{name}": n for name, n in self._tcp.counters.items()})
        for transport in self._mqtt:
            total.update({f"mqtt.{name}": n for name, n in transport.counters.items()})
        return total

    def status(self) -> dict[str, Any]:
        """What ``p2prec status --json`` prints; see ``docs/cli.md``."""
        counters = dict(self.counted() - self._counted + Counter(self.store.counters()))
        return {
            "peer_id": self.keyring.peer_id,
            "pseudonym": self.keyring.face.pseudonym,
            "realm": self.catalogue.digest.hex(),
            "running": True,
            "sharing": self.life.collaborates,
            "method": self.config.learner.collaboration.method,
            "model": self.learner.knowledge.model.name,
            "phase": str(self.life.phase),
            "round": self.life.round,
            "interactions": len(self.learner.knowledge.history),
            "neighbours": len(self.life.neighbours),
            "known_peers": len(self.life.known),
            "adverts": len(self.life.adverts),
            "discovered_by": dict(self.life.discovered),
            "counters": counters,
            "crypto_cpu_s": round(self.crypto.total_s, 4),
            "cpu_s": round(time.process_time(), 4),
            "left": what_left(self.store.releases(), counters),
            "privacy": what_it_cost(self.store, self.config.learner.protection),
        }

    def neighbours(self) -> list[dict[str, Any]]:
        """What ``p2prec neighbours --json`` prints."""
        result = []
        for peer in self.life.neighbours:
            known = self.life.known.get(peer)
            if known is not None:
                result.append(
                    {
                        "peer_id": peer,
                        "pseudonym": known.advert.pseudonym,
                        "geographic_similarity": round(known.geographic, 4),
                        "semantic_similarity": round(known.semantic, 4),
                        "transports": [
                            way
                            for way, held in (
                                ("tcp", known.advert.endpoints.tcp),
                                ("mqtt", known.advert.endpoints.mqtt_inbox),
                            )
                            if held
                        ],
                        "last_seen_s": round(known.last_seen_s, 1),
                    }
                )
        return result

    def recommend(self, *, k: int, new_only: bool) -> list[dict[str, Any]]:
        """What ``p2prec recommend --json`` prints."""
        return recommendations(
            self.learner, self.catalogue, now_s=time.time(), k=k, new_only=new_only
        )

    async def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["request"]:
            case "status":
                return self.status()
            case "neighbours":
                return {"neighbours": self.neighbours()}
            case "recommend":
                k = min(max(int(request.get("k", 10)), 1), 1_000)
                new_only = bool(request.get("new_only"))
                begun = time.perf_counter()
                found = self.recommend(k=k, new_only=new_only)
                elapsed_ms = 1e3 * (time.perf_counter() - begun)
                return {"recommendations": found, "elapsed_ms": round(elapsed_ms, 3)}
            case "reload":
                history = self.store.history()
                added = len(history) - len(self.learner.knowledge.history)
                await asyncio.get_running_loop().run_in_executor(
                    self._worker, self.learner.add, history
                )
                self.dispatch(ev.InteractionsAdded(n=added))
                return {"added": added}
        raise P2PRecError(f"unknown request {request['request']!r}")

    def _keyring(self) -> Keyring:
        data = self.store.keyring()
        if data is None:
            keyring = Keyring.create(self.catalogue.digest, time.time())
            self.store.save_keyring(keyring.to_bytes())
        else:
            keyring = Keyring.from_bytes(data)
        if keyring.realm != self.catalogue.digest:
            raise StoreError(
                f"{self.store.path} belongs to another catalogue; name the old one in the "
                "settings, or start afresh in another folder with P2PREC_HOME"
            )
        keyring.grace_s = self.config.network.prekey_grace_s
        return keyring

    def _draw_portrait(self, kept: NDArray[np.generic] | None) -> tuple[str, bytes]:
        """Blurred area and noisy sketch: drawn once, then kept, so that noise cannot be averaged.

        They are drawn when the owner has a history; before that nothing is said.
        """
        if kept is not None:
            stored, _, bits = kept.tobytes().partition(b"|")
            return stored.decode(), bits
        history = self.learner.knowledge.history
        rng = np.random.default_rng([self._device_seed, 7])
        area = blurred_area(self.catalogue, history, rng=rng)
        return area, sketch(self.catalogue, history, rng=rng)


async def _awaited(job: Awaitable[None]) -> None:
    await job
