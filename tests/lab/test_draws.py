import statistics
import uuid

import pytest

from earwitness.lab.draws import identifier, normal, pick, shuffled, uniform


def test_a_draw_depends_on_its_key_alone_and_not_on_what_was_drawn_before() -> None:
    first = [uniform(7, "price", who) for who in "abc"]
    again = [uniform(7, "price", who) for who in "cab"]
    assert first == [again[1], again[2], again[0]]
    assert uniform(7, "price", "a") != uniform(8, "price", "a")
    assert uniform(7, "ab", "c") != uniform(7, "a", "bc")


def test_draws_have_the_distribution_they_are_named_for() -> None:
    values = [uniform(1, index) for index in range(4000)]
    assert min(values) > 0 and max(values) < 1
    assert abs(statistics.mean(values) - 0.5) < 0.02
    deviates = [normal(1, index) for index in range(4000)]
    assert abs(statistics.mean(deviates)) < 0.06
    assert abs(statistics.stdev(deviates) - 1) < 0.04


def test_identifiers_come_in_the_shapes_that_parties_use() -> None:
    assert uuid.UUID(identifier(1, "uuid", "x")).version == 4
    assert len(identifier(1, "hex16", "x")) == 16
    assert identifier(1, "base64", "x").endswith("==")
    assert len(identifier(1, "digits", "x")) == 19 and identifier(1, "digits", "x").isdigit()
    with pytest.raises(ValueError, match="shape"):
        identifier(1, "emoji", "x")


def test_choices_are_stable() -> None:
    assert pick(3, "abcdef", "k") == pick(3, "abcdef", "k")
    order = shuffled(3, list("abcdef"), "k")
    assert sorted(order) == list("abcdef")
    assert {tuple(shuffled(seed, list("abcdef"), "k")) for seed in range(20)} != {tuple(order)}
