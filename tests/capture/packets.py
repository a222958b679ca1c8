"""Builds packets: link layers, IP, TCP, UDP, and the messages that carry names. Shares no code with the reader."""

import ipaddress
import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SPEAKER_MAC, ROUTER_MAC, PHONE_MAC = "68:db:f5:00:00:01", "dc:a6:32:00:00:02", "02:00:5e:00:00:03"
SPEAKER, PHONE, RESOLVER, SERVER = "192.168.7.20", "192.168.7.21", "192.168.7.1", "93.184.216.34"
SPEAKER6, SERVER6 = "2001:db8:7::20", "2606:2800:220:1::1946"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


# --- network and transport


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def ip(
    source: str,
    target: str,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 1,
    offset: int = 0,
    more: bool = False,
    extensions: Sequence[tuple[int, bytes]] = (),
    total_length: int | None = None,
) -> bytes:
    """IPv4 or IPv6, by the addresses; `offset` (bytes) and `more` make a fragment, `extensions` are (type, body)."""
    if ":" in source:
        chain = list(extensions)
        if offset or more:
            chain.append((44, struct.pack(">HI", offset | more, identification)))
        kinds = [kind for kind, _ in chain] + [protocol]
        headers = b""
        for (kind, body), following in zip(chain, kinds[1:], strict=True):
            if kind == 44:
                headers += bytes([following, 0]) + body
            elif kind == 51:  # counted in words of four bytes, less two
                headers += bytes([following, (2 + len(body)) // 4 - 2]) + body
            else:
                headers += bytes([following, (2 + len(body)) // 8 - 1]) + body
        length = len(headers) + len(payload) if total_length is None else total_length
        start = struct.pack(">IHBB", 6 << 28, length, kinds[0], 64)
        return start + packed(source) + packed(target) + headers + payload
    length = 20 + len(payload) if total_length is None else total_length
    fields = struct.pack(">BBHHHBB", 0x45, 0, length, identification, more << 13 | offset // 8, 64, protocol)
    addresses = packed(source) + packed(target)
    return fields + struct.pack(">H", _checksum(fields + b"\0\0" + addresses)) + addresses + payload


def _with_checksum(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    pseudo = packed(source) + packed(target) + struct.pack(">II", len(segment), protocol)
    return segment[:at] + struct.pack(">H", _checksum(pseudo + segment) or 0xFFFF) + segment[at + 2 :]


def udp_segment(source: str, source_port: int, target: str, port: int, payload: bytes) -> bytes:
    segment = struct.pack(">HHHH", source_port, port, 8 + len(payload), 0) + payload
    return _with_checksum(source, target, 17, segment, 6)


def udp(source: str, source_port: int, target: str, port: int, payload: bytes, **options: object) -> bytes:
    return ip(source, target, 17, udp_segment(source, source_port, target, port, payload), **options)


def tcp(
    source: str,
    source_port: int,
    target: str,
    port: int,
    flags: int,
    sequence: int = 0,
    payload: bytes = b"",
    **options: object,
) -> bytes:
    fields = struct.pack(">HHIIBBHHH", source_port, port, sequence % 2**32, 1, 5 << 4, flags, 0xFFFF, 0, 0)
    return ip(source, target, 6, _with_checksum(source, target, 6, fields + payload, 16), **options)


def connection(
    client: str, client_port: int, server: str, port: int, upward: Sequence[tuple[int, bytes]], isn: int = 1000
) -> list[bytes]:
    """A handshake, then the client's segments as (offset in its stream, bytes), in the given order."""
    return [
        tcp(client, client_port, server, port, SYN, isn),
        tcp(server, port, client, client_port, SYN | ACK, 7000),
        tcp(client, client_port, server, port, ACK, isn + 1),
        *(tcp(client, client_port, server, port, ACK | PSH, isn + 1 + offset, data) for offset, data in upward),
    ]


# --- link layer


def ethernet(
    packet: bytes, source: str = SPEAKER_MAC, target: str = ROUTER_MAC, tags: Sequence[tuple[int, int]] = ()
) -> bytes:
    """An Ethernet II frame; `tags` are (TPID, VLAN) from the outside inwards."""
    addresses = bytes.fromhex((target + source).replace(":", ""))
    return addresses + b"".join(struct.pack(">HH", tpid, vlan) for tpid, vlan in tags) + ethertype(packet) + packet


def ethertype(packet: bytes) -> bytes:
    return b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"


def snap(packet: bytes) -> bytes:
    """IEEE 802.3 with LLC and SNAP."""
    body = b"\xaa\xaa\x03\x00\x00\x00" + ethertype(packet) + packet
    return bytes.fromhex((ROUTER_MAC + SPEAKER_MAC).replace(":", "")) + struct.pack(">H", len(body)) + body


def sll(packet: bytes) -> bytes:
    return (
        struct.pack(">HHH", 4, 1, 6)
        + bytes.fromhex(SPEAKER_MAC.replace(":", ""))
        + b"\0\0"
        + ethertype(packet)
        + packet
    )


def sll2(packet: bytes) -> bytes:
    mac = bytes.fromhex(SPEAKER_MAC.replace(":", ""))
    return ethertype(packet) + struct.pack(">HIHBB", 0, 3, 1, 4, 6) + mac + b"\0\0" + packet


def null(packet: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}I", 30 if packet[0] >> 4 == 6 else 2) + packet


# --- messages that carry names


def client_hello(name: bytes | None, *, padding: int = 0) -> bytes:
    """A ClientHello handshake message; `padding` bytes of extension come before the server name."""
    extensions = b""
    if padding:
        extensions += struct.pack(">HH", 21, padding) + bytes(padding)
    if name is not None:
        extensions += struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    extensions += struct.pack(">HHBH", 43, 3, 2, 0x0304)
    body = (
        b"\x03\x03"
        + bytes(range(32))
        + b"\0"
        + b"\0\x02\x13\x01"
        + b"\x01\0"
        + struct.pack(">H", len(extensions))
        + extensions
    )
    return b"\x01" + len(body).to_bytes(3, "big") + body


def tls_records(message: bytes, size: int = 1 << 14) -> bytes:
    """A handshake message in TLS records of at most `size` bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(part)) + part for part in parts)


def hello_stream(name: bytes | None, *, padding: int = 0) -> bytes:
    return tls_records(client_hello(name, padding=padding))


def dns_name(name: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name.split(b".") if label) + b"\0"


def dns_query(name: bytes, kind: int = 1) -> bytes:
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + dns_name(name) + struct.pack(">HH", kind, 1)


def dns_answer(name: bytes, addresses: Sequence[str], cnames: Sequence[bytes] = (), ttl: int = 60) -> bytes:
    """A response: `name` through `cnames` to `addresses`; owners are compressed where they are the asked name."""
    kind = 28 if any(":" in address for address in addresses) else 1
    owners = [b"\xc0\x0c", *map(dns_name, cnames)]
    records = [
        owner + struct.pack(">HHIH", 5, 1, ttl, len(target)) + target
        for owner, target in zip(owners, map(dns_name, cnames), strict=False)
    ]
    for address in addresses:
        data = packed(address)
        records.append(owners[-1] + struct.pack(">HHIH", 28 if len(data) == 16 else 1, 1, ttl, len(data)) + data)
    header = struct.pack(">HHHHHH", 7, 0x8180, 1, len(records), 0, 0)
    return header + dns_name(name) + struct.pack(">HH", kind, 1) + b"".join(records)


def http_request(host: bytes, path: bytes = b"/") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nUser-Agent: x\r\nhost:  " + host + b" \r\nAccept: */*\r\n\r\n"


def varint(number: int) -> bytes:
    return struct.pack(">H", 0x4000 | number)


def crypto_frame(offset: int, data: bytes) -> bytes:
    return b"\x06" + varint(offset) + varint(len(data)) + data


def quic_initial(
    frames: bytes,
    destination_id: bytes,
    *,
    key_id: bytes | None = None,
    version: int = 1,
    number: int = 0,
    size: int = 1200,
) -> bytes:
    """A client's protected Initial packet padded to `size` bytes; keys come from `key_id`, or `destination_id`."""
    v2 = version == 0x6B3343CF
    salt = {
        1: "38762cf7f55934b34d179ae6a4c80cadccbb7f0a",
        0x6B3343CF: "0dede3def700a6db819381be6e269dcbf9bd2ed9",
        0xFF00001D: "afbfec289993d24c9e9786f19c6111e04390a899",
    }[version]
    extract = hmac.HMAC(bytes.fromhex(salt), hashes.SHA256())
    extract.update(key_id or destination_id)

    def expand(secret: bytes, label: str, length: int) -> bytes:
        full = b"tls13 " + label.encode()
        info = struct.pack(">HB", length, len(full)) + full + b"\0"
        return HKDFExpand(hashes.SHA256(), length, info).derive(secret)

    secret = expand(extract.finalize(), "client in", 32)
    label = "quicv2 " if v2 else "quic "
    key, iv, hp = (expand(secret, label + part, length) for part, length in (("key", 16), ("iv", 12), ("hp", 16)))
    header = bytes([0xC0 | (1 << 4 if v2 else 0) | 3]) + struct.pack(">I", version)
    header += bytes([len(destination_id)]) + destination_id + b"\x04\x01\x02\x03\x04" + b"\0"
    plain = frames.ljust(size - len(header) - 2 - 4 - 16, b"\0")
    header += varint(4 + len(plain) + 16) + struct.pack(">I", number)
    nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big"), strict=True))
    sealed = AESGCM(key).encrypt(nonce, plain, header)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(sealed[:16])
    start = len(header) - 4
    masked = bytes(a ^ b for a, b in zip(header[start:], mask[1:5], strict=True))
    return bytes([header[0] ^ mask[0] & 0x0F]) + header[1:start] + masked + sealed


def quic_hello(name: bytes, destination_id: bytes, *, version: int = 1) -> bytes:
    """A datagram with a whole ClientHello for `name`."""
    return quic_initial(crypto_frame(0, client_hello(name)), destination_id, version=version)


def one_of_each() -> list[bytes]:
    """A small corpus: packets of every kind that the reader looks into."""
    segment = udp_segment(SPEAKER, 7000, SERVER, 99, bytes(200))
    chain = [(0, bytes(6)), (51, bytes(10)), (60, bytes(6))]
    split = hello_stream(b"split.test")
    return [
        udp(RESOLVER, 53, SPEAKER, 3333, dns_answer(b"asked.test", [SERVER, "9.9.9.9"], [b"alias.cdn.test"])),
        udp(RESOLVER, 53, SPEAKER, 3334, dns_answer(b"six.test", [SERVER6])),
        *connection(SPEAKER, 40001, SERVER, 443, [(0, split[:50]), (50, split[50:])]),
        *connection(SPEAKER6, 40002, SERVER6, 80, [(0, http_request(b"http.test"))]),
        udp(SPEAKER, 50000, SERVER, 443, quic_hello(b"quic.test", b"\x08" * 8)),
        ip(SPEAKER, SERVER, 17, segment[:104], more=True),
        ip(SPEAKER, SERVER, 17, segment[104:], offset=104),
        udp(SPEAKER6, 5000, SERVER6, 99, b"x", extensions=chain),
        udp(SPEAKER6, 5001, SERVER6, 99, bytes(16), more=True),
        ip(SERVER, SPEAKER, 1, b"\x03\x03\0\0\0\0\0\0" + udp(SPEAKER, 5000, "9.9.9.9", 99, b"x")),
        tcp(RESOLVER, 53, SPEAKER, 41000, ACK, 1, b"\0\x29" + dns_answer(b"tcp.test", [SERVER])),
    ]
