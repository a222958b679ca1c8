"""Foreign text made safe to look at: characters that hide, reorder or break text are named instead of obeyed."""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime
from decimal import Decimal

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
NOTHING = "—"


def visible(text: str, keep: str = "") -> str:
    """`text` with every control, bidirectional, zero-width or unassigned character written as ``⟨U+202E⟩``.

    Characters in `keep` (line breaks in SQL, say) stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(f"⟨U+{ord(c):04X}⟩" if c not in keep and unicodedata.category(c) in _HIDDEN else c for c in text)


def words(value: object) -> str:
    """Any cell of a result as one line of visible text; null as a dash, lists joined by commas."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, Decimal):
        return plain_number(int(value) if value == value.to_integral_value() else float(value))
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, list | tuple):
        return ", ".join(words(part) for part in value) or NOTHING
    return visible(str(value))


def plain_number(value: int | float) -> str:
    """A number that reads back as itself: ``0.25``, ``12``, ``inf``."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def moment(at: datetime) -> str:
    """A time in UTC to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def size(value: int) -> str:
    """Bytes in decimal units, at most three digits that count: ``1.2 MB``."""
    amount = float(value)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(amount) < 999.5 or unit == "GB":
            break
        amount /= 1000
    if unit == "bytes":
        return f"{value} bytes"
    return f"{amount:.1f} {unit}" if abs(amount) < 99.95 else f"{amount:,.0f} {unit}"


def share(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.0f} %"


def dollars(value: float) -> str:
    """A CPM in US dollars, three digits that count."""
    return f"${significant(value)}"


def probability(value: float) -> str:
    """A p-value; those too small to be believed to their digits as a bound."""
    return "< 0.0001" if value < 1e-4 else significant(value)


def significant(value: float) -> str:
    """Three digits that count, without an exponent where people would not expect one; ``unbounded`` for infinity."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "unbounded"
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e7):
        return f"{value:.2e}"
    digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    shown = f"{value:,.{digits}f}"
    return shown.rstrip("0").rstrip(".") if digits > 2 and "." in shown else shown
