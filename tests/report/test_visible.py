from datetime import UTC, datetime
from decimal import Decimal

import pytest

from earwitness.report.visible import dollars, plain_number, probability, significant, size, visible, words


@pytest.mark.parametrize(
    "character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\x00", "\x1b", "\u2028", "\U000e0041", "\r"]
)
def test_hidden_characters_are_named(character: str) -> None:
    assert visible(f"a{character}b") == f"a⟨U+{ord(character):04X}⟩b"


def test_kept_characters_and_plain_text_stay() -> None:
    assert visible("a\nb\tc", keep="\n\t") == "a\nb\tc"
    assert visible("Ünï 東京 😀") == "Ünï 東京 😀"


def test_words_of_every_kind_of_cell() -> None:
    assert words(None) == "—"
    assert words(True) == "yes"
    assert words([]) == "—"
    assert words(["a", None, "b\u202e"]) == "a, —, b⟨U+202E⟩"
    assert words(Decimal(12)) == "12"
    assert words(datetime(2026, 5, 3, 10, 0, 7, tzinfo=UTC)) == "2026-05-03 10:00:07 UTC"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_999_999_999, "100 GB")],
)
def test_sizes(value: int, shown: str) -> None:
    assert size(value) == shown


def test_figures() -> None:
    assert significant(1 / 84) == "0.0119"
    assert significant(2.0) == "2.00"
    assert significant(float("-inf")) == "unbounded"
    assert significant(float("nan")) == "—"
    assert dollars(0.08) == "$0.08"
    assert probability(3.2e-8) == "< 0.0001"
    assert float(plain_number(1 / 84)) == 1 / 84
