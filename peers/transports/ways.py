"""The transports that a running peer has open, and which of them takes a message."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from p2prec.errors import TransportError
from peers.messages import Endpoints
from peers.transports.mqtt import MqttTransport
from peers.transports.tcp import TcpTransport


@dataclass(slots=True, kw_only=True)
class Ways:
    """TCP, where it is open, and any number of brokers.

    Attributes:
        tcp: The listener with its outbound connections.
        mqtt: One transport for each broker, in the order of the settings.
    """

    tcp: TcpTransport | None = None
    mqtt: list[MqttTransport] = field(default_factory=list)

    async def send(self, to: Endpoints, envelopes: Sequence[bytes]) -> str:
        """Send by the cheapest way that works; ``"tcp"`` or ``"mqtt"``, whichever it was.

        Raises:
            TransportError: None works.
        """
        by_broker = bool(to.mqtt_inbox) and any(t.connected.is_set() for t in self.mqtt)
        if self.tcp is not None and to.tcp:
            with contextlib.suppress(TransportError):
                await self.tcp.send(to.tcp, envelopes, insist=not by_broker)
                return "tcp"
        if to.mqtt_inbox:
            for transport in self.mqtt:
                with contextlib.suppress(TransportError):
                    await transport.send(to.mqtt_inbox, envelopes)
                    return "mqtt"
        raise TransportError("no way to this peer works")

    def counters(self) -> Counter[str]:
        """What the transports have counted, each name after its kind."""
        total: Counter[str] = Counter()
        if self.tcp is not None:
            total.update({f"tcp.{name}": n for name, n in self.tcp.counters.items()})
        for transport in self.mqtt:
            total.update({f"mqtt.{name}": n for name, n in transport.counters.items()})
        return total
