"""Which router: network namespaces where they are to be had, otherwise the one in userspace, and why."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from earwitness.capture.namespaces import NamespaceRouter
from earwitness.capture.router import Router
from earwitness.model.network import Internet

Either = NamespaceRouter | Router


@contextlib.asynccontextmanager
async def open_router(pcap: Path, internet: Internet, profile: str) -> AsyncIterator[tuple[Either, str]]:
    """The best router that this machine allows, and how it captures: ``namespaces`` or ``userspace: <reason>``.

    Raises:
        KeyError: `internet` has no gateway for `profile`.
        OSError: the capture cannot be written.
    """
    router: Either = NamespaceRouter(pcap, internet, profile)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(router)
            method = "namespaces"
        except OSError as refused:
            router = await stack.enter_async_context(Router(pcap, internet, profile))
            method = f"userspace: {refused}"
        yield router, method
