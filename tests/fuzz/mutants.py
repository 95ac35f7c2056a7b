"""Changes sound files into unsound ones: the same ones for the same seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

TELLING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
HOW_MANY = (1, 1, 1, 1, 2, 2, 3, 8)


def mutant(seeds: Sequence[bytes], number: int, seed: int = 0) -> bytes:
    """One of them with a few changes: bits, bytes, numbers, pieces left out, doubled, moved, or taken from another."""
    rng = random.Random(f"{seed}/{number}")
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice(HOW_MANY)):
        if not data:
            break
        CHANGES[rng.randrange(len(CHANGES))](data, rng, seeds)
    return bytes(data)


def _bit(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.choice([*TELLING, rng.randrange(256)])


def _early_byte(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    """Headers are where a change tells most."""
    data[rng.randrange(min(len(data), 64))] = rng.choice([*TELLING, rng.randrange(256)])


def _number(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    size = rng.choice((2, 4, 8))
    at = rng.randrange(len(data))
    value = rng.choice((0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), rng.randrange(1 << 8 * size)))
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _cut(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _left_out(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 64)]


def _doubled(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at, size = rng.randrange(len(data)), rng.randint(1, 256)
    data[at:at] = data[at : at + size] * rng.randint(1, 8)


def _spliced(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    if other:
        start, at = rng.randrange(len(other)), rng.randrange(len(data))
        data[at:at] = other[start : start + rng.randint(1, 512)]


CHANGES = (_bit, _byte, _early_byte, _number, _cut, _left_out, _doubled, _spliced)
