import contextlib
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.lab.bid_formats import RUBICON_SIZES, Asked, Bid, answer_document, asked_slots
from earwitness.lab.browsing import Browsing, Hit
from earwitness.lab.world_file import load_world, worlds
from earwitness.model.errors import BadInput

BIDDERS = ("openx", "ix", "appnexus", "rubicon", "pubmatic")


def hit(body: bytes = b"", **query: str) -> Hit:
    return Hit("POST", "h.example", "/", "https://h.example/", query, {}, None, body, "p", Browsing())


def bid(markup: str = "<div></div>") -> Bid:
    return Bid(Asked("slot-a", "123456789"), "bid-1", 1.5, markup, "987654321", "brand.example", 300, 250)


def test_each_adapter_s_request_is_read() -> None:
    ortb = {"imp": [{"id": "i", "tagid": "7", "banner": {"format": [{"w": 1, "h": 1, "ext": {"siteID": "8"}}]}}]}
    body = json.dumps(ortb).encode()
    assert asked_slots("openx", hit(body)) == [Asked("i", "7")]
    assert asked_slots("ix", hit(body)) == [Asked("i", "8")]
    assert asked_slots("pubmatic", hit(gzip.compress(body))) == asked_slots("pubmatic", hit(body)) == [Asked("i", "7")]
    assert asked_slots("appnexus", hit(b'{"tags":[{"uuid":"u","id":9}]}')) == [Asked("u", "9")]
    assert asked_slots("rubicon", hit(zone_id="10")) == [Asked("", "10")]


def test_a_compressed_body_that_is_huge_or_cut_short_is_refused() -> None:
    huge = gzip.compress(b'{"imp":[' + b" " * (5 << 20) + b"]}")
    for body in (huge, gzip.compress(b'{"imp":[]}')[:-4], b"\x1f\x8bnothing"):
        with pytest.raises(BadInput):
            asked_slots("pubmatic", hit(body))


@given(st.sampled_from(BIDDERS), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(bidder: str, body: bytes) -> None:
    with contextlib.suppress(BadInput):
        asked_slots(bidder, hit(body))


@pytest.mark.parametrize("bidder", BIDDERS)
def test_a_slot_without_a_bid_has_no_price_in_the_answer(bidder: str) -> None:
    asked = [Asked("slot-a", "123456789")]
    assert "1.5" not in json.dumps(answer_document(bidder, asked, [], "12345"))
    assert json.dumps(answer_document(bidder, asked, [bid()], "12345")).count("1.5") >= 1


def test_rubicon_s_script_cannot_end_the_element_that_it_stands_in() -> None:
    answer = answer_document("rubicon", [Asked("", "1")], [bid('<a href="x"></a></script>')], "12345")
    script = answer["ads"][0]["script"]
    assert "</" not in script
    assert json.loads(script.removeprefix("document.write(").removesuffix(");")) == '<a href="x"></a></script>'


def test_rubicon_has_a_number_for_every_slot_of_every_world() -> None:
    for name in worlds():
        world = load_world(name, 1)
        if "rubicon" in world.exchanges:
            sizes = {(slot.width, slot.height) for site in world.sites.values() for slot in site.slots}
            assert sizes <= RUBICON_SIZES.keys()
