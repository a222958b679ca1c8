"""Ads by persona: equal pictures once, with their advertisers; nothing that is no PNG; never too much."""

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import yaml

from earwitness.report import render
from earwitness.report.gallery import ads
from earwitness.store import Bundle, create
from tests.report.sample import STUDY, sample_rows


def png(width: int, height: int, seed: int, noise: bool = False) -> bytes:
    """An RGB picture: a plain one of stripes, or one that cannot be compressed."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    size = 3 * width
    if noise:
        lines = hashlib.shake_128(str(seed).encode()).digest(height * size)
    else:
        lines = b"".join(
            bytes((60 + 37 * seed % 180, 90 + 8 * (y // 25), 200 - 23 * seed % 150)) * width for y in range(height)
        )
    raw = b"".join(b"\0" + lines[y * size : (y + 1) * size] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def with_ads(directory: Path, pictures: list[bytes], rows: dict[str, list[dict[str, Any]]] | None = None) -> Bundle:
    """The sample in which every profile saw every picture once, in the slot `top` of a page after the interaction."""
    content = sample_rows() if rows is None else rows
    create(directory, yaml.safe_dump(STUDY, sort_keys=False), {})
    visits = [row["visit"] for row in content["visits"] if row["visit"].endswith("after-news")]
    for bid in content["bids"]:
        if bid["slot"] == "top" and bid["bidder"] == "openx":
            bid.update(won=True, advertiser_domain="shoes.example")
    with Bundle.open(directory, write=True) as bundle, bundle.step("sample", "study") as step:
        creatives = []
        for number, picture in enumerate(pictures):
            path = step.partial(f"{number}.png")
            path.write_bytes(picture)
            proof = step.seal(path, "screenshot")
            creatives += [
                {
                    "creative": f"c-{visit}-{number}",
                    "visit": visit,
                    "slot": "top",
                    "screenshot": proof,
                    "text": f"Ad number {number}: boots for less",
                    "landing_url": f"https://www.shop{number}.example/landing?click=1",
                    "perceptual_hash": f"{number:016x}",
                    "evidence": proof,
                    "locator": "picture",
                }
                for visit in visits
            ]
        for table, lines in (content | {"creatives": creatives}).items():
            step.write(table, lines)
    return Bundle.open(directory)


def test_equal_pictures_are_shown_once_for_each_persona(tmp_path: Path) -> None:
    section = ads(with_ads(tmp_path / "s", [png(30, 25, 1), png(30, 25, 2)]))
    assert [(card.group, card.text[:11]) for card in section.cards] == [
        ("control", "Ad number 0"),
        ("control", "Ad number 1"),
        ("fashion", "Ad number 0"),
        ("fashion", "Ad number 1"),
    ]
    first, third = section.cards[0], section.cards[2]
    assert first.profiles and first.impressions and third.profiles
    assert (first.profiles.exact, first.impressions.exact, third.profiles.exact) == ("6", "6", "3")
    assert first.facts == (("Advertiser", "shoes.example"), ("Leads to", "www.shop0.example"))
    assert all(card.picture.startswith("data:image/png;base64,") for card in section.cards)
    assert section.cards_more == ""


def test_no_creatives_are_said_to_be_none(tmp_path: Path) -> None:
    assert "No rendered ad was recorded" in render(with_ads(tmp_path / "s", []))


def test_evidence_that_is_no_picture_is_not_embedded(tmp_path: Path) -> None:
    section = ads(with_ads(tmp_path / "s", [b"<svg onload=alert(1)>", png(300, 250, 1, noise=True)]))
    assert [card.picture for card in section.cards] == [""] * 4
    assert "4 of the cards have no picture" in section.cards_more


def test_many_large_pictures_stay_within_the_page(tmp_path: Path) -> None:
    bundle = with_ads(tmp_path / "s", [png(200, 150, seed, noise=True) for seed in range(40)])
    section = ads(bundle)
    assert {card.group for card in section.cards} == {"control", "fashion"}
    assert f"{80 - len(section.cards)} more pictures are not shown here" in section.cards_more
    assert len(render(bundle).encode()) < 3_000_000
