"""Short, stable identifiers for rows."""

import hashlib


def row_id(*parts: object) -> str:
    """Twelve hexadecimal digits that depend on nothing but `parts`, in order."""
    joined = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
