"""The embedded broker: a relay that any peer can run; it sees random ids and sealed bytes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from typing import Any

from amqtt.broker import Broker
from amqtt.session import Session

from p2prec.errors import TransportError


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class _Filters(dict[str, list[tuple[Session, int]]]):
    """Sessions by filter; amqtt formats all of them for a log line that nobody reads."""

    def __repr__(self) -> str:
        return f"<{len(self)} filters>"


class _Broker(Broker):  # type: ignore[misc]  # amqtt is not typed
    """amqtt, for hundreds of clients.

    When a client connects, amqtt goes through the filters of *all* clients and sends what is
    retained under them: N squared messages that nobody asked for. While it does, another client
    subscribes, the dictionary changes under the loop, and the new client is never served. And it
    tries every filter on every message, inboxes of all peers included, one message a turn.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._subscriptions = _Filters()

    def _matches(self, topic: str, a_filter: str) -> bool:
        if a_filter.endswith("/+") and a_filter.count("+") == 1:  # presence, the usual one
            return topic.rpartition("/")[0] == a_filter[:-2]
        return bool(super()._matches(topic, a_filter))

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(held is session for held, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _run_broadcast(self, running_tasks: deque[asyncio.Task[Any]]) -> None:
        self._broadcast(await self._broadcast_queue.get(), running_tasks)
        while not self._broadcast_queue.empty():
            self._broadcast(self._broadcast_queue.get_nowait(), running_tasks)

    def _broadcast(self, message: dict[str, Any], running_tasks: deque[asyncio.Task[Any]]) -> None:
        topic, filters = message["topic"], self._subscriptions
        wild = [f for f in filters if ("+" in f or "#" in f) and self._matches(topic, f)]
        for name in (topic, *wild) if topic in filters else wild:
            for session, granted in filters[name]:
                handler = self._get_handler(session)
                # Clients are anonymous: nothing is kept for those that are not connected.
                if handler is not None and session.transitions.state == "connected":
                    qos = message.get("qos", granted)
                    sending = handler.mqtt_publish(topic, message["data"], qos, retain=False)
                    running_tasks.append(asyncio.ensure_future(sending))


class EmbeddedBroker:
    """An MQTT 3.1.1 broker in this event loop."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port or free_port(host)
        self._broker: _Broker | None = None

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
        self._broker = _Broker(config)
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
