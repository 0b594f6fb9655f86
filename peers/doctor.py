"""What can be wrong with an installation, each with one sentence."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

from p2prec.errors import P2PRecError

_LEAST_FREE_BYTES = 200 << 20
_SANE_TIME_S = 1_760_000_000  # a clock before this was never set


def examine() -> list[dict[str, Any]]:
    """All checks: name, whether it is fine, and a sentence."""
    checks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "torch": _torch,
        "settings": _settings,
        "protection": _protection,
        "catalogue": _catalogue,
        "store": _store,
        "clock": _clock,
        "disk": _disk,
        "port": _port,
        "multicast": _multicast,
        "broker": _broker,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append({"check": name, "ok": True, "says": check()})
        except (P2PRecError, OSError, ImportError) as error:
            findings.append({"check": name, "ok": False, "says": str(error)})
    return findings


def _python() -> str:
    return f"Python {sys.version.split()[0]}"


def _packages() -> str:
    import p2prec
    import peers
    import topology

    places = {Path(str(m.__file__)).parents[1] for m in (p2prec, topology, peers)}
    if len(places) > 1:
        raise P2PRecError("topology or peers belong to another package; use a clean environment")
    return f"p2prec {metadata.version('p2prec')}"


def _torch() -> str:
    return f"torch {metadata.version('torch')}"


def _settings() -> str:
    from peers.settings import config_path, owner_config

    config = owner_config()
    return f"{config_path()}, {'sharing' if config.share else 'sharing nothing'}"


def _protection() -> str:
    from peers.owner import check_protected, shares
    from peers.settings import config_path, owner_config

    config = owner_config()
    check_protected(config, source=str(config_path()))
    return "on" if shares(config) else "not needed, nothing is shared"


def _catalogue() -> str:
    from peers.files import read_catalogue
    from peers.settings import catalogue_path, owner_config

    items = read_catalogue(catalogue_path(owner_config()))
    return f"{len(items)} items, realm {items.digest.hex()[:16]}"


def _store() -> str:
    from peers.settings import home_folder
    from peers.store import STORE_NAME, Store

    path = home_folder() / STORE_NAME
    if not path.exists():
        return "none yet; the first run or import makes it"
    if path.stat().st_mode & 0o077:
        raise P2PRecError(f"{path} can be read by others; run: chmod 600 {path}")
    with closing(Store.open(path)) as store:
        verdict = store.check()
    if verdict != "ok":
        raise P2PRecError(f"{path} is damaged: {verdict}")
    return f"{path} is whole"


def _clock() -> str:
    if time.time() < _SANE_TIME_S:
        raise P2PRecError("the clock was never set: messages would be refused as too old")
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _disk() -> str:
    from peers.settings import home_folder

    folder = home_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise P2PRecError(f"only {free >> 20} MiB free on {folder}")
    return f"{free >> 20} MiB free"


def _port() -> str:
    from peers.control import running
    from peers.settings import home_folder, owner_config

    network = owner_config().network
    if running(home_folder()):
        return "the peer runs"
    with socket.socket() as probe:
        try:
            probe.bind((network.host, network.port))
        except OSError as error:
            raise P2PRecError(
                f"cannot listen on {network.host} port {network.port}: {error.strerror}"
            ) from None
    return f"port {network.port} is free" if network.port else "the system chooses a free port"


def _multicast() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.sendto(b"", ("224.0.0.251", 5353))
        except OSError as error:
            raise P2PRecError(f"no multicast ({error.strerror}): use a broker instead") from None
    return "the local network can be reached"


def _broker() -> str:
    from peers.settings import owner_config
    from peers.transports.access import Access, why

    brokers = [Access.of(broker) for broker in owner_config().network.mqtt]
    for broker in brokers:
        try:
            broker.probe()
        except OSError as error:
            raise P2PRecError(f"the broker {broker.name} does not answer: {why(error)}") from None
    return f"{len(brokers)} answer" if brokers else "none is set; the local network suffices"
