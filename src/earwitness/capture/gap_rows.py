"""What of a capture could not be seen, as rows of the table `gaps`."""

from __future__ import annotations

from collections.abc import Iterator

from earwitness.capture.dissection import Dissector
from earwitness.capture.flow_table import FlowTable
from earwitness.capture.jit import Ints
from earwitness.capture.kernel import FLOWS, MALFORMED, TUNNELS
from earwitness.capture.naming import NameCollector
from earwitness.capture.records import BAD_TIME, NO_TIME

Gap = dict[str, object]

_LINKS = {9: "PPP", 105: "IEEE 802.11", 127: "IEEE 802.11 with radiotap", 195: "IEEE 802.15.4", 251: "Bluetooth LE"}


def gap_rows(
    name: str,
    sha256: str,
    stop: tuple[str, str] | None,
    clock: Ints,
    dissector: Dissector,
    names: NameCollector,
    table: FlowTable,
) -> list[Gap]:
    """Rows about the capture called `name`, at most one per reason and kind.

    `stop` is (reason, detail) where the file could not be read to its end, `clock` a framer's count of odd times.
    """
    reasons = ([stop] if stop else []) + list(_reasons(clock, dissector, names, table))
    return [
        {"stage": "capture", "subject": name, "reason": reason, "detail": detail, "at": None, "evidence": sha256}
        for reason, detail in reasons
    ]


def _reasons(clock: Ints, dissector: Dissector, names: NameCollector, table: FlowTable) -> Iterator[tuple[str, str]]:
    for link, packets in sorted(dissector.unknown_links.items()):
        known = f" ({_LINKS[link]})" if link in _LINKS else ""
        yield "unsupported_link_type", f"{_many(packets, 'packet')} of link type {link}{known} counted but not read"
    counts = dissector.counts
    for number, thing, reason, detail in (
        (counts[MALFORMED], "packet", "malformed", "with headers that are cut or contradict themselves"),
        (counts[TUNNELS], "packet", "encapsulated", "in a tunnel not opened (PPPoE, MPLS, IP in IP, GRE, ESP)"),
        (clock[NO_TIME], "packet", "no_time", "without a time, taken to be that of the packet before"),
        (clock[BAD_TIME], "packet", "bad_time", "with a time before 1970 or after 9999"),
        (names.bad_dns, "message", "malformed_dns", "from port 53 that cannot be read as DNS"),
    ):
        if number:
            yield reason, f"{_many(number, thing)} {detail}"
    for source, bad in sorted(names.bad.items()):
        invalid = f"{_many(bad.count, 'name')} from {source} not valid as host names"
        yield "bad_name", f"{invalid}; the first is {bad.example} in packet {bad.packet}"
    unnamed, size, public = table.unnamed()
    if unnamed:
        share = f"{unnamed} of {_many(counts[FLOWS], 'flow')} ({size} bytes) without a name"
        yield "no_name", f"{share}, {public} of them to public addresses"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")
