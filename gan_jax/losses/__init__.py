"""Adversarial losses and penalties, per example; the caller reduces them."""

from gan_jax.losses.adversarial import LOSSES
from gan_jax.losses.correspondence import two_way_nearest
from gan_jax.losses.patch_nce import patch_nce
from gan_jax.losses.penalties import gradient_penalty, lecam, orthogonal_penalty, path_lengths, squared_gradient

__all__ = [
    "LOSSES",
    "gradient_penalty",
    "lecam",
    "orthogonal_penalty",
    "patch_nce",
    "path_lengths",
    "squared_gradient",
    "two_way_nearest",
]
