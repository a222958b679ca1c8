from pathlib import Path

import pytest

from earwitness.report.bids import BY_PERSONA, BY_PROFILE
from earwitness.report.lineage import FIRST_ROWS, Grouping, literal, trace
from earwitness.report.receivers import BY_ORGANISATION
from earwitness.store import Bundle
from tests.report.sample import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "it's",
        "'; drop table bids; --",
        "",
        "a\x00b",
        "\u202eevil\u202c",
        "line\nbreak",
        "\\",
        "é😀",
        "''",
        7,
        True,
    ],
)
def test_a_literal_reads_back_as_itself(bundle: Bundle, value: object) -> None:
    assert bundle.sql(f"select {literal(value)} as it")["it"].to_pylist() == [value]


def test_a_literal_can_be_copied_by_eye() -> None:
    assert literal("a\u202eb").isprintable()
    with pytest.raises(TypeError):
        literal(1.5)


@pytest.mark.parametrize("grouping", [BY_ORGANISATION, BY_PERSONA, BY_PROFILE], ids=lambda g: g.name)
def test_each_row_is_what_its_own_query_gives(bundle: Bundle, grouping: Grouping) -> None:
    origins = trace(bundle, grouping)
    assert len(origins) > 3
    for origin in origins:
        assert bundle.sql(origin.sql).to_pylist() == [origin.values]
        behind = bundle.sql(origin.rows_sql).to_pylist()
        assert behind
        assert [dict(zip(origin.columns, row, strict=True)) for row in origin.rows] == behind[:FIRST_ROWS]
        assert all(row["evidence"] and row["locator"] for row in behind)


def test_figures_of_the_sample(bundle: Bundle) -> None:
    amazon = next(o for o in trace(bundle, BY_ORGANISATION) if o.values["purpose"] == "functional")
    assert amazon.values["organisation"] == "Amazon"
    assert (amazon.values["hosts"], amazon.values["profiles"], amazon.values["skills"]) == (4, 9, 0)
    assert amazon.values["sent"] == sum(n + 37 * k for n in (812_400, 9_120, 1_830, 930) for k in range(9))


def test_a_null_key_is_found_again(tmp_path: Path) -> None:
    rows = {"gaps": [{"stage": None, "subject": "x", "reason": "lost", "evidence": "e", "locator": "l"}]}
    grouping = Grouping("g", "from gaps", {"n": "count(*)"}, "from gaps", ("subject",), keys=("stage", "reason"))
    (origin,) = trace(make_bundle(tmp_path / "s", rows), grouping)
    assert make_bundle(tmp_path / "t", rows).sql(origin.sql).to_pylist() == [{"stage": None, "reason": "lost", "n": 1}]
    assert origin.rows == (("x",),)
