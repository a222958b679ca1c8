"""The sharing graph: organisations from left to right, drawn so that it needs no script and no library.

Others send to partners, partners to the platform, and partners to those downstream, one column for each hop.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

READABLE = 40
"""Up to this many organisations are drawn one by one; beyond, columns are folded."""
_KEPT = {"partner": 12, "other": 6, "downstream": 8}
"""How many of a column's organisations stay when it is folded, those of most profiles first."""
_DEPTHS = 3
"""Columns of downstream organisations; the last one holds all that are further away."""
_COLUMN, _ROW, _TOP, _LEFT = 258, 32, 44, 20
_LETTER = 7.4
"""Width of a letter of a name in px, on the generous side: arrows begin behind the name."""
_NAME = 22
"""Characters of a name that fit beside its dot."""


@dataclass(frozen=True)
class Node:
    """An organisation, or several of one column folded into one; `x`, `y` and `radius` in px."""

    name: str
    label: str
    title: str
    role: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Edge:
    """An arrow between two nodes; `path` is SVG path data, `width` in px."""

    sender: str
    receiver: str
    title: str
    path: str
    width: float
    to_platform: bool


@dataclass(frozen=True)
class Graph:
    """The picture: nodes, edges, column headings (text, x), its size in px, and what it shows in words."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    heads: tuple[tuple[str, float], ...]
    width: int
    height: int
    alt: str
    folded: int


@dataclass(frozen=True)
class Pair:
    """One sender and receiver, and in how many profiles the one passed an identifier to the other."""

    sender: str
    receiver: str
    profiles: int


def sharing_graph(pairs: Iterable[Pair], roles: Mapping[str, str]) -> Graph | None:
    """Lay out the organisations of `pairs`; `roles` says who is platform, partner or downstream, all else are others.

    Returns:
        None where no two different organisations are joined.
    """
    joined = sorted(
        (pair for pair in pairs if pair.sender != pair.receiver), key=lambda pair: (pair.sender, pair.receiver)
    )
    if not joined:
        return None
    weights: dict[str, int] = defaultdict(int)
    for pair in joined:
        for name in (pair.sender, pair.receiver):
            weights[name] = max(weights[name], pair.profiles)
    columns = _columns(joined, roles, weights)
    shown, more = _fold(columns, roles, weights)
    edges = _merge(joined, shown)
    nodes, heads = _place(columns, more, edges, roles, weights)
    by_name = {node.name: node for node in nodes}
    lines = tuple(
        _edge(by_name[sender], by_name[receiver], profiles, count) for (sender, receiver), (profiles, count) in edges
    )
    folded = sum(len(names) for names in more.values())
    return Graph(
        nodes,
        lines,
        heads,
        int(max(node.x for node in nodes)) + 200,
        int(max(node.y for node in nodes)) + 34,
        _alt(columns, more, len(joined)),
        folded,
    )


def _columns(joined: Sequence[Pair], roles: Mapping[str, str], weights: Mapping[str, int]) -> dict[int, list[str]]:
    """Names by column: 0 others, 1 partners, 2 the platform and the first downstream hop, 3 and on further hops."""
    depth = {name: 0 for name, role in roles.items() if role == "partner"}
    reached = list(depth)
    while reached:
        found = []
        for pair in joined:
            if pair.sender in reached and pair.receiver not in depth and roles.get(pair.receiver) == "downstream":
                depth[pair.receiver] = depth[pair.sender] + 1
                found.append(pair.receiver)
        reached = found
    senders = {pair.sender for pair in joined}
    columns: dict[int, list[str]] = defaultdict(list)
    for name in sorted(weights, key=lambda name: (-weights[name], name)):
        role = roles.get(name)
        if role == "platform":
            column = 2
        elif role in ("partner", "downstream"):
            column = 1 + min(depth.get(name, 1), _DEPTHS)
        else:
            column = 0 if name in senders or roles else 1
        columns[column].append(name)
    return columns


def _fold(
    columns: dict[int, list[str]], roles: Mapping[str, str], weights: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Shorten the columns where there are too many names.

    Returns:
        The drawn name of each organisation, and what lies behind the name of each fold.
    """
    shown = {name: name for names in columns.values() for name in names}
    more: dict[str, list[str]] = {}
    if len(weights) <= READABLE:
        return shown, more
    for column, names in columns.items():
        platform = [name for name in names if roles.get(name) == "platform"]
        rest = [name for name in names if name not in platform]
        kept = _KEPT["other" if column == 0 else "partner" if column == 1 else "downstream"]
        if len(rest) <= kept + 1:
            continue
        # No organisation has this name: names are foreign, and a tab and a number in front is not one of a host owner.
        fold = f"\tfold {column}"
        more[fold] = rest[kept:]
        shown.update(dict.fromkeys(more[fold], fold))
        columns[column] = [*platform, *rest[:kept], fold]
    return shown, more


def _merge(joined: Sequence[Pair], shown: Mapping[str, str]) -> list[tuple[tuple[str, str], tuple[int, int]]]:
    """Edges between drawn names: most profiles of any pair behind it, and how many pairs."""
    edges: dict[tuple[str, str], tuple[int, int]] = {}
    for pair in joined:
        ends = shown[pair.sender], shown[pair.receiver]
        if ends[0] != ends[1]:
            profiles, count = edges.get(ends, (0, 0))
            edges[ends] = max(profiles, pair.profiles), count + 1
    return sorted(edges.items())


def _place(
    columns: Mapping[int, list[str]],
    more: Mapping[str, list[str]],
    edges: Sequence[tuple[tuple[str, str], tuple[int, int]]],
    roles: Mapping[str, str],
    weights: Mapping[str, int],
) -> tuple[tuple[Node, ...], tuple[tuple[str, float], ...]]:
    most = max(weights.values()) or 1
    tallest = max(len(names) for names in columns.values())
    sends = Counter(sender for (sender, _), _ in edges)
    gets = Counter(receiver for (_, receiver), _ in edges)
    at: dict[str, float] = {}
    nodes: list[Node] = []
    heads: list[tuple[str, float]] = []
    for place, column in enumerate(sorted(columns)):
        x = _LEFT + place * _COLUMN
        heads.append((_head(column, columns[column], roles), x - 8))
        ordered = sorted(columns[column], key=lambda name: _order(name, roles, more, edges, at))
        first = _TOP + (tallest - len(ordered)) * _ROW / 2
        for row, name in enumerate(ordered):
            # The platform stands apart from those downstream that share its column.
            y = first + row * _ROW + _ROW / 2 - (_ROW / 2 if roles.get(name) == "platform" and len(ordered) > 1 else 0)
            at[name] = y
            folded = more.get(name)
            role = "fold" if folded else roles.get(name, "other")
            weight = max(weights[one] for one in folded) if folded else weights[name]
            label = f"{len(folded)} more" if folded else name if len(name) <= _NAME else name[: _NAME - 1] + "…"
            title = (
                f"{len(folded)} more organisations, each named below the graph"
                if folded
                else f"{name}, {role}: sends to {sends[name]}, receives from {gets[name]}, "
                f"{weight} {'profile' if weight == 1 else 'profiles'}"
            )
            nodes.append(Node(name, label, title, role, x, y, round(4 + 5 * math.sqrt(weight / most), 1)))
    return tuple(nodes), tuple(heads)


def _order(
    name: str,
    roles: Mapping[str, str],
    more: Mapping[str, list[str]],
    edges: Sequence[tuple[tuple[str, str], tuple[int, int]]],
    at: Mapping[str, float],
) -> tuple[bool, bool, float, str]:
    """The platform on top, a fold at the bottom, all else near those on the left that it is joined with."""
    near = [at[s] for (s, r), _ in edges if r == name and s in at] or [
        at[r] for (s, r), _ in edges if s == name and r in at
    ]
    return (roles.get(name) != "platform", name in more, round(sum(near) / len(near), 3) if near else 1e9, name)


def _head(column: int, names: Sequence[str], roles: Mapping[str, str]) -> str:
    if not roles:
        return ("Senders", "Receivers only")[column]
    if column < 2:
        return ("Others", "Partners")[column]
    if column > 2:
        return f"Downstream, {column - 1} hops" + (" or more" if column == 1 + _DEPTHS else "")
    platform = any(roles.get(name) == "platform" for name in names)
    down = any(roles.get(name) != "platform" for name in names)
    return "Platform, then downstream" if platform and down else "Platform" if platform else "Downstream"


def _edge(sender: Node, receiver: Node, profiles: int, pairs: int) -> Edge:
    ends = " → ".join(f"{node.label if node.role == 'fold' else node.name}" for node in (sender, receiver))
    counted = f"{profiles} {'profile' if profiles == 1 else 'profiles'}"
    title = f"{ends}: {counted}" if pairs == 1 else f"{ends}: {pairs} pairs, up to {counted}"
    x1, y1, x2, y2 = sender.x, sender.y, receiver.x, receiver.y
    if x1 < x2:
        x1, x2 = x1 + sender.radius + 9 + _LETTER * len(sender.label), x2 - receiver.radius - 6
        bend = max(24.0, (x2 - x1) * 0.5)
        path = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    elif x1 == x2:
        x1, x2 = x1 - sender.radius, x2 - receiver.radius - 6
        path = f"M{x1:.1f} {y1:.1f}C{x1 - 46:.1f} {y1:.1f} {x2 - 46:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    else:
        # Backwards: from underneath, so that it is not taken for an arrow to the right.
        x2, y1, y2 = x2 + receiver.radius + 6, y1 + sender.radius, y2
        path = f"M{x1:.1f} {y1:.1f}C{x1 - 60:.1f} {y1 + 40:.1f} {x2 + 60:.1f} {y2 + 30:.1f} {x2:.1f} {y2:.1f}"
    width = round(min(4.0, 0.8 + 0.45 * math.log2(1 + profiles)), 2)
    return Edge(sender.name, receiver.name, title, path, width, receiver.role == "platform")


def _alt(columns: Mapping[int, list[str]], more: Mapping[str, list[str]], pairs: int) -> str:
    drawn = sum(len(names) for names in columns.values()) - len(more)
    folded = sum(len(names) for names in more.values())
    rest = f"; {folded} more are folded" if folded else ""
    return f"Graph of who passes identifiers to whom: {drawn} organisations{rest}, {pairs} pairs, all listed below."
