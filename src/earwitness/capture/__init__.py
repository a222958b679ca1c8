"""Captures: takes a pcap or pcapng file, gives its flows with names, DNS answers, devices and gaps; and makes captures.

`read_capture` reads, `inspect_rows` and `write_flows` turn what was read into the answer of `earwitness inspect`,
`compile_kernels` prepares the machine so that reading is quick. `open_router` carries a device's traffic and captures
it: in network namespaces (`NamespaceRouter`) where they are to be had, else in userspace (`Router`).
"""

from earwitness.capture.choice import open_router
from earwitness.capture.inspection import inspect_rows, write_flows
from earwitness.capture.namespaces import NamespaceRouter
from earwitness.capture.reading import PACKETS_OF_FLOWS, Capture, compile_kernels, read_capture
from earwitness.capture.router import Router

__all__ = [
    "PACKETS_OF_FLOWS",
    "Capture",
    "NamespaceRouter",
    "Router",
    "compile_kernels",
    "inspect_rows",
    "open_router",
    "read_capture",
    "write_flows",
]
