from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.detect.occurrence import ValueIndex, stands_in

VALUE = "9f86d081884c7d65"


@pytest.mark.parametrize(
    "text", [VALUE, f"uid={VALUE}&x=1", f"a|{VALUE}", f"{VALUE}~1777885201", f"p-{VALUE}.gif", f'{{"id":"{VALUE}"}}']
)
def test_whole_or_delimited(text):
    assert ValueIndex([VALUE]).find_decoded(text) == {VALUE: 0}


@pytest.mark.parametrize("text", ["", "9f86d081", f"{VALUE}00", f"0{VALUE}", f"x{VALUE}x", VALUE.upper()])
def test_not_inside_something_longer(text):
    assert ValueIndex([VALUE]).find_decoded(text) == {}


def test_a_later_place_counts_after_an_earlier_that_does_not():
    assert stands_in("abc", "xabc abcx abc")


def test_decoded_as_often_as_needed():
    index = ValueIndex([VALUE, "a+b/c9=="])
    once = quote(f"https://x.example/?uid={VALUE}", safe="")
    assert index.find_decoded(once) == {VALUE: 1}
    assert index.find_decoded(quote(once, safe="")) == {VALUE: 2}
    assert index.find_decoded("k=a%2Bb%2Fc9%3D%3D") == {"a+b/c9==": 1}


def test_values_that_share_all_but_one_run():
    mails = [f"person{n}@mail.example" for n in range(50)]
    assert ValueIndex(mails).find("to=person7@mail.example;") == {"person7@mail.example"}


@given(
    st.lists(st.from_regex(r"[a-z0-9|.=-]{1,8}", fullmatch=True), max_size=6),
    st.from_regex(r"[a-z0-9|.=&-]{0,40}", fullmatch=True),
)
def test_the_index_finds_what_comparing_each_value_finds(values, text):
    plain = {value for value in values if stands_in(value, text) and any(c.isalnum() for c in value)}
    assert ValueIndex(values).find(text) == plain
