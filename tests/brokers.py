"""Real brokers for tests: amqtt in this loop, Mosquitto as a process where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from amqtt.broker import Broker
from certificates import Certificate
from pwdlib.hashers.argon2 import Argon2Hasher

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
        tls: Its certificate and key, for a listener that speaks nothing else.
        users: Passwords by user name; with any, nobody else is let in.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        anonymous: bool = True,
        tls: Certificate | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.folder = kind, folder
        self.anonymous, self.tls, self.users = anonymous and not users, tls, users or {}
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
            elif self.anonymous and self.tls is None:
                await self._start_amqtt()
            else:
                await self._start_guarded_amqtt()

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

    async def _start_guarded_amqtt(self) -> None:
        listener: dict[str, object] = {"type": "tcp", "bind": self.address}
        if self.tls is not None:
            files = {"certfile": str(self.tls.certificate), "keyfile": str(self.tls.key)}
            listener |= {"ssl": True, **files}
        plugin = "amqtt.plugins.authentication."
        guard: dict[str, object] = {"AnonymousAuthPlugin": {"allow_anonymous": self.anonymous}}
        if self.users:
            passwords = self.folder / "passwords"
            lines = [f"{u}:{Argon2Hasher().hash(p)}\n" for u, p in self.users.items()]
            passwords.write_text("".join(lines))
            guard = {"FileAuthPlugin": {"password_file": str(passwords)}}
        self._broker = Broker(
            {
                "listeners": {"default": listener},
                "plugins": {plugin + name: options for name, options in guard.items()},
            }
        )
        await self._broker.start()

    async def _start_mosquitto(self) -> None:
        settings = self.folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {str(self.anonymous).lower()}",
            "user root",
        ]
        if self.tls is not None:
            lines += [f"certfile {self.tls.certificate}", f"keyfile {self.tls.key}"]
        if self.users:
            passwords = self.folder / "passwords"
            passwords.touch(mode=0o600)
            for pair in self.users.items():
                command = ("mosquitto_passwd", "-b", str(passwords), *pair)
                hashing = await asyncio.create_subprocess_exec(*command)
                assert await hashing.wait() == 0
            lines.append(f"password_file {passwords}")
        settings.write_text("\n".join(lines) + "\n")
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
    kind: str,
    folder: Path,
    *,
    anonymous: bool = True,
    tls: Certificate | None = None,
    users: Mapping[str, str] | None = None,
) -> AsyncIterator[RealBroker]:
    broker = RealBroker(kind, folder, anonymous=anonymous, tls=tls, users=users)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()
