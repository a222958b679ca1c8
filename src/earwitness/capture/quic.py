"""Server names in QUIC Initial packets, whose keys anybody can derive (RFC 9000, 9001, 9369).

An `InitialReader` takes one flow's datagrams in the order seen and knows its server name as soon as the CRYPTO
frames of the client's first flight, in whatever order they come, contain it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from earwitness.capture.tls import server_name

_V2 = 0x6B3343CF
_SALT_V1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_SALT_V2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
_SALT_DRAFT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")
_SALT_DRAFT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")
_LONGEST_ID = 20
_MAX_DATAGRAMS = 32
_MAX_CRYPTO = 1 << 16


def _salt(version: int) -> bytes | None:
    if version == 1:
        return _SALT_V1
    if version == _V2:
        return _SALT_V2
    if version >> 8 == 0xFF0000:  # drafts
        draft = version & 0xFF
        if 23 <= draft <= 28:
            return _SALT_DRAFT_23
        if 29 <= draft <= 32:
            return _SALT_DRAFT_29
        if 33 <= draft <= 34:
            return _SALT_V1
    return None


class InitialReader:
    """Reads the client's Initial packets of one flow."""

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.finished = False
        self._left = _MAX_DATAGRAMS
        self._ids: list[bytes] = []  # destination ids whose keys worked; the first one keeps working
        self._version = 0
        self._frames: dict[int, bytes] = {}

    def add(self, datagram: bytes) -> None:
        """Take in one datagram; sets `name` and `finished` when there is nothing more to learn."""
        with suppress(IndexError):  # a field reaches beyond the datagram
            self._packets(datagram)
        self._left -= 1
        stream = bytearray()
        for offset in sorted(self._frames):
            if offset > len(stream):
                break
            stream += self._frames[offset][len(stream) - offset :]
        self.name, complete = server_name(bytes(stream))
        self.finished = complete or self._left <= 0

    def _packets(self, datagram: bytes) -> None:
        at = 0
        while at < len(datagram) and datagram[at] & 0x80:
            first = datagram[at]
            version = int.from_bytes(datagram[at + 1 : at + 5], "big")
            if _salt(version) is None:
                return
            initial, retry = (1, 0) if version == _V2 else (0, 3)
            kind = first >> 4 & 3
            field = at + 5
            destination = datagram[field + 1 : field + 1 + datagram[field]]
            field += 1 + datagram[field]
            field += 1 + datagram[field]  # source id
            if kind == retry or len(destination) > _LONGEST_ID:
                return
            if kind == initial:
                length, field = _varint(datagram, field)
                field += length  # token
            length, field = _varint(datagram, field)
            end = field + length
            if end > len(datagram):
                return
            if kind == initial:
                self._decrypt(datagram[at:end], field - at, version, destination)
            at = end

    def _decrypt(self, packet: bytes, number_at: int, version: int, destination: bytes) -> None:
        for connection_id in dict.fromkeys([*self._ids, destination]):
            payload = _open(packet, number_at, version, connection_id)
            if payload is not None:
                if version != self._version:  # negotiated anew: another ClientHello
                    self._version = version
                    self._frames.clear()
                if connection_id not in self._ids:
                    self._ids.append(connection_id)
                self._crypto_frames(payload)
                return

    def _crypto_frames(self, payload: bytes) -> None:
        at = 0
        while at < len(payload):
            kind = payload[at]
            at += 1
            if kind in (0, 1):  # PADDING, PING
                continue
            if kind in (2, 3):  # ACK
                for _ in range(2):
                    _, at = _varint(payload, at)
                ranges, at = _varint(payload, at)
                for _ in range(1 + 2 * ranges + (3 if kind == 3 else 0)):
                    _, at = _varint(payload, at)
            elif kind == 6:  # CRYPTO
                offset, at = _varint(payload, at)
                length, at = _varint(payload, at)
                data = payload[at : at + length]
                at += length
                if offset + length <= _MAX_CRYPTO and len(data) > len(self._frames.get(offset, b"")):
                    self._frames[offset] = data
            else:
                return


@lru_cache(maxsize=64)
def _keys(version: int, connection_id: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, IV and header protection key of the client's Initial packets."""
    extract = hmac.HMAC(_salt(version) or b"", hashes.SHA256())
    extract.update(connection_id)
    secret = _expand(extract.finalize(), b"client in", 32)
    prefix = b"quicv2 " if version == _V2 else b"quic "
    return (
        _expand(secret, prefix + b"key", 16),
        _expand(secret, prefix + b"iv", 12),
        _expand(secret, prefix + b"hp", 16),
    )


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=info).derive(secret)


def _open(packet: bytes, number_at: int, version: int, connection_id: bytes) -> bytes | None:
    sample = packet[number_at + 4 : number_at + 20]
    if len(sample) < 16:
        return None
    key, iv, protection = _keys(version, connection_id)
    mask = Cipher(algorithms.AES(protection), modes.ECB()).encryptor().update(sample)  # noqa: S305 - RFC 9001 5.4.3
    first = packet[0] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    number = bytes(x ^ y for x, y in zip(packet[number_at : number_at + size], mask[1:], strict=False))
    nonce = bytes(x ^ y for x, y in zip(iv, number.rjust(12, b"\0"), strict=True))
    header = bytes([first]) + packet[1:number_at] + number
    try:
        return AESGCM(key).decrypt(nonce, packet[number_at + size :], header)
    except InvalidTag:
        return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise IndexError("ends inside a number")
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size
