"""Copies of a network that compute the same: channels in a random order, free scales at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gan_jax.surgery.align import permute, rescale
from gan_jax.surgery.align.apply import scale_sizes, sizes_of
from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import flatten
from tests.surgery.pairs import SMALL_DCGAN, SMALL_R3GAN

FAMILIES: list[dict[str, Any]] = [
    {},
    {"num_classes": 3},
    {"base": SMALL_DCGAN},
    {"base": SMALL_R3GAN, "num_classes": 3},
]
# Of a ResNet with classes all is asked that is asked of one without.
NETS = [
    pytest.param(family, net, marks=() if family else pytest.mark.slow) for family in FAMILIES for net in ("g", "d")
]


def name(value: Any) -> str:
    if "base" in value:
        return type(value["base"]).__name__.removesuffix("Config").lower()
    return value if isinstance(value, str) else "conditional" if value else "resnet"


def random_orders(layout: Layout, variables: Any, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = sizes_of(layout, flatten(variables))
    return {group: rng.permutation(n) for group, n in sizes.items() if group not in layout.pinned}


def random_factors(layout: Layout, variables: Any, seed: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = scale_sizes(layout, flatten(variables))
    return {scale: np.exp(rng.uniform(-1.5, 1.5, sizes[scale])) for scale in sizes if scale in layout.free}


def disguised(layout: Layout, variables: Any, seed: int = 3) -> tuple[Any, dict[str, np.ndarray]]:
    """(a copy that computes the same, the orders that were applied)."""
    orders = random_orders(layout, variables, seed)
    return rescale(layout, permute(layout, variables, orders), random_factors(layout, variables)), orders
