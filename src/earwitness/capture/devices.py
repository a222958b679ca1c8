"""The devices that a capture shows: hardware addresses on the private side that are clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypedDict

_LOCALLY_ADMINISTERED = 2


class Device(TypedDict):
    """One device.

    `mac` is null where the capture has no link layer; `ip` is its most used private address; `vendor` who the
    hardware address was assigned to, `randomised` where it made it up itself, null where unknown. Packets and bytes
    (original frame lengths) are of the flows in which it is the client.
    """

    mac: str | None
    ip: str
    vendor: str | None
    packets: int
    bytes_up: int
    bytes_down: int


class Traffic(NamedTuple):
    """What a flow says of its client: addresses, whether the IP address is private, and what passed."""

    mac: str | None
    ip: str
    private: bool
    packets: int
    bytes_up: int
    bytes_down: int


def devices(flows: Iterable[Traffic]) -> list[Device]:
    """Devices by traffic, the largest first.

    A client whose address is public counts only where the same hardware address also uses a private one: otherwise
    it is somebody beyond the router.
    """
    rows = list(flows)
    addresses: dict[str, Counter[str]] = {}
    for mac, ip, private, packets, _, _ in rows:
        if private:
            addresses.setdefault(mac or ip, Counter())[ip] += packets
    found: dict[str, Device] = {}
    for mac, ip, _, packets, up, down in rows:
        key = mac or ip
        if key not in addresses:
            continue
        if key not in found:
            # IPv4 before IPv6: it is what people and configurations know a device by.
            best = min(addresses[key].items(), key=lambda item: (":" in item[0], -item[1], item[0]))[0]
            found[key] = Device(mac=mac, ip=best, vendor=vendor(mac), packets=0, bytes_up=0, bytes_down=0)
        device = found[key]
        device["packets"] += packets
        device["bytes_up"] += up
        device["bytes_down"] += down
    return sorted(found.values(), key=lambda device: (-device["bytes_up"] - device["bytes_down"], device["mac"] or ""))


def vendor(mac: str | None) -> str | None:
    """Who a hardware address was assigned to (IEEE list as packed with aiooui; offline)."""
    if mac is None:
        return None
    if int(mac[:2], 16) & _LOCALLY_ADMINISTERED:
        return "randomised"
    import aiooui

    if not aiooui.is_loaded():
        # Its loader is a coroutine; a thread of its own works whether or not an event loop runs here.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(aiooui.async_load())).result()
    name: str | None = aiooui.get_vendor(mac)
    return name
