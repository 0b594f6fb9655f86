"""The daemon: carries out what the peer's life wants, on real sockets, disk and clock.

What it shares out: ``peers.presence`` opens the network and is found, ``peers.outbox`` sends,
``peers.inbox`` takes what arrives, ``peers.owner`` answers the owner, ``peers.books`` counts and
tells. Here are the life's events and effects, and the jobs of the learner.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from p2prec.collaboration.payload import Parameters
from p2prec.data.catalogue import Catalogue
from p2prec.data.interactions import History
from p2prec.errors import LocalProtocolError, StoreError
from p2prec.privacy.ledger import release_budget
from peers import events as ev
from peers.acquaintances import Identity
from peers.adverts import VerifiedAdverts
from peers.books import Books
from peers.budget import settled
from peers.config import PeerConfig
from peers.control import ControlServer
from peers.inbox import Inbox, payload_schema
from peers.life import Peer
from peers.memory import give_back
from peers.messages import PeerId
from peers.outbox import Outbox
from peers.owner import Answers, stored_keyring, stored_learner
from peers.portrait import Portrait
from peers.presence import Presence, check_hosts
from peers.store import STORE_NAME, Release, Store
from peers.transports.ways import Ways
from topology.cells import cell_elsewhere, home_cell

_SWITCH_S: Final = 0.002  # instead of 5 ms: what the loop waits while the learner computes
_GOODBYE_S: Final = 3.0  # what a leaving peer gives its last messages


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

    Attributes:
        portrait: What hellos say of its owner.
        life: The state machine.
        answers: What the owner may ask.
        ways: Transports that are open.
        counters: Of this run, see ``counted`` for those of the transports too.
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
        check_hosts(config.network.host, host_seen)
        config = settled(config, catalogue)
        self.config = config
        self.home = home
        self.catalogue = catalogue
        self.store = Store.open(home / STORE_NAME)
        if history is not None:
            self.store.add_interactions(history)
        self.keyring = stored_keyring(self.store, catalogue, grace_s=config.network.prekey_grace_s)
        self._device_seed = int.from_bytes(
            hashlib.sha256(b"p2prec/device/1" + self.keyring.sign(b"device")).digest()[:8], "big"
        )
        self.learner = stored_learner(self.store, catalogue, config, device_seed=self._device_seed)
        self.portrait = self._portrait()
        identity = Identity(
            peer_id=self.keyring.peer_id,
            area=self.portrait.area,
            sketch=self.portrait.sketch,
            method=config.learner.collaboration.method,
            model=self.learner.knowledge.model.name,
        )
        self.ways, verified = Ways(), VerifiedAdverts()
        self.books = Books(store=self.store, ways=self.ways, on_tell=on_tell or (lambda _: None))
        self.counters = self.books.counters
        self.inbox = Inbox(
            keyring=self.keyring,
            replay=self.store,
            schema=payload_schema(catalogue, [config.learner.model]),
            verified=verified,
            books=self.books,
            dispatch=self.dispatch,
        )
        self.outbox = Outbox(
            keyring=self.keyring,
            ways=self.ways,
            books=self.books,
            dispatch=self.dispatch,
            on_left=self.learner.left,
        )
        self.presence = Presence(
            config=config.network,
            keyring=self.keyring,
            store=self.store,
            ways=self.ways,
            cell=self._cell,
            elsewhere=cell_elsewhere(catalogue, secrets.randbits(62)),
            verified=verified,
            rng=random.Random(secrets.randbits(128)),  # names its inbox, for this run alone
            books=self.books,
            dispatch=self.dispatch,
            on_envelope=self.inbox.take,
            host_seen=host_seen,
            mqtt_buckets=mqtt_buckets,
        )
        self.life = Peer(
            config=config,
            identity=identity,
            rng=np.random.default_rng(self._device_seed),
            own_advert=lambda: self.presence.advert,
        )
        self.answers = Answers(
            config=config,
            catalogue=catalogue,
            keyring=self.keyring,
            life=self.life,
            learner=self.learner,
            store=self.store,
            books=self.books,
            reload=self._reload,
        )
        self._timers: dict[ev.Timer, asyncio.TimerHandle] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="learner")
        self._halted = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def counted(self) -> Counter[str]:
        """All counters of this run, those of the transports by their own names."""
        return self.books.of_this_run()

    # --- life -------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Live until ``stop`` is set, then leave properly.

        Raises:
            TransportError: The port is taken, or another daemon runs from this folder.
        """
        sys.setswitchinterval(_SWITCH_S)
        control = ControlServer(home=self.home, handler=self.answers.command)
        await control.start()
        background: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    if self.life.collaborates:
                        background += await self.presence.open(group)
                    background += self.outbox.start(group)
                    if self.learner.lost:
                        self.counters["others_lost"] += 1
                        self.books.tell("others_lost", reason=self.learner.lost)
                    if self.learner.anew:
                        self.counters["model_anew"] += 1
                        self.books.tell("model_anew", reason=self.learner.anew)
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
                self.books.pass_on(effect)
            case ev.SetTimer():
                self._set_timer(effect)
            case ev.Send():
                self.outbox.put(effect.to, effect.message)
            case ev.Train():
                self._begin("train", self._train(effect.round))
            case ev.MakePayloads():
                self._begin("payloads", self._payloads(effect))
            case ev.Merge():
                self._begin("merge", self._merge(effect))
            case ev.Persist():
                self._persist(effect)
            case ev.Advertise():
                self._begin("advertise", self.presence.advertise(rotate=effect.rotate))
            case ev.LookFurther():
                self._begin("look_further", self.presence.look_further(effect.ring))
            case ev.Withdraw():
                self._begin("withdraw", self.presence.withdraw())
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

    async def _halt(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self.outbox.flush()
        self._halted.set()

    async def _close(self, control: ControlServer) -> None:
        await control.close()
        await self.presence.close()
        self._worker.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(StoreError):
            self.books.keep()
        self.store.close()

    # --- learning ---------------------------------------------------------------------------

    async def _train(self, round_: int) -> None:
        loop = asyncio.get_running_loop()
        report = await loop.run_in_executor(self._worker, self.learner.train, round_)
        self.books.trained(round_=round_, diverged=report.diverged)
        self.dispatch(ev.Trained(round=round_, report=report))

    async def _payloads(self, effect: ev.MakePayloads) -> None:
        degree = max(1, len(effect.recipients))
        payloads = await asyncio.get_running_loop().run_in_executor(
            self._worker, lambda: tuple(self.learner.payloads(effect.round, degree=degree))
        )
        protection = self.config.learner.protection
        try:
            n_bytes = self.outbox.encode(payloads)
        except LocalProtocolError as error:  # a training that diverged; the next one may not
            self.counters["not_sendable"] += 1
            self.books.tell("not_sendable", reason=str(error))
            payloads, n_bytes = (), 0
        if payloads:  # also without followers: one who comes later in the round gets them too
            release = Release(
                round=effect.round,
                time_s=time.time(),
                kind=self.config.learner.collaboration.method,
                recipients=len(effect.recipients),
                n_bytes=n_bytes,
                noise_multiplier=protection.noise_multiplier
                if any(isinstance(p, Parameters) for p in payloads)
                else 0.0,
            )
            if not self._may_leave(release):
                payloads = ()
        self.dispatch(ev.PayloadsReady(round=effect.round, payloads=payloads))

    def _may_leave(self, release: Release) -> bool:
        """Written down before anything leaves: neither a crash nor a full disk hides a release."""
        protection = self.config.learner.protection
        try:
            times_s = [r.time_s for r in self.store.releases()]
            budget = release_budget(times_s, protection, now_s=release.time_s)
            if budget.left != 0:
                self.store.record_release(release)
                self.books.released(round_=release.round)
                return True
        except StoreError as error:
            self.books.store_failed(error)
            return False
        self.books.withheld(releases=budget.used, next_s=budget.next_s)
        return False

    async def _merge(self, effect: ev.Merge) -> None:
        report = await asyncio.get_running_loop().run_in_executor(
            self._worker, self.learner.merge, effect.round, effect.received
        )
        self.dispatch(ev.Merged(round=effect.round, report=report))

    def _persist(self, effect: ev.Persist) -> None:
        state = self.learner.state()
        state["portrait"] = self.portrait.to_array()
        merged = [[sender, kind, r] for (sender, kind), r in effect.merged_rounds.items()]
        state["merged_rounds"] = np.frombuffer(msgspec.json.encode(merged), np.uint8)
        try:
            self.store.save_progress(
                round_=effect.round, neighbours=effect.neighbours, learner=state
            )
            self.books.keep()
        except StoreError as error:
            self.books.store_failed(error)
        else:
            self.books.store_works(round_=effect.round)
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

    async def _reload(self) -> int:
        history = self.store.history()
        added = len(history) - len(self.learner.knowledge.history)
        await asyncio.get_running_loop().run_in_executor(self._worker, self.learner.add, history)
        self.dispatch(ev.InteractionsAdded(n=added))
        return added

    # --- who this peer is -------------------------------------------------------------------

    def _cell(self) -> str:
        return home_cell(self.catalogue, self.learner.knowledge.history)

    def _portrait(self) -> Portrait:
        kept = self.store.learner_state().get("portrait")
        if kept is not None:
            return Portrait.from_array(kept)
        rng = np.random.default_rng([self._device_seed, 7])
        return Portrait.draw(self.catalogue, self.learner.knowledge.history, rng=rng)


async def _awaited(job: Awaitable[None]) -> None:
    await job
