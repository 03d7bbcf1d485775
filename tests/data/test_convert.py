from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.data import DataError, load, resize, to_channels, to_float, to_uint8


def random_images(n: int, size: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_to_float_maps_the_bytes_onto_minus_one_to_one_and_back(array):
    x = array(np.arange(256, dtype=np.uint8))
    y = to_float(x)
    assert y.dtype == np.float32
    assert_allclose(np.asarray(y), (np.arange(256) - 127.5) / 127.5, rtol=0, atol=1e-6)
    assert to_uint8(y).dtype == np.uint8
    assert_array_equal(np.asarray(to_uint8(y)), np.arange(256))


def test_to_uint8_clips_and_truncates_under_jit():
    x = jnp.array([-3.0, -1.0, 0.0, 1.0, 2.0, 1e9])
    assert_array_equal(np.asarray(jax.jit(to_uint8)(x)), [0, 0, 128, 255, 255, 255])


@pytest.mark.parametrize("target", [4, 16, 20, 32, 64])
def test_resize_is_pillows_antialiased_bicubic(target):
    from PIL import Image

    x = load("embedded:fashion-mnist").images[:20]
    ours = resize(x, target)[..., 0].astype(float)
    flat = [Image.fromarray(image[..., 0].astype(np.float32)) for image in x]
    theirs = np.stack([np.asarray(image.resize((target, target), Image.Resampling.BICUBIC)) for image in flat])
    assert ours.shape == (20, target, target)
    assert_allclose(ours, theirs.clip(0, 255), rtol=0, atol=0.51)  # half a level of rounding, and 16-bit weights


def test_resize_handles_several_channels_alike_and_chunks(monkeypatch):
    x = random_images(7, 24, 3)
    one_by_one = np.concatenate([resize(x[..., c : c + 1], 10) for c in range(3)], axis=-1)
    assert_array_equal(resize(x, 10), one_by_one)
    monkeypatch.setattr("gan_jax.data.convert._CHUNK_VALUES", 24 * 24 * 3 * 2)
    assert_array_equal(resize(x, 10), one_by_one)


def test_resize_of_a_rectangle_and_of_a_constant():
    x = np.full((2, 9, 5, 1), 77, np.uint8)
    assert_array_equal(resize(x, (4, 13)), np.full((2, 4, 13, 1), 77))
    assert resize(x, (9, 5)) is x
    with pytest.raises(DataError, match="cannot resize to 0 x 0"):
        resize(x, 0)


def test_resize_does_not_let_invisible_colours_bleed():
    x = np.zeros((1, 16, 16, 4), np.uint8)
    x[..., 0] = 255  # red where it cannot be seen
    x[:, 4:12, 4:12] = (0, 255, 0, 255)
    y = resize(x, 6)[0]
    visible = y[..., 3] > 8
    assert visible.any() and not visible.all()
    assert_array_equal(y[visible][:, 0], 0)
    assert_array_equal(y[visible][:, 1], 255)


def test_grey_is_rec_601_luma_as_pillow_has_it():
    from PIL import Image

    x = random_images(3, 16, 3)
    theirs = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in x])
    assert_array_equal(to_channels(x, 1)[..., 0], theirs)


def test_alpha_is_composited_on_white_and_added_as_opaque():
    pixel = lambda *values: np.array(values, np.uint8).reshape(1, 1, 1, -1)  # noqa: E731
    assert_array_equal(to_channels(pixel(10, 20, 30, 0), 3), pixel(255, 255, 255))
    assert_array_equal(to_channels(pixel(10, 20, 30, 255), 3), pixel(10, 20, 30))
    assert_array_equal(to_channels(pixel(0, 255, 100, 128), 3), pixel(127, 255, 177))
    assert_array_equal(to_channels(pixel(0, 0, 0, 0), 1), pixel(255))
    assert_array_equal(to_channels(pixel(9), 3), pixel(9, 9, 9))
    assert_array_equal(to_channels(pixel(9), 4), pixel(9, 9, 9, 255))
    assert_array_equal(to_channels(pixel(1, 2, 3), 4), pixel(1, 2, 3, 255))


def test_to_channels_keeps_what_fits_and_refuses_what_does_not():
    x = random_images(1, 4, 3)
    assert to_channels(x, 3) is x
    with pytest.raises(DataError, match="cannot turn 3 channels into 2"):
        to_channels(x, 2)
