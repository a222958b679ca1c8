"""Where a number comes from: the query that gives it, and the first rows of evidence behind it.

Every number of the report belongs to an `Origin`: one row of one query, and the rows that it was made from. A
`Grouping` describes a whole table of them, so that a table costs two queries, however many rows it has.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from earwitness.model.sql import literal
from earwitness.report.visible import plain_number
from earwitness.store import Bundle

FIRST_ROWS = 5
"""How many rows of evidence a number opens to."""


@dataclass(frozen=True)
class Grouping:
    """One query per table of the report, and how each of its rows is found again.

    `source` is a query; each distinct combination of its columns `keys` is a row, with one value for each entry of
    `values` (column name → aggregate). `behind` is a query for the underlying rows: it has the same key columns, and
    the columns `shown`, evidence and locator among them. `order` sorts the rows by columns of the result.
    """

    name: str
    source: str
    values: Mapping[str, str]
    behind: str
    shown: tuple[str, ...]
    keys: tuple[str, ...] = ()
    order: str = ""

    def query(self, row: Mapping[str, object] | None = None) -> str:
        """The query for all rows, or for the one with the keys of `row`."""
        columns = [*self.keys, *(f"{aggregate} as {name}" for name, aggregate in self.values.items())]
        lines = ["select " + ",\n       ".join(columns), "from (", _indent(self.source), ")"]
        if row is not None and self.keys:
            lines.append(self._where(row))
        if self.keys:
            lines.append("group by " + ", ".join(self.keys))
        if row is None and self.order:
            lines.append("order by " + self.order)
        return "\n".join(lines)

    def rows_query(self, row: Mapping[str, object]) -> str:
        """The query for the rows behind one row, all of them, in the order in which the first are shown."""
        lines = ["select " + ", ".join(self.shown), "from (", _indent(self.behind), ")"]
        if self.keys:
            lines.append(self._where(row))
        lines.append("order by " + ", ".join(self.shown))
        return "\n".join(lines)

    def first_rows_query(self) -> str:
        """The query for the first rows behind every row at once: keys, shown columns."""
        shown = ", ".join(self.shown)
        split = f"partition by {', '.join(self.keys)} " if self.keys else ""
        named = ", ".join(f"{key} as _key{i}" for i, key in enumerate(self.keys))
        lines = [
            f"select {named + ', ' if named else ''}{shown} from (",  # noqa: S608 - the names of our own columns
            _indent(self.behind),
            f") qualify row_number() over ({split}order by {shown}) <= {FIRST_ROWS}",
            f"order by {', '.join([*self.keys, shown])}",
        ]
        return "\n".join(lines)

    def _where(self, row: Mapping[str, object]) -> str:
        tests = (f"{key} is null" if row[key] is None else f"{key} = {literal(row[key])}" for key in self.keys)
        return "where " + " and ".join(tests)


@dataclass(frozen=True)
class Origin:
    """One row of a query: its values, the query that gives just this row, and the first rows behind it."""

    id: str
    sql: str
    values: Mapping[str, Any]
    rows_sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def number(self, column: str, show: Callable[[Any], str]) -> Number | None:
        """The value in `column` as a number that opens to this origin; None where there is none."""
        value = self.values[column]
        return None if value is None else Number(show(value), plain_number(value), column, self)


@dataclass(frozen=True)
class Number:
    """A number as shown, its exact value, and the origin and column that it comes from."""

    shown: str
    exact: str
    column: str
    origin: Origin


def trace(bundle: Bundle, grouping: Grouping) -> list[Origin]:
    """Every row of `grouping`, each with its own query and the first rows behind it."""
    width = len(grouping.keys)
    behind: dict[tuple[object, ...], list[tuple[object, ...]]] = defaultdict(list)
    for row in _records(bundle, grouping.first_rows_query()):
        behind[row[:width]].append(row[width:])
    names = [*grouping.keys, *grouping.values]
    origins = []
    for number, row in enumerate(_records(bundle, grouping.query()), start=1):
        values = dict(zip(names, row, strict=True))
        origins.append(
            Origin(
                id=f"{grouping.name}-{number}",
                sql=grouping.query(values),
                values=values,
                rows_sql=grouping.rows_query(values),
                columns=grouping.shown,
                rows=tuple(behind[row[:width]]),
            )
        )
    return origins


def _indent(query: str) -> str:
    return textwrap.indent(textwrap.dedent(query).strip(), "  ")


def _records(bundle: Bundle, query: str) -> list[tuple[object, ...]]:
    table = bundle.sql(query)
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else []
