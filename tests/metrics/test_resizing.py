"""The three resizings of the literature against what defines them, and networks that take any size through them."""

from __future__ import annotations

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics.features import feature_net
from gan_jax.metrics.networks import NETWORKS, apply_to_pixels, resize_clean, resize_pytorch, resize_tensorflow
from tests.nets.features.random import random_params

SIZES = [(64, 64, 299), (32, 48, 299), (512, 400, 299), (7, 100, 31), (31, 31, 31)]


def pictures(height=9, width=9, channels=3, n=2):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width", "resolution"), SIZES)
def test_tensorflows_reads_at_i_in_over_out(height, width, resolution):
    """The definition, written out in float64."""
    x = pictures(height, width).astype(np.float64)
    expected = x
    for axis in (1, 2):
        size = expected.shape[axis]
        at = np.arange(resolution, dtype=np.float32) * np.float32(size / resolution)
        low = np.floor(at).astype(int)
        high, way = np.minimum(low + 1, size - 1), (at - low).astype(np.float64)
        shape = [1, 1, 1, 1]
        shape[axis] = resolution
        expected = expected.take(low, axis) * (1 - way.reshape(shape)) + expected.take(high, axis) * way.reshape(shape)
    found = jax.jit(resize_tensorflow, static_argnums=1)(x.astype(np.float32), resolution)
    assert_allclose(found, expected, atol=255e-6)
    assert_array_equal(found[:, 0, 0], x[:, 0, 0])  # corner on corner


def test_tensorflows_by_hand():
    x = jnp.asarray([[[[0.0], [10.0]], [[20.0], [30.0]]]])
    rows = [0, 5, 10, 10], [10, 15, 20, 20], [20, 25, 30, 30], [20, 25, 30, 30]
    assert_array_equal(resize_tensorflow(x, 4)[0, ..., 0], rows)


def test_pytorchs_by_hand():
    x = jnp.asarray([[[[0.0], [10.0]], [[20.0], [30.0]]]])
    rows = [0, 2.5, 7.5, 10], [5, 7.5, 12.5, 15], [15, 17.5, 22.5, 25], [20, 22.5, 27.5, 30]
    assert_array_equal(resize_pytorch(x, 4)[0, ..., 0], rows)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="compares with PyTorch, which is not installed")
@pytest.mark.parametrize(("height", "width", "resolution"), SIZES)
def test_pytorchs_is_pytorchs_to_the_last_digit(height, width, resolution):
    import torch

    x = pictures(height, width).astype(np.float32)
    planes = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    size = (resolution, resolution)
    expected = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    found = jax.jit(resize_pytorch, static_argnums=1)(x, resolution)
    assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), rtol=5e-7)


def test_clean_is_pillows_float_filter_of_each_channel_never_rounded():
    from PIL import Image

    x = pictures(40, 23)
    found = resize_clean(x, 9)
    for n in range(2):
        for c in range(3):
            channel = Image.fromarray(x[n, ..., c].astype(np.float32), mode=None)
            expected = np.asarray(channel.resize((9, 9), Image.Resampling.BICUBIC)).clip(0, 255)
            assert_array_equal(found[n, ..., c], expected)
    assert found.dtype == np.float32 and (found != np.round(found)).any()
    sharp = np.zeros((1, 8, 8, 1), np.uint8)
    sharp[:, 4:] = 255
    assert (resize_clean(sharp, 32).min(), resize_clean(sharp, 32).max()) == (0, 255)  # a bicubic filter overshoots


@pytest.fixture(scope="module")
def params():
    return random_params(NETWORKS["alexnet"].specs(), 0)


def test_each_resizing_reaches_the_network(monkeypatch, params):
    """What the FID network would see, through a network that returns its input."""
    seen = lambda params, x: (x.reshape(len(x), -1), None)  # noqa: E731
    fid = NETWORKS["inception-v3-fid"]
    monkeypatch.setitem(NETWORKS, "inception-v3-fid", dataclasses.replace(fid, apply=seen, fold=dict, resolution=11))
    x = pictures(20, 14)
    numbers = lambda option: np.asarray(  # noqa: E731
        (net := feature_net("inception-v3-fid", {}, option=option)).apply(net.prepare(x))[0]
    ).reshape(2, 11, 11, 3)
    pixels = jnp.asarray(x, jnp.float32)
    assert_allclose(numbers(""), (np.asarray(resize_tensorflow(pixels, 11)) - 128) / 128, atol=1e-5)
    assert_allclose(numbers("legacy-pytorch"), np.asarray(resize_pytorch(pixels, 11)) / 127.5 - 1, atol=1e-5)
    assert_allclose(numbers("clean"), (resize_clean(x, 11) - 128) / 128, atol=1e-5)
    grey = pictures(20, 14, 1)
    net = feature_net("inception-v3-fid", {}, option="clean")
    assert_array_equal(net.prepare(grey), resize_clean(np.repeat(grey, 3, 3), 11))
    apply_to_pixels.clear_cache()  # the network under this name is another one again
