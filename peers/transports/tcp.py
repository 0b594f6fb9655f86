"""Sealed envelopes over TCP: frames of u32 length (big endian), u8 type, payload.

Types: 1 envelope, 2 request for the advert, 3 advert. TCP is trusted with nothing: an envelope
protects itself, an advert is signed.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from p2prec import limits
from p2prec.errors import TransportError

_FRAME: Final = struct.Struct(">IB")
ENVELOPE, BUNDLE_REQUEST, BUNDLE = 1, 2, 3
_CONNECT_TIMEOUT_S: Final = 10.0
_SEND_TIMEOUT_S: Final = 30.0
_REST_S: Final = 20.0  # an address that did not answer is not tried by who has another way
_MAX_OUTBOUND: Final = 16  # cached outbound connections; the oldest is closed


@dataclass(frozen=True, slots=True)
class _Line:
    """One outbound connection; nothing is ever read from it but its end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_open(self) -> bool:
        """Whether the other side still listens: what is written after its end is lost silently."""
        return not (self.writer.is_closing() or self.reader.at_eof())

    async def send(self, envelopes: Sequence[bytes]) -> None:
        for envelope in envelopes:
            self.writer.write(_FRAME.pack(len(envelope), ENVELOPE) + envelope)
            await self.writer.drain()


class TcpTransport:
    """One listener and a few cached outbound connections.

    Args:
        host: Address to listen on.
        port: 0 lets the system choose.
        on_envelope: Takes an envelope; false says that it was bad.
        bundle: Gives the own advert's bytes, or b"" for none.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        on_envelope: Callable[[bytes], Awaitable[bool]],
        bundle: Callable[[], bytes],
    ) -> None:
        self._host, self.port = host, port
        self._on_envelope, self._bundle = on_envelope, bundle
        self._server: asyncio.Server | None = None
        self._inbound: dict[asyncio.StreamWriter, str] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._outbound: dict[tuple[str, int], _Line] = {}
        self._silent_until: dict[tuple[str, int], float] = {}  # on the loop's clock
        self.counters: Counter[str] = Counter()

    async def start(self) -> None:
        """Listen.

        Raises:
            TransportError: The port is taken or the address is not ours.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self.port, limit=limits.MAX_ENVELOPE_BYTES, backlog=512
            )
        except OSError as error:
            raise TransportError(
                f"cannot listen on {self._host} port {self.port}: {error.strerror or error}. "
                "Choose another port in [network], or 0 for any free one."
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for writer in [*self._inbound, *(line.writer for line in self._outbound.values())]:
            writer.close()
        self._outbound.clear()
        # What is still in their buffers must not reach a peer that has closed its store.
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def send(
        self,
        addresses: Sequence[tuple[str, int]],
        envelopes: Sequence[bytes],
        *,
        insist: bool = True,
    ) -> None:
        """Send to the first address that answers.

        Args:
            addresses: Of the recipient.
            envelopes: In order.
            insist: Whether to try an address too that did not answer a moment ago; who has
                another way does better to take it at once.

        Raises:
            TransportError: None did.
        """
        now_s = asyncio.get_running_loop().time()
        reason = "no address"
        for address in addresses:
            if not insist and self._silent_until.get(address, 0.0) > now_s:
                reason = "it did not answer a moment ago"
                continue
            try:
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await self._write(address, envelopes)
            except (OSError, TimeoutError) as error:
                self._forget(address)
                self._rest(address)
                reason = str(error) or type(error).__name__
            else:
                self._silent_until.pop(address, None)
                return
        raise TransportError(f"no TCP address answered: {reason}")

    async def _write(self, address: tuple[str, int], envelopes: Sequence[bytes]) -> None:
        line = self._outbound.get(address)
        if line is not None and line.is_open:
            # It may have died unnoticed: then a fresh one is tried.
            with suppress(OSError):
                return await line.send(envelopes)
        self._forget(address)
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            line = _Line(*await asyncio.open_connection(*address))
        while len(self._outbound) >= _MAX_OUTBOUND:
            self._forget(next(iter(self._outbound)))
        self._outbound[address] = line
        return await line.send(envelopes)

    def _forget(self, address: tuple[str, int]) -> None:
        line = self._outbound.pop(address, None)
        if line is not None:
            line.writer.close()

    def _rest(self, address: tuple[str, int]) -> None:
        now_s = asyncio.get_running_loop().time()
        kept = {a: until for a, until in self._silent_until.items() if until > now_s}
        while len(kept) >= limits.MAX_KNOWN_ADVERTS:
            del kept[next(iter(kept))]
        self._silent_until = kept | {address: now_s + _REST_S}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("?",))[0])
        same = sum(1 for address in self._inbound.values() if address == peer)
        if (
            len(self._inbound) >= limits.MAX_CONNECTIONS
            or same >= limits.MAX_CONNECTIONS_PER_ADDRESS
        ):
            self.counters["refused_connection"] += 1
            writer.close()
            return
        self._inbound[writer] = peer
        task = asyncio.create_task(self._frames(reader, writer), name="p2prec.tcp")
        self._serving.add(task)
        try:
            await task
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.counters["broken_connection"] += 1
        except asyncio.CancelledError:
            pass  # the transport closes
        finally:
            self._serving.discard(task)
            self._inbound.pop(writer, None)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        timeout_s, bad = limits.FIRST_FRAME_TIMEOUT_S, 0
        while bad < limits.MAX_BAD_ENVELOPES_PER_CONNECTION:
            async with asyncio.timeout(timeout_s):
                header = await reader.read(1)
                if not header:
                    return
                header += await reader.readexactly(_FRAME.size - 1)
                length, kind = _FRAME.unpack(header)
                if kind == ENVELOPE and 0 < length <= limits.MAX_ENVELOPE_BYTES:
                    envelope = await reader.readexactly(length)
                elif kind == BUNDLE_REQUEST and length == 0:
                    bundle = self._bundle()
                    writer.write(_FRAME.pack(len(bundle), BUNDLE) + bundle)
                    await writer.drain()
                    return
                else:
                    self.counters["bad_frame"] += 1
                    return
            bad = 0 if await self._on_envelope(envelope) else bad + 1
            timeout_s = limits.IDLE_CONNECTION_S
        self.counters["closed_for_bad_envelopes"] += 1


async def fetch_bundle(host: str, port: int) -> bytes:
    """The advert of the peer that listens there.

    Raises:
        TransportError: It does not answer, or not with an advert.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_FRAME.pack(0, BUNDLE_REQUEST))
                length, kind = _FRAME.unpack(await reader.readexactly(_FRAME.size))
                if kind != BUNDLE or not 0 < length <= limits.MAX_ADVERT_BYTES:
                    raise TransportError(f"{host}:{port} sent no advert")
                return await reader.readexactly(length)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise TransportError(f"{host}:{port} does not answer: {error}") from None
