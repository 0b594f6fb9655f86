"""How a broker is reached: address, whom to believe that it is the one, and who asks."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from p2prec.errors import ConfigError
from peers.config import BrokerConfig

_PROBE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a client needs to connect; nothing of it but ``name`` is ever shown.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whom to trust; None for a connection in clear.
        user: User name; empty for none.
        password: Of the user.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, broker: str | BrokerConfig) -> Access:
        """What the settings say.

        Raises:
            ConfigError: The address is none, the authorities cannot be read, or settings do not
                go together.
        """
        if isinstance(broker, str):
            broker = BrokerConfig(address=broker)
        host, port, encrypted = parse_broker(broker.address)
        if broker.password and not broker.user:
            raise ConfigError(f"the broker {host}:{port} has a password and no user")
        if broker.ca_file and not encrypted:
            raise ConfigError(
                f"the broker {host}:{port} has a ca_file but no encryption; write "
                f"mqtts://{host}:{port}"
            )
        return cls(
            host=host,
            port=port,
            tls=_trusting(broker.ca_file) if encrypted else None,
            user=broker.user,
            password=broker.password,
        )

    def probe(self) -> None:
        """Connect, and check the certificate, without a word of MQTT.

        Raises:
            OSError: It does not answer, or is not who it should be.
        """
        with socket.create_connection((self.host, self.port), timeout=_PROBE_TIMEOUT_S) as line:
            if self.tls is not None:
                self.tls.wrap_socket(line, server_hostname=self.host).close()


def parse_broker(address: str) -> tuple[str, int, bool]:
    """``(host, port, tls)`` of ``host:port``, ``mqtt://host:port`` or ``mqtts://host:port``.

    Raises:
        ConfigError: The address is none of these.
    """
    if "@" in address:  # not shown: what stands before it is nobody else's
        raise ConfigError(
            "the address of a broker holds neither user nor password; write { address = "
            '"mqtts://host:port", user = "...", password = "..." } in its place'
        )
    url = urlsplit(address if "://" in address else f"mqtt://{address}")
    try:
        port = url.port
    except ValueError:
        port = -1
    if url.scheme not in {"mqtt", "mqtts"} or not url.hostname or port == -1:
        raise ConfigError(f"{address!r} is no broker; write host:port or mqtts://host:port")
    tls = url.scheme == "mqtts"
    return url.hostname, port or (8883 if tls else 1883), tls


def why(error: BaseException) -> str:
    """Why a broker cannot be reached, in words for its user."""
    cause = error
    while cause.__context__ is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__context__  # the client library hides what it met behind a string
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not to be trusted: {cause.verify_message}; where it is yours, "
            "name the certificate of its authority as ca_file of this broker in [network]"
        )
    if isinstance(cause, ssl.SSLError):
        return f"it does not speak TLS here: {cause.reason or cause}"
    return str(error) or type(error).__name__


def _trusting(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise ConfigError(f"{ca_file} holds no certificate in PEM form") from None
    except OSError as error:
        raise ConfigError(f"{ca_file} cannot be read: {error.strerror or error}") from None
