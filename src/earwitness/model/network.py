"""How rooms that touch a network meet: the internet as handed to them, a device's link, an enrolled profile.

The lab makes an `Internet`; the persona browser and the router use it; neither knows who made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Enrolled:
    """One profile's account and device. The password and token never enter tables, logs or reports."""

    profile: str
    account: str
    password: str = field(repr=False)
    device_serial: str
    refresh_token: str = field(repr=False)
    device_mac: str
    device_ip: str


@dataclass(frozen=True)
class Internet:
    """Where every host of a simulated internet can be reached from this machine.

    `hosts` maps each resolvable host name to the address that it has inside the simulated internet (what DNS
    answers and captures show). `gateways` maps each profile to the loopback address that its connections go to.
    TLS is served at `https_port`, plain HTTP at `http_port`; hosts in `h2_hosts` speak HTTP/2 at `h2_port`.
    """

    ca_file: Path
    ca_spki: str
    hosts: Mapping[str, str]
    gateways: Mapping[str, str]
    https_port: int
    http_port: int
    h2_port: int
    h2_hosts: frozenset[str]


class DeviceLink(Protocol):
    """A device's only way to the network: everything that passes is seen by the router."""

    async def resolve(self, name: str) -> list[str]:
        """Addresses of `name`, asked over DNS; empty where it does not exist."""
        ...

    async def connect(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An open TCP connection to `address`:`port` as the device sees it.

        Raises:
            ConnectionError: nothing answers there.
        """
        ...
