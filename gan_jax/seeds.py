"""Seeds: whole numbers from 0 to 2^64 - 1; every bit counts.

`jax.random.key` keeps only the low 32 bits of a seed (where 64-bit types are off), so that 2^32 would draw the same as 0.
"""

from __future__ import annotations

import zlib

import jax

from gan_jax.documents import shown

LIMIT = 2**64


class SeedError(ValueError):
    """A seed that is no whole number from 0 to 2^64 - 1."""


def check_seed(seed: int, name: str = "seed") -> int:
    """Checks a seed; returns it as an int.

    Args:
      seed: to check.
      name: of its field or option, for the message.

    Raises:
      SeedError: it is negative, too large, or no whole number.
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise SeedError(f"{name} must be a whole number, not {shown(seed)}")
    if not 0 <= seed < LIMIT:
        raise SeedError(f"{name} is {shown(seed)}; use a whole number from 0 to 2^64 - 1")
    return seed.__index__()


def root_key(seed: int, name: str = "seed") -> jax.Array:
    """The PRNG key of a seed: below 2^32 that of `jax.random.key`; above, the higher 32 bits are folded in."""
    low, high = _words(check_seed(seed, name))
    key = jax.random.key(low)
    return jax.random.fold_in(key, high) if high else key


def word_of(seed: int, name: str = "seed") -> int:
    """A seed as 32 bits: itself below 2^32; above, a checksum of all bits."""
    low, high = _words(check_seed(seed, name))
    return zlib.crc32(seed.__index__().to_bytes(8, "little")) if high else low


def _words(seed: int) -> tuple[int, int]:
    return seed & 0xFFFFFFFF, seed >> 32
