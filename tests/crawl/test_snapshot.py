from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest
import zstandard

from earwitness.crawl.events import EventLog
from earwitness.crawl.secrets import Cookie, Known
from earwitness.crawl.snapshot import Memory, restore, seal
from earwitness.model.errors import BadInput


def profile(folder: Path) -> Path:
    data = folder / "data"
    for name, content in {
        "Local State": "{}",
        "Default/Cookies": "jar",
        "Default/Local Storage/leveldb/000003.log": "kept",
        "Default/Service Worker/CacheStorage/a/index": "kept",
        "Default/Cache/Cache_Data/f_1": "big",
        "Default/Code Cache/js/index": "big",
        "GrShaderCache/data_0": "big",
        "DevToolsActivePort": "1",
    }.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(content)
    (data / "SingletonLock").symlink_to("nowhere")
    (data / "Default" / "linked").symlink_to("/etc/passwd")
    return data


def files(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}


def test_a_profile_comes_back_without_its_caches(tmp_path: Path):
    memory = Memory(
        [
            Cookie(
                "s", "v", ".a.example", session=True, partition_key={"topLevelSite": "x", "hasCrossSiteAncestor": True}
            )
        ],
        Known("a.example", ["s"], ["value"]),
    )
    sealed = tmp_path / "sealed"
    seal(profile(tmp_path), memory, sealed)
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    assert restore(sealed, tmp_path / "again") == memory
    assert files(tmp_path / "again") == {
        "Local State": "{}",
        "Default/Cookies": "jar",
        "Default/Local Storage/leveldb/000003.log": "kept",
        "Default/Service Worker/CacheStorage/a/index": "kept",
    }
    assert sorted(f.name for f in tmp_path.iterdir()) == ["again", "data", "sealed"]


def test_other_files_are_refused(tmp_path: Path):
    whole = tmp_path / "whole"
    seal(profile(tmp_path), Memory(), whole)
    plain = tmp_path / "plain.tar"
    with tarfile.open(plain, "w") as tar:
        tar.add(tmp_path / "data", "profile")
    contents = {
        "empty": b"",
        "text": b"hello",
        "cut": whole.read_bytes()[:-40],
        "tar": plain.read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match="sealed browser profile"):
            restore(tmp_path / name, tmp_path / f"from-{name}")


def test_the_event_log_counts_lines_and_is_never_written_over(tmp_path: Path):
    path = tmp_path / "events"
    log = EventLog(path, lambda raw: raw.replace(b"secret", b"token"))
    assert log.event(b'{"method":"A"}') == 1
    log.open_visit('v"1')
    assert log.note("kind", {"a": "secret"}) == 2
    for _ in range(98):
        log.event(b"{}")
    assert len(path.read_bytes().splitlines()) == 100  # handed over without being asked
    log.event(b"{}")
    log.close()
    log.close()
    lines = path.read_text().splitlines()
    assert len(lines) == log.lines == 101
    assert '"visit":null,"cdp":{"method":"A"}}' in lines[0]
    assert '"visit":"v\\"1","note":"kind","data":{"a":"token"}}' in lines[1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        EventLog(path, bytes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("profile/../../escaped", tarfile.REGTYPE),
        ("profile/link", tarfile.SYMTYPE),
        ("profile/device", tarfile.CHRTYPE),
    ],
)
def test_nothing_is_unpacked_outside_the_profile_or_as_anything_but_a_file(tmp_path: Path, name: str, kind: bytes):
    hostile = tmp_path / "hostile.tar.zst"
    with zstandard.open(hostile, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(BadInput, match="never packs"):
        restore(hostile, tmp_path / "a" / "b" / "data")
    assert not (tmp_path / "a" / "escaped").exists()
