"""Distances of features between paired images, and the divergence of an encoder's latents, per example."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Maps = Sequence[Sequence[jax.Array]]  # for each scale of D the outputs of its layers, `[B, ...]`

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of a VGG's five stages, the finest first (pix2pixHD)


def mean_over_scales(values: Sequence[jax.Array]) -> jax.Array:
    """Means of maps, and their mean over scales: `[B, ...]` each -> `[B]`. Every scale counts alike, whatever its size."""
    return sum(x.reshape(x.shape[0], -1).mean(1) for x in values) / len(values)  # type: ignore[return-value]


def feature_matching(fake: Maps, real: Maps) -> jax.Array:
    """Mean absolute differences of D's features, summed over its layers and averaged over its scales: `[B]`.

    The last layer, the logits, does not count. Features of real images are constants to the gradient. (Wang et al., 2018;
    without the further factor 4 / (layers + 1) of that paper's code, as in SPADE.)
    """
    total = [
        l1(a, b) for ours, theirs in zip(fake, real, strict=True) for a, b in zip(ours[:-1], theirs[:-1], strict=True)
    ]
    return sum(total) / len(fake)  # type: ignore[return-value]


def perceptual(
    fake: Sequence[jax.Array], real: Sequence[jax.Array], weights: Sequence[float] = VGG_WEIGHTS
) -> jax.Array:
    """Weighted sum over layers of the mean absolute differences of a fixed network's features: `[B]`.

    Features of real images are constants to the gradient.

    Args:
      fake, real: features `[B, ...]` of each layer.
      weights: one for each layer.
    """
    return sum(weight * l1(a, b) for weight, a, b in zip(weights, fake, real, strict=True))  # type: ignore[return-value]


def latent_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of a diagonal normal distribution from the standard one: `[B, D]` each -> `[B]`."""
    return -0.5 * (1 + log_variance - jnp.square(mean) - jnp.exp(log_variance)).sum(-1)


def l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean absolute difference of each example from a constant `b`: `[B, ...]` -> `[B]`."""
    return jnp.abs(a - jax.lax.stop_gradient(b)).reshape(a.shape[0], -1).mean(1)
