"""Consent strings: IAB Transparency and Consent Framework, version 2 core strings.

They are a trap of the lab: kept in a cookie, different between browsers (they hold the moment of the choice to a
tenth of a second), and sent to everybody; yet they identify nobody.
"""

from __future__ import annotations

import base64

US_PRIVACY = "1YNN"
_VENDORS = 128


def consent_string(made_at_us: int) -> str:
    """The string of a person who agreed to everything at that time (UTC microseconds)."""
    tenths = made_at_us // 100_000
    fields = (
        (2, 6),  # version
        (tenths, 36),  # created
        (tenths, 36),  # last updated
        (300, 12),  # consent management platform
        (1, 12),  # its version
        (0, 6),  # screen
        (4, 6),  # language: E
        (13, 6),  # language: N
        (48, 12),  # vendor list
        (4, 6),  # policy version
        (0, 1),  # service specific
        (0, 1),  # non-standard texts
        (3, 12),  # special features
        (2**24 - 1, 24),  # purposes consented to
        (0, 24),  # purposes of legitimate interest
        (0, 1),  # purpose one is treated as all others
        (20, 6),  # publisher's country: U
        (18, 6),  # publisher's country: S
        (_VENDORS, 16),  # vendors consented to, as one bit each
        (0, 1),
        (2**_VENDORS - 1, _VENDORS),
        (0, 16),  # vendors of legitimate interest: none
        (0, 1),
        (0, 12),  # publisher restrictions: none
    )
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
