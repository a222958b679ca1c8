"""The answer of `earwitness inspect`: one capture as a JSON-ready dictionary, and its flow table as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from earwitness.capture.host_names import SOURCES
from earwitness.capture.reading import Capture
from earwitness.model.errors import BadInput


def inspect_rows(capture: Capture, hosts: pa.Table) -> dict[str, object]:
    """What the capture says, by destination; ready for JSON (the contract of `inspect FILE --json` less `file`).

    `hosts` has the schema of the table `hosts` and tells organisation and purpose of host names; a host that it does
    not know has organisation null and purpose `unknown`. Flows without a name are put together by server address,
    which then stands as host with the source `address`. Hosts come by bytes, the largest first.
    """
    known = {row["host"]: row for row in hosts.select(["host", "organisation", "purpose"]).to_pylist()}
    destinations: dict[str, _Destination] = {}
    columns = ("host", "server_ip", "bytes_up", "bytes_down", "candidates")
    for host, server_ip, up, down, candidates in zip(
        *(capture.flows[column].to_pylist() for column in columns), strict=True
    ):
        destination = destinations.setdefault(host or server_ip, _Destination())
        destination.flows += 1
        destination.bytes_up += up
        destination.bytes_down += down
        if host is None:
            found = ["address"]
        else:
            found = [source for source, _, name in (item.partition("=") for item in candidates) if name == host]
        destination.sources.update(found)
    largest_first = sorted(destinations.items(), key=lambda item: (-item[1].bytes, item[0]))
    return {
        "kind": capture.kind,
        "packets": capture.packets,
        "bytes": capture.bytes,
        "devices": capture.devices,
        "hosts": [_host_row(host, destination, known.get(host, {})) for host, destination in largest_first],
        "gaps": [{key: gap[key] for key in ("stage", "subject", "reason", "detail", "at")} for gap in capture.gaps],
    }


def write_flows(capture: Capture, path: Path) -> None:
    """Write the flow table as `.csv` or `.parquet`, told by the name of `path`.

    In CSV, times are ISO 8601 in UTC and the candidates are joined by semicolons. Every text in it is an
    identifier, an address or a valid host name, so no cell can begin a spreadsheet formula.

    Raises:
        BadInput: the name ends in neither.
    """
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(capture.flows, path)
    elif path.suffix == ".csv":
        import pyarrow.csv

        column = capture.flows.schema.get_field_index("candidates")
        joined = pc.binary_join(capture.flows["candidates"], ";")
        pyarrow.csv.write_csv(capture.flows.set_column(column, "candidates", joined), path)
    else:
        raise BadInput(path.name, "its name", "an ending .csv or .parquet")


@dataclass
class _Destination:
    """Sums over the flows to one host."""

    flows: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    sources: set[str] = field(default_factory=set)

    @property
    def bytes(self) -> int:
        return self.bytes_up + self.bytes_down


def _host_row(host: str, destination: _Destination, known: Mapping[str, object]) -> dict[str, object]:
    return {
        "host": host,
        "organisation": known.get("organisation"),
        "purpose": known.get("purpose") or "unknown",
        "flows": destination.flows,
        "bytes_up": destination.bytes_up,
        "bytes_down": destination.bytes_down,
        "sources": [source for source in (*SOURCES, "address") if source in destination.sources],
    }
