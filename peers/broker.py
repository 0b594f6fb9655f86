"""The embedded broker: a relay that any peer can run; it sees random ids and sealed bytes."""

from __future__ import annotations

import logging
import socket

from amqtt.broker import Broker

from p2prec.errors import TransportError


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class EmbeddedBroker:
    """An MQTT 3.1.1 broker in this event loop."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port or free_port(host)
        self._broker: Broker | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            TransportError: The port is taken.
        """
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"{self.host}:{self.port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
        self._broker = Broker(config)
        try:
            await self._broker.start()
        except Exception as error:  # noqa: BLE001 - amqtt wraps the cause in errors of its own
            raise TransportError(
                f"no broker can listen on {self.host} port {self.port}: {error}"
            ) from None

    async def stop(self) -> None:
        """Close the listener and all connections."""
        if self._broker is not None:
            await self._broker.shutdown()
            self._broker = None
