"""DiffAugment (Zhao et al., 2020): the same random, differentiable transforms on real and generated images.

Every image has its own key, so the result is independent of how a batch is split over devices. Shifts and holes are
matrix products and masks: no gather, whose gradient would be a scatter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]  # (keys [B], images [B, H, W, C]) -> images


def diff_augment(policy: Sequence[str], keys: jax.Array, images: jax.Array) -> jax.Array:
    """Applies the named augmentations in order: `images [B, H, W, C]` float in [-1, 1] -> the same shape.

    Args:
      policy: names from `AUGMENTATIONS`.
      keys: `[B]` typed PRNG keys, one for each image.
    """
    for i, name in enumerate(policy):
        images = AUGMENTATIONS[name](jax.vmap(jax.random.fold_in, (0, None))(keys, i), images)
    return images


def color(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Changes brightness by U(-.5, .5), saturation by a factor of U(0, 2), and contrast by a factor of U(.5, 1.5).

    Saturation is relative to the channel mean, contrast to the image mean. A fourth channel, alpha, is not changed.
    """
    u = _uniform(keys, 3)[:, :, None, None, None]
    colour, alpha = (images[..., :3], images[..., 3:]) if images.shape[-1] == 4 else (images, None)
    colour = colour + (u[:, 0] - 0.5)
    grey = colour.mean(-1, keepdims=True)
    colour = grey + (colour - grey) * (2 * u[:, 1])
    mean = colour.mean((1, 2, 3), keepdims=True)
    colour = mean + (colour - mean) * (u[:, 2] + 0.5)
    return colour if alpha is None else jnp.concatenate([colour, alpha], -1)


def translation(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Shifts images by whole pixels, up to an eighth of the size; zeros (mid-grey) fill the border."""
    u = _uniform(keys, 2)
    for axis, draw, form in ((1, u[:, 0], "bij,bjwc->biwc"), (2, u[:, 1], "bij,bhjc->bhic")):
        size = images.shape[axis]
        reach = round(size / 8)
        shift = jnp.floor(draw * (2 * reach + 1)).astype(jnp.int32) - reach
        position = jnp.arange(size)
        select = position[None, :, None] - position[None, None, :] == shift[:, None, None]
        images = jnp.einsum(form, select.astype(images.dtype), images)
    return images


def cutout(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Sets a square of half the size to zero (mid-grey); its centre is anywhere, so it may leave the frame."""
    u = _uniform(keys, 2)
    hidden = []
    for axis, draw in ((1, u[:, 0]), (2, u[:, 1])):
        size = images.shape[axis]
        half = round(size / 2) // 2
        centre = jnp.floor(draw * (size + 1 - round(size / 2) % 2)).astype(jnp.int32)
        position = jnp.arange(size)[None, :]
        hidden.append((position >= centre[:, None] - half) & (position < centre[:, None] + half))
    hole = hidden[0][:, :, None, None] & hidden[1][:, None, :, None]
    return jnp.where(hole, jnp.zeros((), images.dtype), images)


def flip(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors half of the images, left to right."""
    return jnp.where(_uniform(keys, 1)[:, :, None, None] < 0.5, images[:, :, ::-1], images)


def _uniform(keys: jax.Array, n: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.uniform(key, (n,)))(keys)


AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": flip,
    "color": color,
    "translation": translation,
    "cutout": cutout,
}
