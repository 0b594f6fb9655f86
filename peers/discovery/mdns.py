"""Discovery on the local network by mDNS: service ``_p2prec._tcp``, one subtype a cell.

The record of a peer says its pseudonym, address and port; the advert itself is fetched over TCP,
since its prekey does not fit into a TXT record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zeroconf import IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from p2prec.errors import TransportError

_SERVICE: Final = "_p2prec._tcp.local."
_TTL_S: Final = 120  # a crashed peer lingers no longer
_RESOLVE_TIMEOUT_MS: Final = 3_000
# Multicast loses packets, and a browser names a service seldom: who did not answer is asked again.
_RESOLVE_TRIES: Final = 6
_RESOLVE_PAUSE_S: Final = 1.0  # twice as long after each try
_MAX_RESOLVING: Final = 256  # anybody on the network can name services that do not exist


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalService:
    """A peer as mDNS shows it."""

    instance: str  # the pseudonym
    host: str
    port: int
    label: str


class MdnsDiscovery:
    """Announces services and finds those of chosen cells.

    Args:
        interfaces: Addresses of interfaces; empty for all.
        on_found: Called in the loop for each resolved service, own ones included.
        on_lost: Called with the instance.
    """

    def __init__(
        self,
        *,
        interfaces: tuple[str, ...],
        on_found: Callable[[LocalService], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._interfaces = interfaces
        self._on_found, self._on_lost = on_found, on_lost
        self._zeroconf: AsyncZeroconf | None = None
        self._services: dict[str, ServiceInfo] = {}
        self._browsers: dict[str, AsyncServiceBrowser] = {}
        self._resolving: dict[str, asyncio.Task[None]] = {}  # by instance

    async def start(self) -> None:
        """Open the multicast sockets.

        Raises:
            TransportError: This machine cannot multicast.
        """
        try:
            if self._interfaces:
                self._zeroconf = AsyncZeroconf(
                    interfaces=list(self._interfaces), ip_version=IPVersion.V4Only
                )
            else:
                self._zeroconf = AsyncZeroconf(ip_version=IPVersion.V4Only)
        except (OSError, RuntimeError) as error:  # the latter without a single interface
            reason = getattr(error, "strerror", None) or str(error).split(",", maxsplit=1)[0]
            raise TransportError(
                f"no multicast here ({reason}): peers of the local network are "
                "not seen; a broker in [network] still reaches others"
            ) from None

    async def close(self) -> None:
        """Withdraw everything and close."""
        for browser in self._browsers.values():
            await browser.async_cancel()
        for task in list(self._resolving.values()):
            task.cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()

    async def advertise(self, service: LocalService) -> None:
        """Announce a service; instance names are hashes of keys, so that no probing is needed."""
        zeroconf = self._open()
        kind = f"_{service.label}._sub.{_SERVICE}"
        info = ServiceInfo(
            kind,
            f"{service.instance}.{_SERVICE}",
            port=service.port,
            parsed_addresses=[service.host],
            properties={"v": "1"},
            host_ttl=_TTL_S,
            other_ttl=_TTL_S,
            server=f"{service.instance}.local.",
        )
        self._services[service.instance] = info
        done = await zeroconf.async_register_service(
            info, cooperating_responders=True, strict=False
        )
        await done

    async def withdraw(self, instance: str) -> None:
        """Announce that a service is gone."""
        info = self._services.pop(instance, None)
        if info is not None:
            # Twice: an answer that waited to be sent may follow the first goodbyes (RFC 6762
            # section 6 has it wait up to half a second) and call back who has gone.
            for _ in range(2):
                if instance not in self._services:  # it may have come back meanwhile
                    await (await self._open().async_unregister_service(info))

    async def browse(self, label: str) -> None:
        """Look for services of a cell from now on."""
        if label not in self._browsers:
            self._browsers[label] = AsyncServiceBrowser(
                self._open().zeroconf, f"_{label}._sub.{_SERVICE}", handlers=[self._changed]
            )

    def _open(self) -> AsyncZeroconf:
        if self._zeroconf is None:
            raise TransportError("mDNS was not started")
        return self._zeroconf

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        instance = name.removesuffix(f".{_SERVICE}")
        if state_change is ServiceStateChange.Removed:
            if instance in self._resolving:
                self._resolving.pop(instance).cancel()
            self._on_lost(instance)
            return
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            self._report(info, instance, service_type)
            return
        if instance in self._resolving:
            return
        if len(self._resolving) >= _MAX_RESOLVING:  # who has waited longest did not answer so far
            self._resolving.pop(next(iter(self._resolving))).cancel()
        task = asyncio.get_running_loop().create_task(
            self._resolve(zeroconf, info, instance, service_type), name=f"mdns.{instance[:8]}"
        )
        self._resolving[instance] = task
        task.add_done_callback(lambda done: self._resolved(instance, done))

    def _resolved(self, instance: str, done: asyncio.Task[None]) -> None:
        if self._resolving.get(instance) is done:
            del self._resolving[instance]

    async def _resolve(
        self, zeroconf: Zeroconf, info: AsyncServiceInfo, instance: str, service_type: str
    ) -> None:
        for attempt in range(_RESOLVE_TRIES):
            if attempt:
                await asyncio.sleep(_RESOLVE_PAUSE_S * 2 ** (attempt - 1))
            if await info.async_request(zeroconf, _RESOLVE_TIMEOUT_MS):
                self._report(info, instance, service_type)
                return

    def _report(self, info: ServiceInfo, instance: str, service_type: str) -> None:
        addresses = info.parsed_addresses(IPVersion.V4Only)
        if addresses and info.port:
            label = service_type.split(".", 1)[0].removeprefix("_")
            self._on_found(
                LocalService(instance=instance, host=addresses[0], port=info.port, label=label)
            )
