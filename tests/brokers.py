"""Real brokers for tests: amqtt in this loop, Mosquitto as a process where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from amqtt.broker import Broker

from p2prec.errors import TransportError
from peers.broker import EmbeddedBroker, free_port

KINDS = [
    "amqtt",
    pytest.param(
        "mosquitto",
        marks=pytest.mark.skipif(
            shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
            is None,
            reason="Mosquitto is not installed",
        ),
    ),
]


class RealBroker:
    """A broker that can be started, stopped and started again on the same port.

    Args:
        kind: ``"amqtt"`` or ``"mosquitto"``.
        folder: For Mosquitto's settings.
        anonymous: Whether it lets in clients without a password.
    """

    def __init__(self, kind: str, folder: Path, *, anonymous: bool = True) -> None:
        self.kind, self.folder, self.anonymous = kind, folder, anonymous
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._broker: EmbeddedBroker | Broker | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        async with asyncio.timeout(30):
            if self.kind == "mosquitto":
                await self._start_mosquitto()
            elif self.anonymous:
                await self._start_amqtt()
            else:
                plugin = "amqtt.plugins.authentication.AnonymousAuthPlugin"
                self._broker = Broker(
                    {
                        "listeners": {"default": {"type": "tcp", "bind": self.address}},
                        "plugins": {plugin: {"allow_anonymous": False}},
                    }
                )
                await self._broker.start()

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()
        broker, self._broker = self._broker, None
        if isinstance(broker, EmbeddedBroker):
            await broker.stop()
        elif broker is not None:
            await broker.shutdown()

    async def _start_amqtt(self) -> None:
        while True:
            self._broker = EmbeddedBroker(port=self.port)
            with contextlib.suppress(TransportError):  # the port of the last one is let go late
                return await self._broker.start()
            await asyncio.sleep(0.2)

    async def _start_mosquitto(self) -> None:
        settings = self.folder / "mosquitto.conf"
        allowed = str(self.anonymous).lower()
        settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous {allowed}\nuser root\n"
        )
        path = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        assert path is not None
        self._process = await asyncio.create_subprocess_exec(
            path, "-c", str(settings), stderr=asyncio.subprocess.DEVNULL
        )
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.returncode is None
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running_broker(
    kind: str, folder: Path, *, anonymous: bool = True
) -> AsyncIterator[RealBroker]:
    broker = RealBroker(kind, folder, anonymous=anonymous)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()
