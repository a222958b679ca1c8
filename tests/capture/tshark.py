"""Asks tshark, the oracle, what a capture says, in the reader's terms."""

import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

AVAILABLE = shutil.which("tshark") is not None
Ends = tuple[str, frozenset[tuple[str, int]]]  # protocol, and both (address, port)

_FIELDS = (
    "frame.len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport",
    "udp.dstport", "icmp.type", "icmpv6.type", "tls.handshake.extensions_server_name", "http.host",
    "dns.flags.response", "dns.qry.name", "dns.a", "dns.aaaa",
)  # fmt: skip


@dataclass
class Said:
    """Packets and original bytes per 5-tuple, names per 5-tuple, (name, address) pairs of answers from port 53."""

    packets: int = 0
    bytes: int = 0
    flows: dict[Ends, tuple[int, int]] = field(default_factory=dict)
    names: dict[str, dict[Ends, list[str]]] = field(default_factory=dict)
    answers: set[tuple[str, str]] = field(default_factory=set)


def ask(path: Path) -> Said:
    """One run of tshark over the file; fragments are not put together, segments in any order are."""
    options = ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.reassemble_out_of_order:TRUE"]
    command = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-T",
        "fields",
        "-E",
        "occurrence=a",
        "-E",
        "separator=|",
        "-E",
        "aggregator=,",
    ]
    for option in options:
        command += ["-o", option]
    for name in _FIELDS:
        command += ["-e", name]
    said = Said(names={"sni": defaultdict(list), "quic_sni": defaultdict(list), "http_host": defaultdict(list)})
    sums: dict[Ends, list[int]] = defaultdict(lambda: [0, 0])
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        row = dict(zip(_FIELDS, line.split("|"), strict=True))
        said.packets += 1
        said.bytes += int(row["frame.len"])
        protocol = "tcp" if row["tcp.srcport"] else "udp"
        source, target = (row[f"{protocol}.srcport"], row[f"{protocol}.dstport"])
        version = "ip" if row["ip.src"] else "ipv6"
        if not source or row["icmp.type"] or row["icmpv6.type"]:
            continue
        ends = (row[f"{version}.src"], int(source)), (row[f"{version}.dst"], int(target))
        flow = protocol, frozenset(ends)
        sums[flow][0] += 1
        sums[flow][1] += int(row["frame.len"])
        if row["tls.handshake.extensions_server_name"]:
            kind = "sni" if protocol == "tcp" else "quic_sni"
            said.names[kind][flow] += row["tls.handshake.extensions_server_name"].split(",")
        if row["http.host"] and protocol == "tcp":
            said.names["http_host"][flow] += row["http.host"].split(",")
        if source == "53" and row["dns.flags.response"] in ("1", "True"):
            for address in filter(None, (row["dns.a"] + "," + row["dns.aaaa"]).split(",")):
                said.answers.add((row["dns.qry.name"].lower(), address))
    said.flows = {flow: (packets, size) for flow, (packets, size) in sums.items()}
    return said
