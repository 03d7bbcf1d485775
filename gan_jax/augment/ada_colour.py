"""Colour part of ADA: one 4x4 matrix per image for brightness, contrast, luma flip, hue and saturation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.augment.ada_draws import angle

COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")

BRIGHTNESS = 0.2  # standard deviation of the offset
CONTRAST = 0.5  # standard deviation of log2 of the factor
SATURATION = 1.0  # the same

Scalars = dict[str, jax.Array]

_LUMA = np.array([1, 1, 1, 0], np.float32) / np.sqrt(np.float32(3))
_GREY = np.outer(_LUMA, _LUMA)  # projection onto the axis of greys
_TURN = np.zeros((4, 4), np.float32)  # the cross product with the axis
_TURN[:3, :3] = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.sqrt(np.float32(3))


def colour_matrix(on: Scalars, uniform: Scalars, normal: Scalars, channels: int) -> jax.Array:
    """Computes the `[4, 4]` map of (R, G, B, 1); grey images have no hue and saturation.

    Args:
      on: name -> `[1]` bool, whether the transform is applied.
      uniform, normal: name -> `[1]` draws.
      channels: number of channels of the image.
    """
    eye, grey, turn = jnp.eye(4), jnp.asarray(_GREY), jnp.asarray(_TURN)
    theta = angle(uniform["hue"][0])
    contrast = jnp.exp2(normal["contrast"][0] * CONTRAST)
    saturation = jnp.exp2(normal["saturation"][0] * SATURATION)
    around = jnp.diag(jnp.array([1.0, 1.0, 1.0, 0.0])) - grey
    steps = {
        "brightness": eye.at[:3, 3].set(normal["brightness"][0] * BRIGHTNESS),
        "contrast": eye.at[(0, 1, 2), (0, 1, 2)].set(contrast),
        "lumaflip": eye - 2 * grey * jnp.floor(2 * uniform["lumaflip"][0]),
        "hue": eye + jnp.sin(theta) * turn + (jnp.cos(theta) - 1) * around,  # Rodrigues
        "saturation": eye + (saturation - 1) * around,
    }
    matrix = eye
    for name in COLOUR[:3] if channels == 1 else COLOUR:
        matrix = jnp.matmul(jnp.where(on[name][0], steps[name], eye), matrix, precision="highest")
    return matrix


def recolour(matrix: jax.Array, image: jax.Array) -> jax.Array:
    """Applies `matrix [4, 4]` to `[H, W, C]`: grey by the mean of its rows, or RGB; a fourth channel is not changed."""
    if image.shape[-1] == 1:
        row = matrix[:3].mean(0)
        return image * row[:3].sum() + row[3]
    x = [image[..., i] for i in range(3)]  # three products and sums in place of a product of matrices 3 wide
    colours = [sum((matrix[i, j] * x[j] for j in range(3)), start=matrix[i, 3]) for i in range(3)]
    return jnp.stack([*colours, *(image[..., i] for i in range(3, image.shape[-1]))], -1)
