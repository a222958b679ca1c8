"""Captures: takes a pcap or pcapng file, gives its flows with names, DNS answers, devices and gaps; and makes captures.

`read_capture` reads, `inspect_rows` and `write_flows` turn what was read into the answer of `earwitness inspect`,
`compile_kernels` prepares the machine so that reading is quick. `Router` carries a device's traffic and captures it.
"""

from earwitness.capture.inspection import inspect_rows, write_flows
from earwitness.capture.reading import PACKETS_OF_FLOWS, Capture, compile_kernels, read_capture
from earwitness.capture.router import Router

__all__ = [
    "PACKETS_OF_FLOWS",
    "Capture",
    "Router",
    "compile_kernels",
    "inspect_rows",
    "read_capture",
    "write_flows",
]
