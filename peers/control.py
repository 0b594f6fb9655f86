"""The owner's local control socket: one JSON line in, one JSON line out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from p2prec.errors import P2PRecError, TransportError
from p2prec.limits import MAX_CONTROL_REQUEST_BYTES

SOCKET_NAME = "control.sock"
_TIMEOUT_S = 10.0

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Listens in the peer's own folder; only its owner may connect."""

    def __init__(self, *, home: Path, handler: Handler) -> None:
        self._path = home / SOCKET_NAME
        self._handler = handler
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            TransportError: Another daemon runs from the same folder.
        """
        if self._path.exists():
            if running(self._path.parent):
                raise TransportError(
                    f"a peer already runs from {self._path.parent}; stop it, or name another "
                    "folder with P2PREC_HOME"
                )
            self._path.unlink()
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, self._path, limit=MAX_CONTROL_REQUEST_BYTES
            )
        except OSError as error:
            raise TransportError(f"{self._path}: {error}") from None
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                line = await reader.readline()
            try:
                request = json.loads(line)
                answer = await self._handler(request)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                answer = {"error": f"not understood: {error}"}
            except P2PRecError as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # the client has gone, or never spoke
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class ControlClient:
    """Asks a running daemon."""

    def __init__(self, home: Path) -> None:
        self._path = home / SOCKET_NAME

    def request(self, name: str, **fields: object) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            TransportError: No daemon runs from this folder, or it answers with an error.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(json.dumps({"request": name, **fields}).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    line = stream.readline()
        except OSError:
            raise TransportError(
                f"no peer runs from {self._path.parent}; start one with: p2prec run"
            ) from None
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TransportError(str(answer["error"]))
        return answer


def running(home: Path) -> bool:
    """Whether a daemon answers in this folder."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(home / SOCKET_NAME))
    except OSError:
        return False
    return True
