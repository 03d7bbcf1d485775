"""Adversarial losses: `(logits_real [B], logits_fake [B]) -> (d [B], g [B])`, both minimised, per example.

Logits are unbounded scores; above 0 means real. One signature serves both sides, since the relativistic G
loss also reads real logits. Only the differentiated side costs time.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Loss = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def non_saturating(logits_real: jax.Array, logits_fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """D: sp(-real) + sp(fake); G: sp(-fake), with sp(t) = log(1 + e^t) (Goodfellow et al., 2014)."""
    return jax.nn.softplus(-logits_real) + jax.nn.softplus(logits_fake), jax.nn.softplus(-logits_fake)


def hinge(logits_real: jax.Array, logits_fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """D: max(0, 1 - real) + max(0, 1 + fake); G: -fake (Lim & Ye, 2017; Miyato et al., 2018)."""
    return jax.nn.relu(1 - logits_real) + jax.nn.relu(1 + logits_fake), -logits_fake


def wasserstein(logits_real: jax.Array, logits_fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """D: fake - real; G: -fake (Arjovsky et al., 2017). Needs a Lipschitz D: see `gradient_penalty`."""
    return logits_fake - logits_real, -logits_fake


def least_squares(logits_real: jax.Array, logits_fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """D: ((real - 1)^2 + fake^2) / 2; G: (fake - 1)^2 / 2 (Mao et al., 2017)."""
    return (jnp.square(logits_real - 1) + jnp.square(logits_fake)) / 2, jnp.square(logits_fake - 1) / 2


def relativistic(logits_real: jax.Array, logits_fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """D: sp(fake - real); G: sp(real - fake), pairing real i with fake i (Jolicoeur-Martineau, 2018; R3GAN, 2024)."""
    return jax.nn.softplus(logits_fake - logits_real), jax.nn.softplus(logits_real - logits_fake)


LOSSES: dict[str, Loss] = {
    "non_saturating": non_saturating,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "least_squares": least_squares,
    "relativistic": relativistic,
}

HALVED = frozenset({"least_squares"})  # losses that `LOSSES` has half of


def whole(name: str) -> Loss:
    """The loss as a sum of whole sides, for D those of real and of fake, for G one: least squares without its halves.

    Translators weigh this sum: pix2pix, CycleGAN and CUT take half of D's and all of G's.
    """
    factor = 2.0 if name in HALVED else 1.0

    def loss(logits_real: jax.Array, logits_fake: jax.Array) -> tuple[jax.Array, jax.Array]:
        d, g = LOSSES[name](logits_real, logits_fake)
        return factor * d, factor * g

    return loss


G_SEES_REAL = frozenset({"relativistic"})  # losses whose G side depends on real logits
