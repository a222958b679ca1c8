"""Reads a capture: blocks of the file through framer, kernel and name readers into tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from earwitness.capture.devices import Device, devices
from earwitness.capture.file_header import LARGEST_BLOCK, read_file_header
from earwitness.model.errors import BadInput
from earwitness.model.tables import FLAG, INT, TEXT, TIME

if TYPE_CHECKING:
    from earwitness.capture.blocks import BlockReader
    from earwitness.capture.dissection import Dissector
    from earwitness.capture.flow_table import FlowTable
    from earwitness.capture.framing import Framer
    from earwitness.capture.gap_rows import Gap

PACKETS_OF_FLOWS = pa.schema([("flow", TEXT), ("at", TIME), ("bytes", INT), ("up", FLAG)])


@dataclass(frozen=True)
class Capture:
    """What a capture says.

    `bytes` is the sum of original frame lengths. `flows` and `dns` have the schemas of the tables `flows` and
    `dns_answers`. `packets_of_flows` (schema `PACKETS_OF_FLOWS`) has one row per packet that belongs to a flow, in the
    order of the file: the flow, when, the original frame length, and whether the client sent it. `gaps` are rows of
    the table `gaps`. `truncated`: the file could not be read to its end.
    """

    sha256: str
    kind: str
    packets: int
    bytes: int
    flows: pa.Table
    dns: pa.Table
    packets_of_flows: pa.Table
    devices: list[Device]
    gaps: list[Gap]
    truncated: bool


def read_capture(path: Path) -> Capture:
    """Read a pcap or pcapng file, recognised by its first bytes and never by its name.

    A file that breaks off, or makes no sense from some point on, is answered up to there and has a gap that says so.
    Memory grows with neither payload nor file size as such: some 80 bytes a packet and 3 kB a flow.

    Raises:
        BadInput: it is empty, something else, cut inside its file header, or cannot be opened.
    """
    from earwitness.capture.blocks import BlockReader

    try:
        with path.open("rb", buffering=0) as file:
            return _read(path.name, BlockReader(file))
    except OSError as error:
        raise BadInput(path.name, "on opening", f"a readable file, but: {error.strerror}") from error


def compile_kernels() -> None:
    """Compile the packet kernels into numba's cache; where they are there already, only load them."""
    from earwitness.capture import kernel, records  # noqa: F401 - their pinned signatures compile on import


def _read(name: str, blocks: BlockReader) -> Capture:
    blocks.more()
    header = read_file_header(blocks.buffer[: min(blocks.end, LARGEST_BLOCK)].tobytes(), name)

    # From here on numba is needed, and its import takes most of the time that a small capture takes.
    from earwitness.capture.dissection import Dissector
    from earwitness.capture.flow_table import FlowTable
    from earwitness.capture.framing import framer
    from earwitness.capture.gap_rows import gap_rows
    from earwitness.capture.kernel import FRAME_BYTES, PACKETS
    from earwitness.capture.naming import NameCollector

    names = NameCollector()
    dissector = Dissector(names)
    frames = framer(header)
    stop = _pass_blocks(blocks, frames, dissector)
    sha256 = blocks.sha256()
    table = FlowTable(sha256, dissector.flows, names)
    flows = table.flows()
    return Capture(
        sha256=sha256,
        kind=header.kind,
        packets=int(dissector.counts[PACKETS]),
        bytes=int(dissector.counts[FRAME_BYTES]),
        flows=flows,
        dns=table.dns_answers(),
        packets_of_flows=_packets_of_flows(dissector, table, flows),
        devices=devices(table.traffic()),
        gaps=gap_rows(name, sha256, stop, frames.clock, dissector, names, table),
        truncated=stop is not None,
    )


def _pass_blocks(blocks: BlockReader, frames: Framer, dissector: Dissector) -> tuple[str, str] | None:
    """Dissect the whole file; (reason, detail) where it could not be read to its end."""
    import numpy as np

    from earwitness.capture.kernel import PACKETS
    from earwitness.capture.records import CORRUPT, NEED_DATA, RECORD_COLUMNS, SKIP_BLOCK

    records = np.empty((1 << 16, RECORD_COLUMNS), np.int64)
    blocks.start = frames.first
    while True:
        blocks.start, count, status = frames.frame(blocks.buffer, blocks.start, blocks.end, records)
        dissector.add(blocks.buffer, records[:count])
        position = blocks.position
        after = f"after packet {dissector.counts[PACKETS]}"
        if status == CORRUPT:
            return "corrupt", f"no valid record at byte {position}, {after}; what follows was not read"
        if status == SKIP_BLOCK:
            complete = blocks.skip(frames.block_size(blocks.buffer, blocks.start))
        elif status == NEED_DATA and not blocks.more():
            if position == blocks.passed:
                return None
            complete = False
        else:
            complete = True
        if not complete:
            return "truncated", f"the file ends at byte {blocks.passed}, inside the record at byte {position}, {after}"


def _packets_of_flows(dissector: Dissector, table: FlowTable, flows: pa.Table) -> pa.Table:
    flow, side, at, wire = dissector.packets()
    return pa.table(
        [
            flows["flow"].combine_chunks().take(pa.array(flow)),
            pa.array(at).cast(TIME),
            pa.array(wire),
            pa.array(side == table.client_side[flow]),
        ],
        schema=PACKETS_OF_FLOWS,
    )
