"""ADA: the published numbers, how often each transform falls, and that nothing depends on the rest of the batch."""

from __future__ import annotations

import functools
import math
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import PIPES, ada, adapt
from gan_jax.augment.ada.colour import band_gains, colour_matrix, filter_bank
from gan_jax.augment.ada.draws import GATES, NORMAL, UNIFORM, percentile_draws, probabilities, random_draws
from gan_jax.augment.ada.geometry import geometry_matrix
from tests.golden import golden, golden_files, under
from tests.lanes import default_rows


def keys(n: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


def noise(n: int, size: int = 16, channels: int = 3) -> jax.Array:
    return jax.random.uniform(jax.random.key(9), (n, size, size, channels), minval=-1.0)


@functools.cache
def transform(pipe):
    """`(p, draws, images) -> images`: draws go in as values, so that all of them share one program."""
    return jax.jit(lambda p, draws, images: ada(pipe, p, keys(len(images)), images, lambda *_: draws))


drawn = jax.jit(random_draws, static_argnums=1)


def at_percentile(pipe, percentile, images):
    draws = percentile_draws(percentile, jnp.zeros(images.shape))(keys(len(images)), images.shape[1:])
    return np.asarray(transform(pipe)(1.0, draws, images))


def golden_cases():
    cases = []
    for file in golden_files("ada_*.npz", "ada_32.npz"):
        try:
            names = [name.split("/") for name in under(golden(file), "out/")]
        except pytest.skip.Exception:
            names = [["bgc", "0.3"]]  # which skips by itself and says why
        cases += [(file, pipe, float(p)) for pipe, p in names]
    return cases


@pytest.mark.parametrize(("file", "pipe", "percentile"), golden_cases())
def test_published_numbers(file, pipe, percentile):
    arrays = golden(file)
    nhwc = lambda x: x.transpose(0, 2, 3, 1)
    expected = nhwc(arrays[f"out/{pipe}/{percentile:g}"])
    found = at_percentile(pipe, percentile, jnp.asarray(nhwc(arrays["in/images"])))
    if "noise" not in PIPES[pipe]:
        assert np.abs(found - expected).max() <= 3e-5 * np.abs(expected).max()
        return
    # White noise has no percentile: what is left must be noise of the right size, and nothing else.
    hole = found == 0
    np.testing.assert_array_equal(expected[hole], 0)
    left = (expected - found)[~hole]
    sigma = 0.1 * statistics.NormalDist().inv_cdf((percentile + 1) / 2) / math.sqrt(2)  # erfinv of the percentile
    assert abs(left.std() / sigma - 1) < 4 / np.sqrt(2 * left.size)
    assert abs(left.mean()) < 4 * sigma / np.sqrt(left.size)
    assert abs(np.corrcoef(left, found[~hole])[0, 1]) < 4 / np.sqrt(left.size)
    assert abs(np.corrcoef((expected - found)[:, 1:].ravel(), (expected - found)[:, :-1].ravel())[0, 1]) < 0.05


def test_matrices_by_hand():
    """A shift of an eighth of 32 px, then twice the size, seen from the output; contrast in powers of two."""
    on = {name: jnp.array([name in ("xint", "scale", "contrast")]) for name in GATES}
    uniform = {name: jnp.full(n, 0.5) for name, n in UNIFORM.items()} | {"xint": jnp.array([1.0, 0.5])}
    normal = {name: jnp.ones(n) for name, n in NORMAL.items()} | {"scale": jnp.array([5.0])}
    geometric = geometry_matrix(("xint", "scale"), on, uniform, normal, (16, 32))
    np.testing.assert_allclose(geometric, [[0.5, 0, -4], [0, 0.5, 0], [0, 0, 1]], atol=1e-6)
    colours = colour_matrix(on, uniform, normal, 3)
    np.testing.assert_allclose(colours, np.diag([2**0.5, 2**0.5, 2**0.5, 1]), atol=1e-6)


def test_p_0_is_the_identity_to_the_bit():
    images = noise(4, channels=4)
    draws = drawn(keys(4), images.shape[1:])
    np.testing.assert_array_equal(transform("bgcfnc")(0.0, draws, images), images)


def test_each_transform_has_probability_p_by_itself():
    n, p = 4000, 0.3
    gates = jax.jit(lambda k: random_draws(k, None).gates)(keys(n))
    chance = probabilities(jnp.float32(p))
    on = np.concatenate([np.asarray(gates[name] < chance[name]) for name in GATES], 1)
    want = np.concatenate([[float(chance[name])] * count for name, count in GATES.items()])
    np.testing.assert_allclose(on.mean(0), want, atol=5 * np.sqrt(p * (1 - p) / n))
    assert np.abs(np.corrcoef(on.T) - np.eye(on.shape[1])).max() < 5.5 / np.sqrt(n)
    both = on[:, [list(GATES).index("rotate"), list(GATES).index("rotate_again")]]
    np.testing.assert_allclose(both.any(1).mean(), p, atol=5 * np.sqrt(p * (1 - p) / n))


def test_draws_are_uniform_and_normal():
    n = 4000
    draws = jax.jit(lambda k: random_draws(k, (2, 2, 1)))(keys(n))
    uniform = np.concatenate([draws.uniform[name] for name in UNIFORM], 1)
    normal = np.concatenate([*(draws.normal[name] for name in NORMAL), draws.pixels.reshape(n, -1)], 1)
    np.testing.assert_allclose(uniform.mean(0), 0.5, atol=5 * 0.29 / np.sqrt(n))
    np.testing.assert_allclose(normal.mean(0), 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose(normal.std(0), 1, atol=5 / np.sqrt(2 * n))
    every = np.concatenate([uniform, normal], 1)
    assert np.abs(np.corrcoef(every.T) - np.eye(every.shape[1])).max() < 5.5 / np.sqrt(n)


def test_x_flip_at_p_1_flips_half():
    """Only the flip is on: an image is itself or, but for the asymmetry of the wavelet, its mirror image."""
    n = 400
    draws = drawn(keys(n), None)
    off = {name: jnp.ones_like(gate) for name, gate in draws.gates.items()} | {"xflip": draws.gates["xflip"]}
    ramp = jnp.broadcast_to(jnp.linspace(-1, 1, 16)[None, None, :, None], (n, 16, 16, 1))
    out = np.asarray(transform("blit")(1.0, draws._replace(gates=off), ramp))
    flipped = out[:, 8, 12, 0] < 0
    assert abs(flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
    np.testing.assert_allclose(out[~flipped], ramp[~flipped], atol=1e-5)
    np.testing.assert_allclose(out[flipped][:, :, 3:-3], ramp[flipped][:, :, 3:-3][:, :, ::-1], atol=0.05)


@pytest.mark.parametrize("channels", default_rows([1, 3, 4], [3]))
def test_an_image_depends_on_its_own_key_only(channels):
    images, k, order = noise(4, channels=channels), keys(4), np.array([2, 0, 3, 1])
    shape = images.shape[1:]
    whole = transform("bgcfnc")(0.8, drawn(k, shape), images)
    assert whole.shape == images.shape and whole.dtype == images.dtype
    assert np.abs(whole - images).max((1, 2, 3)).min() > 0.01
    np.testing.assert_allclose(transform("bgcfnc")(0.8, drawn(k[order], shape), images[order]), whole[order], atol=1e-5)
    if channels == 3:
        part = transform("bgcfnc")(0.8, drawn(k[2:3], shape), images[2:3])
        np.testing.assert_allclose(part, whole[2:3], atol=1e-5)


def test_colour_leaves_alpha_alone():
    images = noise(2, channels=4)
    out = at_percentile("color", 0.3, images)
    np.testing.assert_array_equal(out[..., 3], images[..., 3])
    np.testing.assert_allclose(out[..., :3], at_percentile("color", 0.3, images[..., :3]), atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    images, direction = noise(4), jax.random.normal(jax.random.key(3), (4, 16, 16, 3))
    draws = drawn(keys(4), images.shape[1:])
    weights = jax.random.normal(jax.random.key(4), images.shape)
    value = lambda x: (transform("bgcfnc")(1.0, draws, x) * weights).sum((1, 2, 3))
    slope = (jax.grad(lambda x: value(x).sum())(images) * direction).sum((1, 2, 3))
    # every part is affine in the image, so a wide step is exact
    np.testing.assert_allclose(slope, (value(images + direction) - value(images - direction)) / 2, rtol=1e-3, atol=1e-3)
    assert np.abs(slope).min() > 0.1


def test_the_bands_add_up_to_the_image():
    total = filter_bank().sum(0)
    np.testing.assert_allclose(total, np.eye(1, 43, 21)[0], atol=1e-9)
    np.testing.assert_allclose(band_gains(jnp.zeros(4, bool), jnp.ones(4)), 1, rtol=1e-6)
    gains = np.asarray(band_gains(jnp.array([False, True, False, False]), jnp.ones(4)))
    np.testing.assert_allclose((np.array([10, 1, 1, 1]) / 13 * gains**2).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(gains[1] / gains[[0, 2, 3]], 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ada("bcg", 0.5, keys(1), noise(1)), "'bcg'; use one of blit, .*bgc"),
        (lambda: ada("bgc", 0.5, keys(1), noise(1, channels=2)), r"1, 3 or 4 channels, not of shape \(1, 16, 16, 2\)"),
        (lambda: percentile_draws(1.0), "percentile is 1.0; use one between 0 and 1"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_p_rises_while_d_is_sure_and_falls_else():
    step = functools.partial(adapt, images=4 * 32, kimg=0.512)  # a quarter of the way
    p = jnp.zeros(())
    rising = [p := step(p, jnp.ones(4)) for _ in range(5)]
    np.testing.assert_allclose(rising, [0.25, 0.5, 0.75, 1.0, 1.0])
    falling = [p := step(p, jnp.full(4, 0.5)) for _ in range(5)]
    np.testing.assert_allclose(falling, [0.75, 0.5, 0.25, 0.0, 0.0])
    np.testing.assert_array_equal(step(jnp.float32(0.3), jnp.ones(4), target=1.0), jnp.float32(0.3))
    np.testing.assert_allclose(adapt(jnp.zeros(()), jnp.ones(4), 4 * 64), 4 * 64 / 500e3, rtol=1e-6)
