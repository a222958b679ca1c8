"""A browser profile, sealed: what makes a person recognisable, in one file, without caches.

A tar.zst of the profile directory, with `earwitness.json` beside it: the session cookies, which a browser forgets when
it ends, and the secrets to replace from now on. Readable by its owner only.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import msgspec
import zstandard

from earwitness.crawl.secrets import Cookie, Known
from earwitness.model.errors import BadInput

_MEMORY = "earwitness.json"
_PROFILE = "profile"
# Caches, logs of the browser about itself, and locks.
_LEFT_OUT = frozenset(
    {
        "BrowserMetrics",
        "Cache",
        "Code Cache",
        "Crashpad",
        "DawnGraphiteCache",
        "DawnWebGPUCache",
        "DevToolsActivePort",
        "GPUCache",
        "GPUPersistentCache",
        "GrShaderCache",
        "GraphiteDawnCache",
        "Safe Browsing",
        "ShaderCache",
        "SingletonCookie",
        "SingletonLock",
        "SingletonSocket",
        "component_crx_cache",
        "extensions_crx_cache",
        "segmentation_platform",
    }
)


class Memory(msgspec.Struct):
    """What a profile remembers beside its files."""

    session_cookies: list[Cookie] = []
    known: Known = msgspec.field(default_factory=Known)


def seal(user_data: Path, memory: Memory, sealed: Path) -> None:
    """Write the profile under `user_data` to the file `sealed`, all or nothing."""
    partial = sealed.with_name(sealed.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with (
            zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|") as tar,
        ):
            content = msgspec.json.encode(memory)
            entry = tarfile.TarInfo(_MEMORY)
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
            tar.add(user_data, _PROFILE, filter=_kept)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(sealed)


def restore(snapshot: Path, user_data: Path) -> Memory:
    """Unpack a sealed profile to the directory `user_data`, which must not exist yet.

    Raises:
        BadInput: the file is no sealed profile.
    """
    memory: Memory | None = None
    try:
        with (
            snapshot.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            for entry in tar:
                if entry.name == _MEMORY:
                    content = tar.extractfile(entry)
                    memory = msgspec.json.decode(content.read() if content else b"", type=Memory)
                elif entry.name == _PROFILE or entry.name.startswith(f"{_PROFILE}/"):
                    _unpack(tar, entry, user_data / Path(entry.name).relative_to(_PROFILE))
    except (tarfile.TarError, zstandard.ZstdError, msgspec.MsgspecError, EOFError) as error:
        raise BadInput(str(snapshot), "the archive", f"a sealed browser profile ({error})") from error
    if memory is None:
        raise BadInput(str(snapshot), "the archive", f"a sealed browser profile with {_MEMORY}")
    return memory


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    """Only what sealing packs: folders and plain files, inside the profile. Python 3.11.2 has no extraction filter."""
    if ".." in target.parts or not (entry.isfile() or entry.isdir()):
        raise tarfile.TarError(f"it holds {entry.name!r}, which sealing never packs")
    if entry.isdir():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    content = tar.extractfile(entry)
    assert content is not None
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    target.chmod(entry.mode & 0o700)


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if Path(entry.name).name in _LEFT_OUT or not (entry.isfile() or entry.isdir()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
