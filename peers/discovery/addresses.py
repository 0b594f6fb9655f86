"""Under which address this device is reached on its own networks."""

from __future__ import annotations

import ipaddress
import socket

import ifaddr

_SOMEWHERE = ("192.0.2.1", 9)  # reserved for documentation; no packet is sent


def own_addresses() -> list[str]:
    """IPv4 addresses that others can reach, the one of the default route first.

    A local network needs no default route, so that interfaces are looked at too. Empty where the
    device has no network but itself.
    """
    addresses = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    found = {a for a in addresses if isinstance(a, str) and not ipaddress.ip_address(a).is_loopback}
    first = _of_default_route()
    return sorted(found, key=lambda address: (address != first, ipaddress.ip_address(address)))


def _of_default_route() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return ""
