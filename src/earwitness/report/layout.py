"""What a section of the page is made of: words, numbers with an origin, and tables of them."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.report.graph import Graph
from earwitness.report.lineage import Number

ROWS_SHOWN = 100
"""How many rows a table of the page has at most."""


@dataclass(frozen=True)
class Words:
    """Text in a cell, with short tags and a warning beside it and notes under it. Any of it may be foreign."""

    text: str
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warning: str = ""


Sentence = tuple["str | Number | Words | None", ...]
"""Words of ours with numbers between them."""

Cell = Words | Number | Sentence | None


@dataclass(frozen=True)
class Head:
    """A column's heading; `numeric` columns are set flush right."""

    text: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row names the row. `query` gives all of it, `more` says what was left out."""

    id: str
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    query: str
    more: str = ""


@dataclass(frozen=True)
class Card:
    """A picture with what is known of it; `picture` is a data URI or empty, `group` its heading."""

    group: str
    picture: str
    text: str
    facts: tuple[tuple[str, str], ...]
    profiles: Number | None
    impressions: Number | None


@dataclass(frozen=True)
class Section:
    """One part of the page: sentences, graph, cards, tables.

    `nothing` stands where there is nothing to show; `rest` are rows that the table leaves out, as lines without origin.
    """

    id: str
    title: str
    sentences: tuple[Sentence, ...] = ()
    tables: tuple[Table, ...] = ()
    nothing: str = ""
    notes: tuple[str, ...] = ()
    graph: Graph | None = None
    rest: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    cards_more: str = ""
    cards_query: str = ""


def plural(number: Number | None, one: str, many: str) -> str:
    """The word that goes with a number."""
    return one if number is not None and number.exact == "1" else many


def left_out(total: int, what: str) -> str:
    """Says how many rows a table leaves out; empty where it shows all of `total`."""
    return f"{total - ROWS_SHOWN:,} more {what} are not shown here." if total > ROWS_SHOWN else ""
