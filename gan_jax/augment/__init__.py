"""Differentiable augmentation of D's images: pure functions `(keys [B], images) -> images`."""

from gan_jax.augment.ada import PIPES, ada, adapt
from gan_jax.augment.diffaugment import AUGMENTATIONS, diff_augment

__all__ = ["AUGMENTATIONS", "PIPES", "ada", "adapt", "diff_augment"]
