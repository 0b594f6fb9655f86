"""Peers in network namespaces of their own: mDNS across a wire, and a device without multicast."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import PeerProcess, ending, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.xdist_group("multicast"),
    pytest.mark.timeout(900),
]


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two empty network namespaces; they go with everything in them, whatever happens."""
    mark = uuid.uuid4().hex[:8]
    names = (f"p2a{mark}", f"p2b{mark}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        for name in names:
            if ip("netns", "add", name).returncode:
                pytest.skip("no network namespaces here")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def within(name: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", name)


@pytest.mark.parametrize("default_route", [True, False])
def test_two_daemons_find_each_other_by_mdns_across_a_wire(
    namespaces: tuple[str, str],
    tmp_path: Path,
    default_route: bool,  # noqa: FBT001
) -> None:
    a, b = namespaces
    assert not ip("-n", a, "link", "add", "e0", "type", "veth", "peer", "e0", "netns", b).returncode
    for i, name in enumerate(namespaces, 1):
        ip("-n", name, "addr", "add", f"10.77.0.{i}/24", "dev", "e0")
        ip("-n", name, "link", "set", "e0", "up")
        if default_route:
            ip("-n", name, "route", "add", "default", "via", f"10.77.0.{3 - i}")
    peers = [
        PeerProcess(
            tmp_path / name, prefix=within(name), user=i, network={"host": "0.0.0.0", "mdns": True}
        )
        for i, name in enumerate(namespaces)
    ]
    with ending(*peers):
        for peer in peers:
            peer.start()
        until(lambda: all(p.told("payload_received") for p in peers))
        until(lambda: all(p.status().get("round", 0) >= 2 for p in peers))
        for peer in peers:
            status = peer.status()
            assert status["neighbours"] == 1
            assert status["counters"]["sent.tcp"] > 0
            assert not peer.told("no_multicast")
        found = [p.status()["discovered_by"].get("mdns", 0) for p in peers]
        assert sum(found) >= 1  # the other one may have been greeted before it looked
    for peer in peers:
        assert peer.process is not None
        assert peer.process.returncode == 0


def test_a_device_without_multicast_says_so_once_and_goes_on_by_mqtt(
    namespaces: tuple[str, str], tmp_path: Path
) -> None:
    name = namespaces[0]
    network = {"host": "0.0.0.0", "mdns": True, "mqtt": ["127.0.0.1:1883"]}
    peers = [
        PeerProcess(tmp_path / str(i), prefix=within(name), user=i, network=network)
        for i in range(2)
    ]
    with ending(*peers):
        peers[0].start(broker=1883)
        peers[1].start()
        until(lambda: all(p.told("payload_received") for p in peers))
        for peer in peers:
            [told] = peer.told("no_multicast")
            assert "no network but itself" in told["reason"]
            counters = peer.status()["counters"]
            assert counters["no_multicast"] == 1
            assert counters["sent.mqtt"] > 0
            # Nobody elsewhere is told to look for this peer at their own loopback.
            assert "sent.tcp" not in counters
