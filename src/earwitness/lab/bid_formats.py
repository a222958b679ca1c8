"""Requests and answers of the exchanges, in the forms that the unmodified Prebid.js adapters send and take.

`openx`, `ix` and `pubmatic` speak OpenRTB and need `mtype: 1` in each bid; `ix` takes cents, `pubmatic` compresses its
body. `appnexus` has tags with ads of its own form. `rubicon` asks with one GET for each slot, names sizes by number
and gets a script that writes the ad. No I/O.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from earwitness.lab.browsing import Hit
from earwitness.model.errors import BadInput

_LARGEST_BODY = 4 << 20
_GZIP = b"\x1f\x8b"

RUBICON_SIZES = {
    (468, 60): 1, (728, 90): 2, (160, 600): 9, (300, 600): 10, (300, 250): 15, (336, 280): 16, (320, 50): 43,
    (970, 250): 57,
}  # fmt: skip
"""Numbers of ad sizes, from `sizeMap` of rubiconBidAdapter.js (Prebid.js 11)."""


@dataclass(frozen=True)
class Asked:
    """One slot as a request asks for it: the adapter's own name for it, and the bidder's number of the slot."""

    impression: str
    placement: str


@dataclass(frozen=True)
class Bid:
    """What is offered for one slot, in the exchange's own unit."""

    asked: Asked
    bid: str
    quoted: float
    markup: str
    creative: str
    advertiser_domain: str
    width: int
    height: int


def asked_slots(bidder: str, hit: Hit) -> list[Asked]:
    """The slots that a bid request asks for.

    Raises:
        BadInput: it is not what the bidder's adapter sends.
    """
    try:
        if bidder == "rubicon":
            return [Asked("", hit.query["zone_id"])]
        document = json.loads(_plain(hit.body))
        if bidder == "appnexus":
            return [Asked(str(tag["uuid"]), str(tag["id"])) for tag in document["tags"]]
        return [Asked(str(imp["id"]), _placement(bidder, imp)) for imp in document["imp"]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise BadInput("bid request", "body", f"what the Prebid.js adapter {bidder} sends") from None


def answer_document(bidder: str, asked: Sequence[Asked], bids: Sequence[Bid], seller: str) -> dict[str, Any]:
    """The JSON answer with the bids of a request; slots without a bid are told as each adapter expects it."""
    if bidder == "appnexus":
        by_slot = {bid.asked: bid for bid in bids}
        return {"version": "3.0.0", "tags": [_tag(slot, by_slot.get(slot)) for slot in asked]}
    if bidder == "rubicon":
        return _fastlane(asked[0], bids, seller)
    seats = [{"seat": "1", "bid": [_openrtb(bid) for bid in bids]}] if bids else []
    return {"id": asked[0].impression if asked else "", "cur": "USD", "seatbid": seats}


def _plain(body: bytes) -> bytes:
    """The body without its compression, which the adapter announces by nothing but `gzip=1` in the address."""
    if not body.startswith(_GZIP):
        return body
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(body, _LARGEST_BODY)
    except zlib.error:
        raise ValueError("not gzip") from None
    if not decompressor.eof:
        raise ValueError("too large, or cut short")
    return plain


def _placement(bidder: str, imp: dict[str, Any]) -> str:
    return str(imp["banner"]["format"][0]["ext"]["siteID"] if bidder == "ix" else imp["tagid"])


def _openrtb(bid: Bid) -> dict[str, Any]:
    return {
        "id": bid.bid,
        "impid": bid.asked.impression,
        "price": bid.quoted,
        "adm": bid.markup,
        "crid": bid.creative,
        "w": bid.width,
        "h": bid.height,
        "adomain": [bid.advertiser_domain],
        "mtype": 1,
    }


def _tag(asked: Asked, bid: Bid | None) -> dict[str, Any]:
    tag: dict[str, Any] = {"uuid": asked.impression, "tag_id": int(asked.placement), "auction_id": asked.impression}
    if bid is None:
        return tag | {"nobid": True}
    ad = {
        "content_source": "rtb",
        "ad_type": "banner",
        "buyer_member_id": 1 + int(bid.creative) % 9000,
        "creative_id": int(bid.creative),
        "cpm": bid.quoted,
        "cpm_publisher_currency": bid.quoted,
        "publisher_currency_code": "$",
        "adomain": bid.advertiser_domain,
        "rtb": {"banner": {"content": bid.markup, "width": bid.width, "height": bid.height}},
    }
    return tag | {"nobid": False, "ads": [ad]}


def _fastlane(asked: Asked, bids: Sequence[Bid], seller: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "status": "ok",
        "account_id": int(seller),
        "site_id": int(seller),
        "zone_id": int(asked.placement),
    }
    if not bids:
        return answer | {"ads": [{"status": "no-ads", "reason": "no bids"}]}
    bid = bids[0]
    size = RUBICON_SIZES[bid.width, bid.height]
    ad = {
        "status": "ok",
        "impression_id": bid.bid,
        "size_id": str(size),
        "ad_id": bid.creative,
        "creative_id": bid.creative,
        "advertiser": int(bid.creative) % 9000,
        "network": 1,
        "type": "script",
        # It is put into a script element of an HTML text: "</" would end that.
        "script": f"document.write({json.dumps(bid.markup)});".replace("</", "<\\/"),
        "cpm": bid.quoted,
        "adomain": [bid.advertiser_domain],
        "targeting": [{"key": f"rpfl_{seller}", "values": [f"{size}_tier"]}],
    }
    return answer | {"size_id": str(size), "ads": [ad]}
