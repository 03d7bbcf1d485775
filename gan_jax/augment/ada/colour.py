"""Colour and image-space parts of ADA: brightness to saturation, frequency bands, noise, and a hole."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.augment.ada.draws import angle

# ----------------------------------------------------------------------------------------------------------------------
# Colour part of ADA: one 4x4 matrix per image for brightness, contrast, luma flip, hue and saturation.

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


# ----------------------------------------------------------------------------------------------------------------------
# Image-space part of ADA: gains of four frequency bands, noise, and a hole. Functions of one image `[H, W, C]`.

GAIN = 1.0  # standard deviation of log2 of a band's gain
POWER = np.array([10, 1, 1, 1], np.float32) / 13  # power of the bands in natural images, lowest first
NOISE = 0.1  # standard deviation of the noise's own standard deviation
HOLE = 0.5  # side of the hole, as a fraction of the size

_SYM2 = np.array([-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025])


def band_gains(on: jax.Array, normal: jax.Array) -> jax.Array:
    """Computes the bands' gains `[4]` from gates and draws `[4]`; each change keeps the expected power of an image."""
    gains = jnp.ones(4)
    for i in range(4):
        gain = jnp.where(on[i], jnp.exp2(normal[i] * GAIN), 1.0)
        changed = jnp.ones(4).at[i].set(gain)
        gains *= changed / jnp.sqrt((POWER * changed**2).sum())
    return gains


def filter_bands(gains: jax.Array, image: jax.Array) -> jax.Array:
    """Scales the bands of `[H, W, C]`, along rows and along columns, reflected at the edges.

    The filter of an image is a matrix per axis: the bank is fixed, and matrix products are fast inside loops.
    """
    for axis, form in ((0, "ij,jwc->iwc"), (1, "ij,hjc->hic")):
        matrix = jnp.einsum("b,bij->ij", gains, band_matrices(image.shape[axis]), precision="highest")
        image = jnp.einsum(form, matrix, image, precision="highest")
    return image


def add_noise(sigma: jax.Array, pixels: jax.Array, image: jax.Array) -> jax.Array:
    """Adds white noise `pixels [H, W, C]` of standard deviation `sigma []`."""
    return image + sigma * pixels


def cut_out(centre: jax.Array, image: jax.Array) -> jax.Array:
    """Sets a square of half the size to zero (mid-grey), centred at `centre [2]` (x, y, of the size); it may leave the frame."""

    def inside(n: int, c: jax.Array) -> jax.Array:
        return jnp.abs((np.arange(n, dtype=np.float32) + 0.5) / n - c) < HOLE / 2

    hole = inside(image.shape[0], centre[1])[:, None] & inside(image.shape[1], centre[0])[None, :]
    return jnp.where(hole[..., None], 0, image)


@functools.cache
def filter_bank() -> np.ndarray:
    """Computes `[4, 43]` taps, lowest band first, whose sum is the identity: symmetric wavelet products of sym2."""
    signs = (-1.0) ** np.arange(len(_SYM2))
    low, high = (np.convolve(taps, taps[::-1]) / 2 for taps in (_SYM2, _SYM2 * signs))
    bank = np.eye(4, 1)
    for i in range(1, 4):
        spread = np.zeros((4, 2 * bank.shape[1] - 1))
        spread[:, ::2] = bank
        bank = np.stack([np.convolve(row, low) for row in spread])
        first = (bank.shape[1] - len(high)) // 2
        bank[i, first : first + len(high)] += high
    return bank


@functools.cache
def band_matrices(n: int) -> np.ndarray:
    """Computes the bank as matrices `[4, n, n]` over a line of `n` px that is reflected at its ends."""
    bank = filter_bank()
    reach = bank.shape[1] // 2
    source = np.pad(np.arange(n), reach, mode="reflect")
    out = np.zeros((4, n, n), np.float32)
    for i in range(n):
        for k in range(bank.shape[1]):
            out[:, i, source[i + k]] += bank[:, k]
    return out
