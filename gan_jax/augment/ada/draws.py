"""Random draws of ADA for each image: gates of the transforms, and their strengths.

A drawing function is `(keys [B], (H, W, C) or None) -> Draws`; the shape is that of the noise, or None without noise.
Training uses `random_draws`; `percentile_draws` gives every draw the value of the published implementation's own tests, so
that numbers can be compared.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.random_streams import ADA_NOISE_KEY

UNIFORM = {"xflip": 1, "rotate90": 1, "xint": 2, "rotate": 1, "rotate_again": 1, "lumaflip": 1, "hue": 1, "cutout": 2}
NORMAL = {"scale": 1, "aniso": 1, "xfrac": 2, "brightness": 1, "contrast": 1, "saturation": 1, "bands": 4, "noise": 1}
GATES = {name: 4 if name == "bands" else 1 for name in (*UNIFORM, *NORMAL)}  # each band of the filter has a gate

TINY = 2.0**-24  # a uniform draw of exactly 0 would be a normal one of minus infinity


class Draws(NamedTuple):
    """Draws for a batch. A transform is applied to the images whose gate is below its probability.

    Attributes:
      gates: name of a transform -> `[B, n]` uniform in [0, 1).
      uniform: name -> `[B, n]` uniform in [0, 1).
      normal: name -> `[B, n]` standard normal.
      pixels: `[B, H, W, C]` standard normal, or None without noise.
    """

    gates: dict[str, jax.Array]
    uniform: dict[str, jax.Array]
    normal: dict[str, jax.Array]
    pixels: jax.Array | None


Shape = tuple[int, ...] | None
Drawing = Callable[[jax.Array, Shape], Draws]


def random_draws(keys: jax.Array, shape: Shape) -> Draws:
    """Makes independent draws for each key `[B]`, equal for every split of the batch; no noise if `shape` is None.

    All draws are one vector of uniform bits: a program with many generators compiles slowly.
    """
    sizes = [sum(table.values()) for table in (GATES, UNIFORM, NORMAL)]
    u = jax.vmap(lambda key: jax.random.uniform(key, (sum(sizes),), minval=TINY))(keys)
    gates, uniform, normal = jnp.split(u, np.cumsum(sizes)[:2], axis=1)
    noise = lambda key: jax.random.normal(jax.random.fold_in(key, ADA_NOISE_KEY), shape or ())
    return Draws(
        gates=_named(gates, GATES),
        uniform=_named(uniform, UNIFORM),
        normal=_named(jax.scipy.special.ndtri(normal), NORMAL),
        pixels=None if shape is None else jax.vmap(noise)(keys),
    )


def percentile_draws(percentile: float, pixels: jax.Array | None = None) -> Drawing:
    """Makes draws that apply every transform at one percentile in (0, 1), by the published convention for tests.

    Normal draws are `erfinv(2 percentile - 1)`, without the square root of two that a true percentile has; the size
    of the noise, a half-normal, is `erfinv(percentile)`; the second rotation is zero, or the two would add up.

    Args:
      percentile: percentile of uniform and normal draws.
      pixels: `[B, H, W, C]` noise, which has no percentile; None = random noise from the keys.

    Raises:
      ValueError: the percentile is not in (0, 1), where normal draws are finite.
    """
    if not 0 < percentile < 1:
        raise ValueError(f"percentile is {percentile}; use one between 0 and 1, both excluded")

    def erfinv(x: float) -> float:
        return statistics.NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2)

    def draw(keys: jax.Array, shape: Shape) -> Draws:
        def full(sizes: dict[str, int], value: float) -> dict[str, jax.Array]:
            return {name: jnp.full((len(keys), n), value) for name, n in sizes.items()}

        return Draws(
            gates=full(GATES, 0.0),
            uniform=full(UNIFORM, percentile) | full({"rotate_again": 1}, 0.5),
            normal=full(NORMAL, erfinv(2 * percentile - 1)) | full({"noise": 1}, erfinv(percentile)),
            pixels=random_draws(keys, shape).pixels if pixels is None and shape else pixels,
        )

    return draw


def probabilities(p: jax.Array) -> dict[str, jax.Array]:
    """Returns each transform's probability at strength `p []`; at least one of two rotations has probability p."""
    rotation = 1 - jnp.sqrt(jnp.clip(1 - p, 0, 1))
    return {name: rotation if name in ("rotate", "rotate_again") else p for name in GATES}


def angle(u: jax.Array) -> jax.Array:
    """Maps a uniform draw to an angle from -pi to pi."""
    return (2 * u - 1) * math.pi


def _named(columns: jax.Array, sizes: dict[str, int]) -> dict[str, jax.Array]:
    """Splits columns `[B, sum]` by name."""
    out, first = {}, 0
    for name, n in sizes.items():
        out[name], first = columns[:, first : first + n], first + n
    return out
