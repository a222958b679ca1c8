"""Contacts: which hosts a speaker talks to because of a skill, and which it talks to anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earwitness.detect.windows import Moments, Timeline, Window, microseconds, most_in_any, timeline
from earwitness.model.tables import TABLES

EXCEEDS = 3
"""How many times the largest idle window a skill window must carry. A device's own traffic comes in whole posts (a
measurement, a check), so a window may hold one or two more of them than any idle window did, or one that was repeated
after a loss; a threefold excess over the *largest* is beyond that."""

_ASKING = 100
"""Bytes of a frame. Frames that only open, acknowledge or close a connection are shorter (Ethernet, IP and TCP with
options: 54 to 78; a TLS alert: up to 97); anything that asks a server for something is longer. A connection that an
earlier window left open and that closes now is therefore no contact."""

_DNS_PORTS = (53, 5353)


def contacts(
    flows: pa.Table, packets: pa.Table, interactions: pa.Table, hosts: pa.Table, platform: str, skills: pa.Table
) -> pa.Table:
    """Which host each device contacted, for which skill or on its own, as the table `contacts`, sorted.

    Each device is its own control. Its time is split into the windows of its interactions with skills (start to end and
    a moment to settle) and idle time: everything else that was captured. A host is contacted in a stretch of time when
    the device sends it a frame that asks for something.

    **For a skill** a host stands out when the device contacted it in one of the skill's windows, and either

    - never contacted it when idle, or
    - exchanged more than `EXCEEDS` times as many bytes with it in that window as in the largest idle window of the same
      length, however that is laid over the idle time.

    So a measurement that happens to be posted while a skill speaks is not the skill's, and the voice service, idle but
    for pings, is. Nothing is dropped because it also occurs when idle. A window is judged only where there is at least
    as much idle time as it is long (`contact_gaps` lists the others).

    **For the device itself** (`skill` null) there is a row for each host that it contacted when idle.

    Bytes and flows are those of the skill's windows, or of the idle time; `baseline_rate` is the idle rate. `party` is
    ``platform`` where the host's organisation is `platform`, ``vendor`` where it is the skill's vendor, else ``third``.
    Evidence and locator are those of the first flow. Flows without a profile or a host, and DNS, are left out.

    Args:
        flows: table `flows`.
        packets: one row per packet of a flow: flow, at (UTC, µs), bytes (of the frame), up (from the device).
        interactions: table `interactions`.
        hosts: table `hosts`.
        platform: the organisation under audit, as `hosts` names it.
        skills: table `skills`.
    """
    organisation_of = dict(zip(hosts["host"].to_pylist(), hosts["organisation"].to_pylist(), strict=True))
    vendor_of = dict(zip(skills["skill"].to_pylist(), skills["vendor"].to_pylist(), strict=True))

    def party(host: str, skill: str | None) -> str:
        organisation = organisation_of.get(host) or host
        if organisation == platform:
            return "platform"
        vendor = vendor_of.get(skill) if skill else None
        return "vendor" if vendor and vendor.casefold() == organisation.casefold() else "third"

    rows: list[dict[str, Any]] = []
    for profile, device in _devices(flows, packets, interactions).items():
        for host, traffic in device.traffic.items():
            for row in _of_host(device.time, traffic):
                rows.append({"profile": profile, "host": host, "party": party(host, row["skill"]), **row})
    rows.sort(key=lambda row: (row["profile"], row["skill"] is not None, row["skill"] or "", row["host"]))
    return TABLES["contacts"].arrow(rows)


def contact_gaps(flows: pa.Table, packets: pa.Table, interactions: pa.Table) -> list[dict[str, Any]]:
    """Rows of `gaps`: skill windows that could not be judged, for want of as much idle time as they are long."""
    rows = []
    for profile, device in _devices(flows, packets, interactions).items():
        unjudged = [window for window in device.time.windows if not _judged(window, device.time)]
        for skill in sorted({window.skill for window in unjudged}):
            longest = max(window.end - window.start for window in unjudged if window.skill == skill)
            detail = (
                f"a window of {longest / 1e6:.1f} s cannot be held against {device.time.idle_us / 1e6:.1f} s of idle "
                "time: its contacts are not attributed"
            )
            rows.append({"stage": "detect", "subject": f"{profile} {skill}", "reason": "no_baseline", "detail": detail})
    return rows


@dataclass(frozen=True)
class _Traffic:
    """The packets between one device and one host, in order of time; `flow` numbers rows of `flows`."""

    at: Moments
    bytes: Moments
    up: np.ndarray[Any, np.dtype[np.bool_]]
    flow: Moments
    provenance: Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class _Device:
    time: Timeline
    traffic: Mapping[str, _Traffic]


def _devices(flows: pa.Table, packets: pa.Table, interactions: pa.Table) -> dict[str, _Device]:
    """Profile → what its device exchanged with each named host, and when it was watched."""
    columns = ("flow", "capture", "profile", "host", "server_port", "evidence", "locator")
    rows = sorted(flows.select(columns).to_pylist(), key=lambda row: row["flow"])
    known = pa.array([row["flow"] for row in rows], pa.string())
    numbers = pc.fill_null(pc.index_in(packets["flow"], known), -1).to_numpy().astype(np.int64)
    at, size = microseconds(packets["at"]), packets["bytes"].to_numpy()
    up = packets["up"].to_numpy()
    order = np.lexsort((up, size, numbers, at))
    order = order[numbers[order] >= 0]
    at, size, up, numbers = at[order], size[order], up[order], numbers[order]

    spoken: dict[str, list[dict[str, Any]]] = {}
    for row in interactions.select(["profile", "skill", "started_at", "ended_at"]).to_pylist():
        spoken.setdefault(row["profile"], []).append(row)

    captures = _numbered([(row["profile"], row["capture"]) for row in rows])
    captured: dict[str, list[tuple[int, int]]] = {}
    for (profile, _), chosen in _groups(captures, numbers):
        # Stretches of time are half-open; the last packet belongs to this one.
        captured.setdefault(profile or "", []).append((int(at[chosen[0]]), int(at[chosen[-1]]) + 1))

    def provenance(flow: int) -> dict[str, Any]:
        return {"evidence": rows[flow]["evidence"], "locator": rows[flow]["locator"]}

    named = _numbered(
        [
            (row["profile"], row["host"])
            if row["profile"] and row["host"] and row["server_port"] not in _DNS_PORTS
            else None
            for row in rows
        ]
    )
    found: dict[str, dict[str, _Traffic]] = {}
    for (profile, host), chosen in _groups(named, numbers):
        traffic = _Traffic(at[chosen], size[chosen], up[chosen], numbers[chosen], provenance)
        found.setdefault(profile, {})[host] = traffic
    return {
        profile: _Device(timeline(spoken.get(profile, []), captured.get(profile, [])), found[profile])
        for profile in sorted(found)
    }


def _of_host(time: Timeline, traffic: _Traffic) -> Iterator[dict[str, Any]]:
    """The rows of one host: the device's own, and one per skill for which it stands out."""
    window = time.window_of(traffic.at)
    idle = window < 0
    asks = traffic.up & (traffic.bytes > _ASKING)
    idle_s = time.idle_us / 1_000_000
    rate = float(traffic.bytes[idle].sum()) / idle_s if idle_s else 0.0
    contacted_idle = bool((asks & idle).any())
    if contacted_idle:
        yield {"skill": None, "baseline_rate": rate, **_amounts(traffic, idle)}
    exchanged = np.bincount(window[~idle], traffic.bytes[~idle], len(time.windows))
    idle_at, idle_bytes = time.idle_clock(traffic.at[idle]), traffic.bytes[idle]
    outstanding: set[str] = set()
    for number in np.unique(window[asks & ~idle]).tolist():
        skill, length = time.windows[number].skill, time.windows[number].end - time.windows[number].start
        if skill in outstanding or not _judged(time.windows[number], time):
            continue
        # Cut into windows of this length, one of them holds at least the mean: mostly there is no need to look closer.
        if contacted_idle and exchanged[number] <= EXCEEDS * idle_bytes.sum() / ceil(time.idle_us / length):
            continue
        if not contacted_idle or exchanged[number] > EXCEEDS * most_in_any(idle_at, idle_bytes, length):
            outstanding.add(skill)
    for skill in sorted(outstanding):
        its = np.isin(window, [n for n, other in enumerate(time.windows) if other.skill == skill])
        yield {"skill": skill, "baseline_rate": rate, **_amounts(traffic, its)}


def _judged(window: Window, time: Timeline) -> bool:
    return time.idle_us >= window.end - window.start


def _amounts(traffic: _Traffic, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    flows = traffic.flow[chosen]
    return {
        "flows": len(np.unique(flows)),
        "bytes_up": int(traffic.bytes[chosen & traffic.up].sum()),
        "bytes_down": int(traffic.bytes[chosen & ~traffic.up].sum()),
        **traffic.provenance(int(flows[0])),
    }


def _numbered(keys: list[Any]) -> tuple[list[Any], Moments]:
    """The distinct keys, and for each entry the number of its key; -1 where it has none."""
    distinct = sorted({key for key in keys if key is not None}, key=str)
    number_of = {key: number for number, key in enumerate(distinct)}
    return distinct, np.array([number_of.get(key, -1) for key in keys], np.int64)


def _groups(keyed: tuple[list[Any], Moments], flow_of_packet: Moments) -> Iterator[tuple[Any, Moments]]:
    """Each key with the positions of its flows' packets, in order."""
    keys, key_of_flow = keyed
    if not flow_of_packet.size:
        return
    key_of_packet = key_of_flow[flow_of_packet]
    order = np.argsort(key_of_packet, kind="stable")
    bounds = np.searchsorted(key_of_packet[order], np.arange(len(keys) + 1))
    for number, key in enumerate(keys):
        chosen = order[bounds[number] : bounds[number + 1]]
        if chosen.size:
            yield key, chosen
