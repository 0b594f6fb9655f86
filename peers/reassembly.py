"""Chunks to bodies: any order, repeated chunks, bounded in count, bytes and time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from p2prec import limits
from p2prec.errors import RemoteProtocolError
from peers.messages import PeerId
from peers.wire import SealedWire


@dataclass(slots=True)
class _Unfinished:
    frame: tuple[object, ...]
    begun_s: float
    envelope_bytes: int = 0
    held_bytes: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)


class Reassembler:
    """Unfinished messages, oldest first.

    Args:
        on_drop: Hears of each message that is given up.
    """

    def __init__(self, on_drop: Callable[[], None]) -> None:
        self._on_drop = on_drop
        self._unfinished: OrderedDict[tuple[PeerId, bytes], _Unfinished] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._unfinished)

    def drop_old(self, now_s: float) -> None:
        """Give up what was begun too long ago."""
        while self._unfinished:
            key, oldest = next(iter(self._unfinished.items()))
            if now_s - oldest.begun_s <= limits.REASSEMBLY_TIMEOUT_S:
                return
            self._drop(key)

    def add(
        self, sender: PeerId, chunk: SealedWire, *, n_bytes: int, now_s: float
    ) -> tuple[bytes, int] | None:
        """The body and the bytes of its envelopes, or None while chunks are missing.

        Raises:
            RemoteProtocolError: ``malformed_chunk``: it contradicts the chunk that came first.
        """
        key = (sender, chunk.message_id)
        message = self._unfinished.setdefault(key, _Unfinished(_frame(chunk), now_s))
        if _frame(chunk) != message.frame:
            raise RemoteProtocolError("malformed_chunk", "it belongs to another message")
        if chunk.chunk not in message.parts:
            message.parts[chunk.chunk] = chunk.body
            message.envelope_bytes += n_bytes
            message.held_bytes += len(chunk.body)
            self.held_bytes += len(chunk.body)
        if len(message.parts) == chunk.chunks:
            self._forget(key)
            body = b"".join(message.parts[i] for i in range(chunk.chunks))
            return body, message.envelope_bytes
        self._bound(sender)
        return None

    def _bound(self, sender: PeerId) -> None:
        own = [key for key in self._unfinished if key[0] == sender]
        for key in own[: -limits.MAX_OPEN_REASSEMBLIES]:
            self._drop(key)
        while (
            len(self._unfinished) > limits.MAX_OPEN_REASSEMBLIES_TOTAL
            or self.held_bytes > limits.MAX_REASSEMBLY_BYTES
        ):
            self._drop(next(iter(self._unfinished)))

    def _drop(self, key: tuple[PeerId, bytes]) -> None:
        self._forget(key)
        self._on_drop()

    def _forget(self, key: tuple[PeerId, bytes]) -> None:
        self.held_bytes -= self._unfinished.pop(key).held_bytes


def _frame(chunk: SealedWire) -> tuple[object, ...]:
    """What all chunks of one message have in common."""
    return chunk.chunks, chunk.digest, chunk.created_s, chunk.expires_s
