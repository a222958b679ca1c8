"""A speaker on a loopback network: its service, and the router that captures it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from earwitness.capture.router import Router
from earwitness.model.network import DeviceLink, Internet
from tests.speakers.simulated_service import ENROLLED, Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
async def internet(service: Service) -> AsyncIterator[Internet]:
    async with service.running() as internet:
        yield internet


@pytest.fixture
def pcap(tmp_path: Path) -> Path:
    return tmp_path / "capture.pcap"


@pytest.fixture
async def link(internet: Internet, pcap: Path) -> AsyncIterator[DeviceLink]:
    async with Router(pcap, internet, "p1") as router:
        yield router.attach(ENROLLED.device_mac, ENROLLED.device_ip)
