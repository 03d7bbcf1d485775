"""Checks of networks: which cannot be built, and what to change, for all families and by each family."""

from __future__ import annotations

from collections.abc import Iterator

from gan_jax.config.nets import NetConfig


def net_problems(net: NetConfig) -> Iterator[str]:
    """Yields a line for every problem of a pair's configuration, whose values have checked types and sizes."""
    yield from net.problems()
    if net.channels not in (1, 3, 4) and not net.any_channels:
        yield f"net.channels is {net.channels}; use 1 (grey), 3 (RGB) or 4 (RGBA)"
    if net.num_classes < 0 or net.num_classes == 1:
        yield f"net.num_classes is {net.num_classes}; use 0 (unconditional) or at least 2"
