"""Sealed envelopes and presence over MQTT 3.1.1.

Topics: ``p2prec/1/<realm>/c/<cell label>/<bucket>/<pseudonym>`` holds a retained advert,
``p2prec/1/<realm>/in/<inbox>`` takes envelopes. A broker is trusted with nothing; everything it
delivers may be late, doubled, or invented. A will is never used: it cannot tell a crash from a
clean leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import aiomqtt

from p2prec import limits
from p2prec.errors import TransportError
from peers.transports.access import Access, why

_CONNECT_TIMEOUT_S: Final = 60.0  # hundreds of clients may connect at once
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 15.0
_PUBLISH_TIMEOUT_S: Final = 30.0
_SILENT: Final = logging.getLogger("p2prec.mqtt")  # a lost broker is told by on_state, once
_SILENT.setLevel(logging.CRITICAL)
_QUEUED_MESSAGES: Final = 256  # inbound messages that wait for the peer; then the oldest goes


class MqttTransport:
    """One connection to one broker, kept up as long as ``run`` runs.

    Args:
        broker: How it is reached.
        realm: Digest of the catalogue.
        inbox: Own inbox, 32 hex characters.
        on_envelope: Takes an envelope; the answer is ignored, since anybody may have sent it.
        on_presence: Takes ``(pseudonym, advert bytes)``; empty bytes say goodbye.
        rng: For jitter.
        buckets: Parts of a cell's presence.
        on_state: Hears "" when the broker is there, and the reason when it no longer is; each once.
    """

    def __init__(
        self,
        *,
        broker: Access,
        realm: bytes,
        inbox: str,
        on_envelope: Callable[[bytes], Awaitable[bool]],
        on_presence: Callable[[str, bytes], None],
        rng: random.Random,
        buckets: int = 1,
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._on_state = on_state
        self._complained = False
        self._root = f"p2prec/1/{realm[:8].hex()}"
        self.inbox = inbox
        self._on_envelope, self._on_presence = on_envelope, on_presence
        self._rng = rng
        self._buckets = buckets
        self._client: aiomqtt.Client | None = None
        self._presence: tuple[str, str, bytes] | None = None
        self._labels: dict[str, bool] = {}  # and whether of the part alone that is drawn
        self.connected = asyncio.Event()
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        """Connect, listen, connect again; ends only when it is cancelled."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                async with self._new_client() as client:
                    self._client = client
                    await client.subscribe(
                        [
                            # Delivery needs no acknowledgement of its own: the connection keeps
                            # order and loses nothing, and a clean session ends with it.
                            (f"{self._root}/in/{self.inbox}", 0),
                            *(
                                topic
                                for label in self._labels
                                for topic in self._cell_topics(label)
                            ),
                        ]
                    )
                    if self._presence is not None:
                        await self._publish_presence(client)
                    self.connected.set()
                    self.counters["connected"] += 1
                    self._complained = False
                    self._on_state("")
                    backoff_s = _FIRST_BACKOFF_S
                    async for message in client.messages:
                        await self._take(message)
            except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
                # Where a wait has failed in the moment in which it was cancelled, Python 3.11 tells
                # of the failure alone; who stops this peer would wait for ever.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                self.counters["connection_lost"] += 1
                if not self._complained:
                    self._complained = True
                    self._on_state(why(error))
            finally:
                self._client = None
                self.connected.clear()
            # Full jitter: a broker that comes back must not meet everybody at once.
            await asyncio.sleep(self._rng.uniform(0.1, 1.0) * backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def send(self, inbox: str, envelopes: Sequence[bytes]) -> None:
        """Publish envelopes to an inbox, at least once.

        Raises:
            TransportError: The broker is not there.
        """
        client = self._client
        if client is None:
            raise TransportError(f"the broker {self._broker.name} cannot be reached just now")
        try:
            async with asyncio.timeout(_PUBLISH_TIMEOUT_S):
                for envelope in envelopes:
                    await client.publish(f"{self._root}/in/{inbox}", envelope, qos=1)
        except (aiomqtt.MqttError, TimeoutError, ValueError) as error:
            raise TransportError(
                f"the broker {self._broker.name} did not take it: {error}"
            ) from None

    async def advertise(self, *, label: str, pseudonym: str, advert: bytes) -> None:
        """Publish presence in a cell; published again after every reconnect."""
        await self.withdraw(keep=pseudonym)
        self._presence = (label, pseudonym, advert)
        if self._client is not None:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                await self._publish_presence(self._client)

    async def browse(self, label: str, *, drawn_only: bool = False) -> None:
        """Hear of the peers of a cell.

        Args:
            label: Of the cell.
            drawn_only: Of the part of them alone that is drawn at random.
        """
        if label in self._labels and self._labels[label] <= drawn_only:
            return
        self._labels[label] = drawn_only
        if self._client is not None:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                await self._client.subscribe(self._cell_topics(label))

    async def withdraw(self, *, keep: str = "") -> None:
        """Say goodbye: an empty retained message in place of the presence."""
        presence, self._presence = self._presence, None
        if presence is None or presence[1] == keep or self._client is None:
            return
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(5.0):
                await self._client.publish(self._topic(*presence[:2]), b"", qos=1, retain=True)

    async def _publish_presence(self, client: aiomqtt.Client) -> None:
        if self._presence is not None:
            label, pseudonym, advert = self._presence
            await client.publish(self._topic(label, pseudonym), advert, qos=1, retain=True)

    def _cell_topics(self, label: str) -> list[tuple[str, int]]:
        # One bucket of many keeps the number of adverts that one peer sees bounded; the second,
        # drawn at random, keeps buckets connected to each other.
        mine = {self._rng.randrange(self._buckets)}
        if not self._labels[label]:
            mine.add(int(self.inbox[:8], 16) % self._buckets)
        return [(f"{self._root}/c/{label}/{bucket}/+", 0) for bucket in sorted(mine)]

    def _topic(self, label: str, pseudonym: str) -> str:
        return f"{self._root}/c/{label}/{int(self.inbox[:8], 16) % self._buckets}/{pseudonym}"

    async def _take(self, message: aiomqtt.Message) -> None:
        payload = message.payload if isinstance(message.payload, bytes) else b""
        parts = str(message.topic).split("/")
        if len(payload) > limits.MAX_ENVELOPE_BYTES:
            self.counters["too_long"] += 1
        elif len(parts) == 5 and parts[3] == "in":
            await self._on_envelope(payload)
        elif len(parts) == 7 and parts[3] == "c" and len(parts[6]) == 32:
            self._on_presence(parts[6], payload)
        else:
            self.counters["unknown_topic"] += 1

    def _new_client(self) -> aiomqtt.Client:
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user or None,
            password=self._broker.password or None,
            identifier=f"p{self._rng.getrandbits(64):016x}",
            clean_session=True,
            timeout=_CONNECT_TIMEOUT_S,
            keepalive=60,
            logger=_SILENT,
            max_queued_incoming_messages=_QUEUED_MESSAGES,
            tls_context=self._broker.tls,
        )
        _notice_early_end(client)
        return client


def _notice_early_end(client: aiomqtt.Client) -> None:
    """Else the client waits for the broker's answer when the connection was closed before it."""
    paho, then = client._client, client._client.on_disconnect  # noqa: SLF001 - no public way
    loop = asyncio.get_running_loop()

    def fail() -> None:
        connected = client._connected  # noqa: SLF001
        if not connected.done():
            connected.set_exception(aiomqtt.MqttError("it closed the connection at once"))

    def ended(*details: Any) -> None:
        loop.call_soon_threadsafe(fail)  # this may be the thread that connects
        if then is not None:
            then(*details)

    paho.on_disconnect = ended
