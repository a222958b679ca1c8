"""A capture that breaks off is answered as far as it goes, wherever that is."""

import random
from pathlib import Path

import pytest

from earwitness.capture import read_capture
from earwitness.model.errors import BadInput
from tests.capture import packets as p
from tests.capture.captures import Interface, block, pcap, pcapng, read, reasons, timed

FRAMES = [
    p.ethernet(packet) for packet in p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"a.test"))])
]
PACKETS = timed(FRAMES)
VARIANTS = {
    "pcap": (pcap(PACKETS), 24, [16 + len(frame) for frame in FRAMES]),
    "pcapng": (
        pcapng(PACKETS),
        28,
        [20, *(32 + 12 + len(frame) + -len(frame) % 4 for frame in FRAMES)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", VARIANTS)
def test_cut_at_every_byte(tmp_path: Path, kind: str) -> None:
    data, header, sizes = VARIANTS[kind]
    ends = [header + sum(sizes[:n]) for n in range(len(sizes) + 1)]
    assert ends[-1] == len(data)
    before_packets = len(sizes) - len(FRAMES)
    path = tmp_path / "cut.bin"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        if cut < header:
            with pytest.raises(BadInput):
                read_capture(path)
            continue
        capture = read_capture(path)
        whole = sum(cut >= end for end in ends) - 1
        assert capture.packets == max(whole - before_packets, 0), cut
        assert capture.truncated == (cut not in ends), cut
        if capture.truncated:
            place = (
                f"the file ends at byte {cut}, inside the record at byte {ends[whole]}, after packet {capture.packets}"
            )
            assert reasons(capture)["truncated"] == place
        else:
            assert "truncated" not in reasons(capture)


def test_cut_inside_a_block_that_is_passed_over(tmp_path: Path) -> None:
    data = pcapng(PACKETS) + block("<", 10, bytes(12 << 20))[:-5]
    capture = read(tmp_path, data)
    assert (capture.packets, capture.truncated) == (4, True)
    assert f"ends at byte {len(data)}" in str(reasons(capture)["truncated"])


def test_nonsense_after_good_records_is_not_read(tmp_path: Path) -> None:
    for data in (pcap(PACKETS), pcapng(PACKETS)):
        capture = read(tmp_path, data + b"\xff" * 400 + random.Random(1).randbytes(20 << 20))
        assert (capture.packets, capture.truncated) == (4, True)
        assert capture.flows["host"].to_pylist() == ["a.test"]
        place = f"no valid record at byte {len(data)}, after packet 4; what follows was not read"
        assert reasons(capture)["corrupt"] == place


@pytest.mark.parametrize(
    "broken",
    [
        block("<", 6, bytes(8)),  # too short for its kind
        block("<", 3, b""),
        block("<", 1, bytes(4)),
        block("<", 6, (9).to_bytes(4, "little") + bytes(40)),  # an interface that was never described
        block("<", 6, bytes(12) + (4000).to_bytes(4, "little") + bytes(40)),  # more captured than the block holds
        block("<", 6, bytes(60))[:-4] + bytes(4),  # its length is not repeated
        block("<", 1, bytes(12))[:-4] + bytes(4),
        b"\x0a\x0d\x0d\x0a" + bytes(28),
    ],
)
def test_a_broken_block_ends_the_reading(tmp_path: Path, broken: bytes) -> None:
    capture = read(tmp_path, pcapng(PACKETS) + broken + pcapng(PACKETS))
    assert (capture.packets, capture.truncated) == (4, True)
    assert "corrupt" in reasons(capture)


def test_the_hash_is_of_the_whole_file(tmp_path: Path) -> None:
    import hashlib

    for data in (pcap(PACKETS), pcap(PACKETS) + b"\xff" * (9 << 20), pcapng(PACKETS, interfaces=[Interface(link=127)])):
        assert read(tmp_path, data).sha256 == hashlib.sha256(data).hexdigest()
