"""Damage for fuzzing: what happens to bytes on the way."""

import random


def damaged(rng: random.Random, data: bytes) -> bytes:
    """`data` with one to four things done to it: bytes set, flipped, cut out, put in, repeated, or cut off."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        to = min(at + rng.choice([1, 1, 2, 4, 40]), len(out))
        match rng.randrange(7):
            case 0:
                out[at:to] = rng.randbytes(to - at)
            case 1:
                out[at:to] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xC0, 0xFF])]) * (to - at)
            case 2:
                out[at:to] = bytes(byte ^ (1 << rng.randrange(8)) for byte in out[at:to])
            case 3:
                del out[at:to]
            case 4:
                out[at:at] = rng.randbytes(to - at)
            case 5:
                out[at:at] = out[at:to] * rng.randint(1, 3)
            case 6:
                del out[at:]
    return bytes(out)
