"""Adaptive discriminator augmentation (Karras et al., 2020): the pipelines, and the rule for their strength.

Real and generated images get the same transforms before D, which are differentiable. Every transform is applied to each
image independently with probability `p`, which adapts to D's confidence on real images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.augment.ada.colour import (
    COLOUR,
    NOISE,
    add_noise,
    band_gains,
    colour_matrix,
    cut_out,
    filter_bands,
    recolour,
)
from gan_jax.augment.ada.draws import Drawing, Draws, probabilities, random_draws
from gan_jax.augment.ada.geometry import BLIT, GEOMETRIC, geometry_matrix, warp

PIPES: dict[str, tuple[str, ...]] = {
    "blit": BLIT,
    "geom": GEOMETRIC,
    "color": COLOUR,
    "filter": ("bands",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
PIPES["bg"] = (*BLIT, *GEOMETRIC)
PIPES["bgc"] = (*PIPES["bg"], *COLOUR)
PIPES["bgcf"] = (*PIPES["bgc"], "bands")
PIPES["bgcfn"] = (*PIPES["bgcf"], "noise")
PIPES["bgcfnc"] = (*PIPES["bgcfn"], "cutout")

PIPES["r3gan"] = (*PIPES["bgc"], "cutout")
SHARES: dict[str, dict[str, float]] = {
    "r3gan": dict.fromkeys(COLOUR, 0.5)
}  # factors of p, for some transforms of a pipeline

INTERVAL = 4  # minibatches between changes of p


def ada(pipe: str, p: jax.Array | float, keys: jax.Array, images: jax.Array, draw: Drawing = random_draws) -> jax.Array:
    """Transforms images `[B, H, W, C]` float in [-1, 1] -> the same shape, not clipped.

    Colour transforms change the first three channels; a fourth, alpha, is only moved, filtered and cut with the others. A
    part of the pipeline leaves an image exactly unchanged if none of its transforms is applied to it.

    Args:
      pipe: name of a pipeline, of `PIPES`.
      p: `[]` probability of each transform, in [0, 1].
      keys: `[B]` typed PRNG keys, one for each image.
      images: 1 (grey), 3 (RGB) or 4 (RGBA) channels.
      draw: makes the draws from keys; `percentile_draws` is for comparisons.

    Raises:
      ValueError: an unknown pipe, or another number of channels.
    """
    if pipe not in PIPES:
        raise ValueError(f"no ADA pipeline is called {pipe!r}; use one of {', '.join(PIPES)}")
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise ValueError(f"ADA needs images [B, H, W, C] of 1, 3 or 4 channels, not of shape {images.shape}")
    names, p, shares = PIPES[pipe], jnp.asarray(p, jnp.float32), SHARES.get(pipe, {})
    draws = draw(keys, images.shape[1:] if "noise" in names else None)
    chance = probabilities(p)
    on = {name: draws.gates[name] < chance[name] * shares.get(name, 1.0) for name in names}
    out = jax.vmap(lambda on, draws, image: _transform(names, on, draws, image))(on, draws, images.astype(jnp.float32))
    return out.astype(images.dtype)


def _transform(names: tuple[str, ...], on: dict[str, jax.Array], draws: Draws, image: jax.Array) -> jax.Array:
    """Applies all parts of a pipeline to one image `[H, W, C]`."""
    height, width, channels = image.shape

    def some(part: tuple[str, ...]) -> jax.Array:
        return jnp.concatenate([on[name] for name in part if name in names]).any()

    if set(names) & {*BLIT, *GEOMETRIC}:
        matrix = geometry_matrix(names, on, draws.uniform, draws.normal, (height, width))
        image = jnp.where(some((*BLIT, *GEOMETRIC)), warp(matrix, image), image)
    if "hue" in names:
        matrix = colour_matrix(on, draws.uniform, draws.normal, channels)
        image = jnp.where(some(COLOUR), recolour(matrix, image), image)
    if "bands" in names:
        image = jnp.where(some(("bands",)), filter_bands(band_gains(on["bands"], draws.normal["bands"]), image), image)
    if "noise" in names and draws.pixels is not None:
        sigma = NOISE * jnp.abs(draws.normal["noise"][0])
        image = jnp.where(on["noise"][0], add_noise(sigma, draws.pixels, image), image)
    if "cutout" in names:
        image = jnp.where(on["cutout"][0], cut_out(draws.uniform["cutout"], image), image)
    return image


def adapt(p: jax.Array, signs: jax.Array, images: int, target: float = 0.6, kimg: float = 500.0) -> jax.Array:
    """Computes the next strength `p []` in [0, 1]: higher if D is more confident on real images than `target`, else lower.

    Args:
      p: `[]` the current strength.
      signs: signs of D's logits of real images since the last change, any shape; their mean is r_t.
      images: number of images since then, `INTERVAL` minibatches.
      target: the desired r_t.
      kimg: thousand images in which p can go from 0 to 1.
    """
    return jnp.clip(p + jnp.sign(signs.mean() - target) * (images / (kimg * 1000)), 0, 1)
