"""Evidence: raw artefacts named by their SHA-256, written once, never changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits; memory bounded."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def evidence_path(directory: Path, sha256: str) -> Path:
    """Where the artefact with this hash lies in the bundle `directory`."""
    return directory / "evidence" / sha256[:2] / sha256


def move_in(directory: Path, source: Path, sha256: str, sensitive: bool) -> Path:
    """Move `source` to its place in the evidence; an artefact that is there already stays as it is."""
    target = evidence_path(directory, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        source.unlink()
        return target
    with source.open("rb") as stream:
        os.fsync(stream.fileno())
    source.chmod(0o400 if sensitive else 0o444)
    source.rename(target)
    sync_directory(target.parent)
    return target


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
