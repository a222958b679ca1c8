"""Addresses in DNS responses (RFC 1035, 3596). Pure functions over one message."""

from __future__ import annotations

from dataclasses import dataclass

_HEADER = 12
_IN = 1
_A, _CNAME, _AAAA = 1, 5, 28
_ADDRESS_LENGTH = {_A: 4, _AAAA: 16}
_LONGEST_NAME = 255
_MAX_ALIASES = 64


@dataclass(frozen=True)
class AddressRecord:
    """`name` (raw bytes) was answered with the packed `address`, to be kept for `ttl` seconds."""

    name: bytes
    address: bytes
    ttl: int


def read_response(message: bytes) -> list[AddressRecord]:
    """The addresses that a response gives, each under the name that was asked for, through its CNAMEs.

    An address whose owner is not reached from a question keeps its owner's name. A message that ends early gives what
    came before. Queries, and responses to other operations, give nothing.

    Raises:
        ValueError: it is not a DNS message.
    """
    if len(message) < _HEADER:
        raise ValueError("shorter than a DNS header")
    flags, questions, answers = (int.from_bytes(message[at : at + 2], "big") for at in (2, 4, 6))
    if not flags & 0x8000 or flags & 0x7800:
        return []
    names: dict[int, bytes] = {}
    asked: dict[bytes, bytes] = {}
    at = _HEADER
    for _ in range(questions):
        name, at = _name(message, at, names)
        if at + 4 > len(message):
            raise ValueError("ends inside a question")
        asked.setdefault(name.lower(), name)
        at += 4
    aliases: list[tuple[bytes, bytes]] = []
    found: list[tuple[bytes, bytes, int]] = []
    for _ in range(answers):
        try:
            owner, at = _name(message, at, names)
        except ValueError:
            break
        kind, of_class, ttl, length = (
            int.from_bytes(message[at + first : at + last], "big") for first, last in ((0, 2), (2, 4), (4, 8), (8, 10))
        )
        at += 10
        if at + length > len(message):
            break
        if of_class == _IN and length == _ADDRESS_LENGTH.get(kind):
            found.append((owner, message[at : at + length], ttl))
        elif of_class == _IN and kind == _CNAME and len(aliases) < _MAX_ALIASES:
            try:
                aliases.append((owner.lower(), _name(message, at, names)[0].lower()))
            except ValueError:
                break
        at += length
    for _ in aliases:  # their order in the message is not promised
        for owner, target in aliases:
            if owner in asked:
                asked.setdefault(target, asked[owner])
    return [AddressRecord(asked.get(owner.lower(), owner), address, ttl) for owner, address, ttl in found]


def _name(message: bytes, at: int, known: dict[int, bytes]) -> tuple[bytes, int]:
    """The name at `at` and the position after it; `known` remembers the names that pointers lead to."""
    labels: list[bytes] = []
    begin, after, length = at, -1, 0
    visited: list[tuple[int, int]] = []  # (position pointed to, labels before it)
    while True:
        if at >= len(message):
            raise ValueError("ends inside a name")
        size = message[at]
        if size >= 0xC0:
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            if after < 0:
                after = at + 2
            if target >= begin or at + 2 > len(message):  # only backwards, so that it ends
                raise ValueError("a pointer does not lead back")
            if target in known:
                labels.append(known[target])
                length += len(known[target])
                break
            visited.append((target, len(labels)))
            begin = at = target
            continue
        if size >= 0x40:
            raise ValueError("a label of an unknown kind")
        at += 1
        if size == 0:
            break
        if at + size > len(message):
            raise ValueError("ends inside a label")
        # A dot inside a label is no separator: the backslash makes it an invalid host name.
        labels.append(message[at : at + size].replace(b".", b"\\."))
        length += size + 1
        at += size
        if length > _LONGEST_NAME:
            raise ValueError("a name of more than 255 bytes")
    if length > _LONGEST_NAME:
        raise ValueError("a name of more than 255 bytes")
    for target, before in visited:
        known[target] = b".".join(label for label in labels[before:] if label)
    return b".".join(label for label in labels if label), after if after >= 0 else at
