"""Differentiable augmentation of what D sees: pure functions `(keys [B], images) -> images`."""

from gan_jax.augment.diffaugment import AUGMENTATIONS, diff_augment

__all__ = ["AUGMENTATIONS", "diff_augment"]
