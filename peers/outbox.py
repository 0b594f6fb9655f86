"""What leaves: a bounded queue, encoded once, sealed to each recipient, sent by what works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from p2prec import limits
from p2prec.collaboration.payload import Payload
from p2prec.errors import LocalProtocolError, RemoteProtocolError, TransportError
from peers import events as ev
from peers.books import Books
from peers.codec import encode_message
from peers.keys import Keyring
from peers.messages import Advert, Message, Share
from peers.sealing import seal
from peers.transports.ways import Ways

_SENDERS: Final = 4  # messages on their way at once
_SIZES: Final = 1_000  # kept for statistics


class Outbox:
    """Messages that wait for their way out; the oldest is dropped where there are too many.

    Args:
        keyring: Signs and seals.
        ways: Transports that are open.
        books: Count what is sent.
        dispatch: Hears of each message that could not be delivered.
        on_left: Hears of each payload that was delivered, once for each recipient.

    Attributes:
        message_sizes: Kind and sealed bytes of the first payloads that were sent.
    """

    def __init__(
        self,
        *,
        keyring: Keyring,
        ways: Ways,
        books: Books,
        dispatch: Callable[[ev.Event], None],
        on_left: Callable[[Payload], None],
    ) -> None:
        self._keyring, self._ways, self._books = keyring, ways, books
        self._dispatch, self._on_left = dispatch, on_left
        self._queue: asyncio.Queue[tuple[Advert, Message]] = asyncio.Queue(
            limits.SEND_QUEUE_MESSAGES * 4
        )
        self._bodies: list[tuple[Payload, bytes]] = []  # of this round, encoded once
        self.message_sizes: list[tuple[str, int]] = []

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin to send; the tasks end only when they are cancelled."""
        return [group.create_task(self._send(), name=f"p2prec.send{i}") for i in range(_SENDERS)]

    def encode(self, payloads: Sequence[Payload]) -> int:
        """Encode a round's payloads for all who will get them; their bytes together.

        Raises:
            LocalProtocolError: One is not sendable; none of them is kept.
        """
        with self._books.crypto.part("encode"):
            self._bodies = [(p, encode_message(Share(payload=p))) for p in payloads]
        return sum(len(body) for _, body in self._bodies)

    def put(self, to: Advert, message: Message) -> None:
        """Queue a message to the peer behind an advert."""
        if self._queue.full():
            self._books.dropped("outbox_full")
            self._queue.get_nowait()
            self._queue.task_done()
        self._queue.put_nowait((to, message))

    async def flush(self) -> None:
        """Wait until everything that was queued has left or failed."""
        await self._queue.join()

    async def _send(self) -> None:
        while True:
            to, message = await self._queue.get()
            try:
                await self.deliver(to, message)
            except (TransportError, RemoteProtocolError, LocalProtocolError) as error:
                self._books.counters["not_sent"] += 1
                self._dispatch(ev.SendFailed(to=to.pseudonym, reason=str(error)))
            finally:
                self._queue.task_done()

    async def deliver(self, to: Advert, message: Message) -> None:
        """Seal one message and send it by the cheapest way.

        Raises:
            TransportError: No way to the recipient works.
            LocalProtocolError: The message cannot be encoded.
            RemoteProtocolError: The recipient's prekey is no key.
        """
        crypto, counters = self._books.crypto, self._books.counters
        with crypto.part("encode"):
            body = self._body(message)
        with crypto.part("seal"):
            envelopes = seal(body, keyring=self._keyring, to=to, now_s=time.time())
        n_bytes = sum(map(len, envelopes))
        way = await self._ways.send(to.endpoints, envelopes)
        counters[f"sent.{way}"] += 1
        counters[f"said.{type(message).__name__.lower()}"] += 1
        counters[f"sent_bytes.{way}"] += n_bytes
        if isinstance(message, Share):
            self._on_left(message.payload)
            counters["payload_bytes"] += n_bytes
            if len(self.message_sizes) < _SIZES:
                self.message_sizes.append((type(message.payload).__name__, n_bytes))

    def _body(self, message: Message) -> bytes:
        if isinstance(message, Share):
            for payload, body in self._bodies:
                if payload is message.payload:
                    return body
        return encode_message(message)
