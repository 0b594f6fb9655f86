"""Which messages were taken already: bounded, and what is forgotten is refused for ever."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from p2prec import limits
from peers.messages import PeerId


class ReplayMemory(Protocol):
    """Remembers message ids."""

    def seen(self, sender: PeerId, message_id: bytes, *, created_s: float) -> bool:
        """Whether ``accept`` would refuse; changes nothing."""
        ...

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """Whether this is new; from then on it is not."""
        ...


class BoundedReplayMemory:
    """Message ids of the latest senders, in memory.

    What a full memory forgets stays refused: a sender's oldest ids raise the sender's floor, and a
    forgotten sender raises the floor of everybody who is not remembered.
    """

    def __init__(self) -> None:
        self._senders: OrderedDict[PeerId, tuple[float, OrderedDict[bytes, float]]] = OrderedDict()
        self._floor_s = -1.0

    def seen(self, sender: PeerId, message_id: bytes, *, created_s: float) -> bool:
        """Whether the id is known, or the message not newer than what was forgotten."""
        floor_s, ids = self._senders.get(sender, (self._floor_s, OrderedDict[bytes, float]()))
        return message_id in ids or created_s <= floor_s

    def accept(
        self, sender: PeerId, message_id: bytes, *, created_s: float, expires_s: float
    ) -> bool:
        """Whether this is new; then it is remembered."""
        del expires_s
        if self.seen(sender, message_id, created_s=created_s):
            return False
        floor_s, ids = self._senders.pop(sender, (self._floor_s, OrderedDict[bytes, float]()))
        ids[message_id] = created_s
        while len(ids) > limits.REPLAY_IDS_PER_SENDER:
            floor_s = max(floor_s, ids.popitem(last=False)[1])
        self._senders[sender] = (floor_s, ids)
        while len(self._senders) > limits.MAX_REMEMBERED_SENDERS:
            _, (floor_s, ids) = self._senders.popitem(last=False)
            self._floor_s = max(self._floor_s, floor_s, *ids.values())
        return True
