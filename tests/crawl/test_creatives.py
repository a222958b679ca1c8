"""Rendered ads: a picture, the text, where they lead; of pages whose Prebid.js is only as real as that needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from earwitness.crawl import PassResult, VisitPlan, run_pass
from earwitness.crawl.cdp import well_formed
from earwitness.crawl.picture import decode_png, perceptual_hash
from earwitness.model.identity import row_id
from earwitness.model.tables import TABLES
from tests.crawl.small_internet import html, serve

SLOTS = ("nested", "again", "hostile", "house", "unsold", "hidden", "low")
PAGE = """
<script>
const slots = SLOTS, won = ['nested', 'again', 'hostile', 'hidden', 'low', 'gone'];
window.pbjs = {
  adUnits: slots.map(code => ({code})),
  getEvents: () => [
    {eventType: 'auctionInit', elapsedTime: 1, args: {}}, {eventType: 'auctionEnd', elapsedTime: 2, args: {}},
    ...won.map(code => ({eventType: 'bidWon', elapsedTime: 3, args: {adUnitCode: code, adId: code}}))],
  getConfig: () => ({syncEnabled: false}),
};
</script>
<div id=nested></div><div id=again></div><div id=hostile></div><div id=house></div><div id=unsold>No ad here</div>
<div id=hidden style="display:none"></div><div style="height:2000px"></div><div id=low></div>
<script>
const put = (slot, url) => {
  const frame = document.createElement('iframe');
  frame.width = 300; frame.height = 100; frame.style.border = 0;
  document.getElementById(slot).appendChild(frame);
  frame.contentWindow.document.write(
    `<body style="margin:0"><iframe src="${url}" width=300 height=100 frameborder=0 scrolling=no></iframe>`);
  frame.contentWindow.document.close();
};
put('nested', 'https://ads.one.example/outer?1');
put('again', 'https://ads.one.example/outer?2');
put('low', 'https://ads.one.example/outer?3');
put('hidden', 'https://ads.one.example/outer?4');
put('hostile', 'https://ads.two.example/hostile');
put('house', 'https://ads.three.example/house');
</script>
""".replace("SLOTS", json.dumps(SLOTS))
OUTER = """<body style="margin:0">
<iframe src="https://brand.three.example/inner" width=300 height=100 frameborder=0 scrolling=no></iframe>"""
INNER = """<body style="margin:0;font:20px sans-serif;background:linear-gradient(90deg,#fff 30%,#036 60%,#fc0)">
<a href="https://shop.three.example/offer?from=ad" target=_blank>Fresh <b>coffee</b> today</a><p hidden>Not seen</p>"""
HOSTILE = """<meta charset=utf-8><body style="margin:0;background:#a00">
<script>
Object.defineProperty(HTMLElement.prototype, 'innerText', {get() { return 'forged'; }});
document.querySelectorAll = Document.prototype.querySelectorAll = Element.prototype.querySelectorAll = () => [];
</script>
<a href="javascript:alert(1)">x</a><span id=text></span>
<div onclick="window.open('https://trap.two.example/go?a=1&b=2')">click</div>
<script>
document.getElementById('text').textContent =
  '<script>alert("1")<\\/script> \\u0007\\u001b[31m\\u202ebell\\ud800 \\'; DROP TABLE creatives;--';
</script>"""
ROUTES = {
    "shop.example/": lambda r, b: html(PAGE),
    "ads.one.example/outer": lambda r, b: html(OUTER),
    "brand.three.example/inner": lambda r, b: html(INNER),
    "ads.two.example/hostile": lambda r, b: html(HOSTILE),
    "ads.three.example/house": lambda r, b: html("House ad <map><area href='/here'></map>"),
}


async def see(folder: Path, pictures: Path | None) -> PassResult:
    servers = folder / "servers"
    servers.mkdir()
    running = await serve(servers, more=ROUTES)
    try:
        return await run_pass(
            profile="p1",
            pass_id="a",
            visits=[VisitPlan("a/1", "shop", "https://shop.example/", "before", 1, 1)],
            internet=running.small.internet,
            snapshot=None,
            sealed=folder / "sealed",
            sign_in=None,
            events=folder / "events",
            token_key=b"k",
            pictures=pictures,
        )
    finally:
        await running.stop()


def by_slot(result: PassResult) -> Mapping[str, dict]:
    return {row["slot"]: row for row in result.rows["creatives"]}


def test_halves_of_surrogate_pairs_are_replaced_and_nothing_else():
    raw = rb'{"a": "\ud800", "b": "\ud83d\ude00", "c": "\\ud800", "d": "\uDC00\ud800x"}'
    assert json.loads(well_formed(raw)) == {"a": "\ufffd", "b": "\U0001f600", "c": "\\ud800", "d": "\ufffd\ufffdx"}


async def test_each_rendered_ad_is_one_row(tmp_path: Path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    result = await see(tmp_path, pictures)
    assert result.rows["visits"][0]["status"] == "no_bids"
    ads = by_slot(result)
    assert TABLES["creatives"].arrow(result.rows["creatives"]).num_rows == len(ads) == 7
    assert set(ads) == {"nested", "again", "hostile", "house", "hidden", "low", "gone"}
    for slot, ad in ads.items():
        assert (ad["creative"], ad["visit"]) == (row_id("a/1", slot), "a/1")

    # Three origins deep, on the screen or below it: text, link, and the same picture.
    for slot in ("nested", "again", "low"):
        assert ads[slot]["text"] == "Fresh coffee today"
        assert ads[slot]["landing_url"] == "https://shop.three.example/offer?from=ad"
        assert ads[slot]["screenshot"] == f"{ads[slot]['creative']}.png"
        pixels = decode_png((pictures / ads[slot]["screenshot"]).read_bytes())
        assert pixels.shape[:2] == (100, 300)
        assert tuple(pixels[95, 2, :3]) == (255, 255, 255)
        assert (
            int(pixels[95, 180, 2]) > int(pixels[95, 180, 0]) + 60
        )  # the gradient's blue: the innermost frame is painted
        assert ads[slot]["perceptual_hash"] == perceptual_hash(pixels) == ads["nested"]["perceptual_hash"]

    # What an ad says stays text, and cannot forge what is read of it.
    hostile = ads["hostile"]
    assert '<script>alert("1")</script> [31mbell\ufffd \'; DROP TABLE creatives;--' in hostile["text"]
    assert "forged" not in hostile["text"]
    assert hostile["landing_url"] == "https://trap.two.example/go?a=1&b=2"
    assert hostile["perceptual_hash"] != ads["nested"]["perceptual_hash"]

    assert (ads["house"]["text"], ads["house"]["landing_url"]) == ("House ad", "https://ads.three.example/here")

    # No picture: said.
    gaps = [gap["detail"] for gap in result.gaps if gap["reason"] == "creative_unseen"]
    assert len(gaps) == 2
    assert any("in hidden," in gap and gap.endswith("no room on the page") for gap in gaps)
    assert any("in gone," in gap and gap.endswith("no element of that name") for gap in gaps)
    assert {file.name for file in pictures.iterdir()} == {ad["screenshot"] for ad in ads.values()} - {None}

    # What text and address were read from is in the evidence; nothing was clicked.
    lines = (tmp_path / "events").read_text().splitlines()
    note = json.loads(lines[int(hostile["locator"].removeprefix("line ")) - 1])
    assert (note["note"], note["data"]["slot"]) == ("creative", "hostile")
    assert not [r for r in result.rows["requests"] if "shop.three" in r["url"] or "trap.two" in r["url"]]
    assert {r["url"].partition("?")[0] for r in result.rows["requests"]} >= {"https://brand.three.example/inner"}
