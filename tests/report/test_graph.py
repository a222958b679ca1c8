"""The graph of who shares with whom: columns, folding, and a name for everything drawn."""

from itertools import pairwise

from earwitness.report.graph import READABLE, Graph, Pair, sharing_graph


def ecosystem(partners: int, downstream: int, others: int = 0) -> Graph:
    """Each partner sends to the platform; those downstream are dealt to the partners, and each has one behind it."""
    pairs = [Pair(f"partner {i}", "Platform", 9 - i % 9) for i in range(partners)]
    pairs += [Pair(f"partner {i % partners}", f"first {i}", 1 + i % 9) for i in range(downstream // 2)]
    pairs += [Pair(f"first {i}", f"second {i}", 1) for i in range(downstream // 2)]
    pairs += [Pair(f"other {i}", f"partner {i % partners}", 2) for i in range(others)]
    roles = {"Platform": "platform"} | {pair.sender: "partner" for pair in pairs if pair.receiver == "Platform"}
    for pair in pairs:
        if pair.receiver not in roles:
            roles[pair.receiver] = "downstream"
    graph = sharing_graph(reversed(pairs), roles)
    assert graph is not None
    assert graph == sharing_graph(pairs, roles)
    return graph


def test_columns_run_from_others_to_the_last_hop() -> None:
    graph = ecosystem(partners=3, downstream=4, others=1)
    at = {node.name: node.x for node in graph.nodes}
    assert at["other 0"] < at["partner 0"] < at["Platform"] == at["first 0"] < at["second 0"]
    assert [text for text, _ in graph.heads] == [
        "Others",
        "Partners",
        "Platform, then downstream",
        "Downstream, 2 hops",
    ]
    platform = next(node for node in graph.nodes if node.role == "platform")
    assert platform.y < min(node.y for node in graph.nodes if node.role == "downstream")


def test_twenty_organisations_are_all_drawn_apart() -> None:
    graph = ecosystem(partners=5, downstream=12, others=2)
    assert len(graph.nodes) == 20
    assert graph.folded == 0
    places = sorted((node.x, node.y) for node in graph.nodes)
    assert all(b[0] > a[0] or b[1] - a[1] >= 24 for a, b in pairwise(places))
    assert all(0 < node.x < graph.width and 0 < node.y < graph.height for node in graph.nodes)


def test_three_hundred_organisations_are_folded() -> None:
    graph = ecosystem(partners=40, downstream=220, others=39)
    assert len(graph.nodes) <= READABLE
    folds = [node for node in graph.nodes if node.role == "fold"]
    assert {node.label for node in folds} == {"28 more", "102 more", "33 more"}
    assert graph.folded + len(graph.nodes) - len(folds) == 300
    assert graph.height < 700
    assert len({(edge.sender, edge.receiver) for edge in graph.edges}) == len(graph.edges)


def test_more_profiles_are_larger_and_wider() -> None:
    graph = sharing_graph([Pair("A", "P", 9), Pair("B", "P", 1)], {"P": "platform", "A": "partner", "B": "partner"})
    assert graph is not None
    radius = {node.name: node.radius for node in graph.nodes}
    width = {edge.sender: edge.width for edge in graph.edges}
    assert radius["A"] > radius["B"]
    assert width["A"] > width["B"]
    assert [edge.title for edge in graph.edges] == ["A → P: 9 profiles", "B → P: 1 profile"]


def test_circles_end_and_an_organisation_alone_draws_nothing() -> None:
    roles = {"P": "platform", "A": "partner", "C": "downstream", "D": "downstream"}
    around = [Pair("A", "P", 1), Pair("A", "C", 1), Pair("C", "D", 1), Pair("D", "C", 1), Pair("D", "A", 1)]
    graph = sharing_graph(around, roles)
    assert graph is not None
    assert len(graph.edges) == 5
    assert sharing_graph([Pair("A", "A", 3)], {}) is None


def test_without_a_platform_senders_stand_left_of_receivers() -> None:
    graph = sharing_graph([Pair("A", "B", 1), Pair("B", "C", 1)], {})
    assert graph is not None
    at = {node.name: node.x for node in graph.nodes}
    assert at["A"] == at["B"] < at["C"]
    assert [text for text, _ in graph.heads] == ["Senders", "Receivers only"]
