"""DiffAugment: what each transform does to a pixel, how often, and that nothing depends on the rest of the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import AUGMENTATIONS, diff_augment
from gan_jax.augment.diffaugment import color, cutout, translation

POLICY = ("color", "translation", "cutout")


def keys(n: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


def noise(n: int, size: int = 16, channels: int = 3) -> jax.Array:
    return jax.random.uniform(jax.random.key(9), (n, size, size, channels), minval=-1.0)


def test_no_policy_changes_nothing():
    images = noise(3)
    np.testing.assert_array_equal(diff_augment((), keys(3), images), images)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_shape_and_dtype_stay(name, channels):
    images = noise(4, channels=channels)
    out = AUGMENTATIONS[name](keys(4), images)
    assert out.shape == images.shape and out.dtype == images.dtype
    assert np.isfinite(out).all() and np.abs(out - images).max() > 0.01


def test_an_image_depends_on_its_own_key_only():
    images, k = noise(6), keys(6)
    apply = jax.jit(lambda k, x: diff_augment(POLICY, k, x))
    whole = apply(k, images)
    halves = np.concatenate([apply(k[:3], images[:3]), apply(k[3:], images[3:])])
    np.testing.assert_allclose(whole, halves, atol=1e-6)
    order = np.array([4, 2, 0, 1, 5, 3])
    np.testing.assert_allclose(apply(k[order], images[order]), whole[order], atol=1e-6)
    assert np.abs(apply(keys(6, 1), images) - whole).max() > 0.1, "another key, another image"


def test_two_augmentations_of_a_policy_draw_apart():
    images, k = noise(8), keys(8)
    twice = diff_augment(("color", "color"), k, images)
    fold = lambda i: jax.vmap(jax.random.fold_in, (0, None))(k, i)
    np.testing.assert_allclose(twice, color(fold(1), color(fold(0), images)), rtol=1e-6)
    assert np.abs(twice - color(fold(0), color(fold(0), images))).max() > 1e-2


@pytest.mark.parametrize("policy", [*((name,) for name in AUGMENTATIONS), POLICY])
def test_gradients_flow(policy):
    images, k = noise(4), keys(4)
    value, gradient = jax.value_and_grad(lambda x: diff_augment(policy, k, x).sum())(images)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert (np.abs(gradient) > 0).any(axis=(1, 2, 3)).all(), "every image has some"
    if policy in (("translation",), ("cutout",)):
        assert set(np.unique(gradient)) == {0.0, 1.0}, "seen pixels count once, hidden ones not at all"


def test_colour_is_brightness_then_saturation_then_contrast():
    images, k = noise(64, 8), keys(64)
    u = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(k)
    for i, out in enumerate(np.asarray(color(k, images))):
        x = np.asarray(images[i], np.float64) + float(u[i, 0]) - 0.5
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * 2 * float(u[i, 1])
        np.testing.assert_allclose(out, x.mean() + (x - x.mean()) * (float(u[i, 2]) + 0.5), atol=1e-5)
    shift = np.asarray(color(k, images)).mean((1, 2, 3)) - np.asarray(images).mean((1, 2, 3))
    assert -0.5 <= shift.min() < -0.4 and 0.4 < shift.max() <= 0.5


def test_colour_ranges_on_grey():
    """One channel has no saturation; contrast is the ratio of deviations, from 0.5 to 1.5."""
    images = noise(200, 8, 1)
    ratio = np.asarray(color(keys(200), images)).std((1, 2, 3)) / np.asarray(images).std((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.56 and 1.44 < ratio.max() <= 1.5 + 1e-5


def test_colour_leaves_alpha_alone():
    images, k = noise(4, channels=4), keys(4)
    out = color(k, images)
    np.testing.assert_array_equal(out[..., 3], images[..., 3])
    np.testing.assert_array_equal(out[..., :3], color(k, images[..., :3]))


def moved(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """A roll whose wrapped part is zero."""
    out = np.roll(image, (dy, dx), (0, 1))
    height, width = image.shape[:2]
    rows, columns = np.arange(height)[:, None] - dy, np.arange(width)[None, :] - dx
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return out * inside[..., None]


def shifts(size: int, n: int) -> np.ndarray:
    """`[n, 2]` shifts, read off a dot in the middle."""
    dot = jnp.zeros((n, size, size, 1)).at[:, size // 2, size // 2].set(1.0)
    return np.stack(np.nonzero(np.asarray(translation(keys(n), dot)))[1:3], -1) - size // 2


@pytest.mark.parametrize("size", [16, 32])
def test_translation_is_a_roll_with_zeros(size):
    images, n = np.asarray(noise(16, size)), 16
    out = np.asarray(translation(keys(n), jnp.asarray(images)))
    for image, result, (dy, dx) in zip(images, out, shifts(size, n)):
        np.testing.assert_array_equal(result, moved(image, dy, dx))


@pytest.mark.parametrize("size", [16, 32])
def test_shifts_are_uniform(size):
    n, reach = 2000, size // 8
    drawn = shifts(size, n)
    expected = n / (2 * reach + 1)
    for axis in (0, 1):
        values, counts = np.unique(drawn[:, axis], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-reach, reach + 1))
        np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(expected))
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1, "rows and columns move apart"


def test_cutout_hides_a_square_of_half_the_size():
    n, size = 3000, 16
    hidden = np.asarray(cutout(keys(n), jnp.ones((n, size, size, 2)))) == 0
    np.testing.assert_array_equal(hidden[..., 0], hidden[..., 1])
    rows, columns = hidden[..., 0].any(2).sum(1), hidden[..., 0].any(1).sum(1)
    np.testing.assert_array_equal(hidden[..., 0].sum((1, 2)), rows * columns)  # a rectangle
    for side in (rows, columns):
        assert side.min() == size // 4 and side.max() == size // 2
        # centres 0..16 in equal numbers: 9 of 17 see the whole square, two each see 4, 5, 6 and 7 px of it
        np.testing.assert_allclose(side.mean(), (9 * 8 + 2 * (4 + 5 + 6 + 7)) / 17, atol=0.12)
    seen = np.asarray(cutout(keys(4), noise(4)))
    assert ((seen == np.asarray(noise(4))) | (seen == 0)).all()
