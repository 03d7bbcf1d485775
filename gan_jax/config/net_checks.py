"""Which networks cannot be built, and what to change: what all families have in common, and what each says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from gan_jax.config.nets import NetConfig


def net_problems(net: NetConfig) -> Iterator[str]:
    """One line for everything that is wrong with a pair's configuration, whose values are of their kinds and sizes."""
    yield from net.problems()
    if net.channels not in (1, 3, 4) and not net.any_channels:
        yield f"net.channels is {net.channels}; use 1 (grey), 3 (RGB) or 4 (RGBA)"
    if net.num_classes < 0 or net.num_classes == 1:
        yield f"net.num_classes is {net.num_classes}; use 0 (unconditional) or at least 2"
