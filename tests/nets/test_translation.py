"""Layers of networks from images to images by their definition, dropout, and what runs at other sizes."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import Config, TranslatorConfig, UNetConfig
from gan_jax.nets import build
from gan_jax.nets.conv import strided
from gan_jax.nets.layers import InstanceNorm, Norm, drop_half, gan_init, reflect_pad
from gan_jax.nets.patch_features import make_patch_mlp, sample_patches, unit
from gan_jax.nets.resample import conv_up3_plain, halve_smoothly
from tests.nets.families import drawn, inputs, pair_of

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
RNG = np.random.default_rng(0)


def correlation(x, w, stride, pad):
    """By the definition, in double."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    kh, kw = w.shape[:2]
    h, width = ((x.shape[axis] - w.shape[axis - 1]) // stride + 1 for axis in (1, 2))
    out = np.zeros((x.shape[0], h, width, w.shape[-1]))
    for a in range(kh):
        for b in range(kw):
            out += x[:, a : a + stride * h : stride, b : b + stride * width : stride][:, :h, :width] @ w[a, b]
    return out


@pytest.mark.parametrize(
    ("size", "pad", "shape"), [(3, 1, (6, 8)), (3, 1, (5, 7)), (4, 1, (8, 6)), (4, 2, (7, 9)), (1, 0, (5, 4))]
)
def test_strided(size, pad, shape):
    x, w = RNG.normal(size=(2, *shape, 3)).astype("f4"), RNG.normal(size=(size, size, 3, 5)).astype("f4")
    assert_allclose(jax.jit(strided, static_argnums=2)(x, w, pad), correlation(x, w, 2, pad), atol=2e-5)


def test_transposed_convolution_with_output_padding():
    """Output o sums x[i] w[o + 1 - 2 i]: PyTorch's padding 1 and output padding 1."""
    x, w = RNG.normal(size=(1, 4, 3, 2)).astype("f4"), RNG.normal(size=(3, 3, 2, 5)).astype("f4")
    expected = np.zeros((1, 8, 6, 5))
    for p in range(8):
        for q in range(6):
            for i in range(4):
                for j in range(3):
                    a, b = p + 1 - 2 * i, q + 1 - 2 * j
                    if 0 <= a < 3 and 0 <= b < 3:
                        expected[0, p, q] += x[0, i, j] @ w[a, b]
    assert_allclose(jax.jit(conv_up3_plain)(x, w), expected, atol=1e-5)


def test_padding_and_filter():
    image = np.broadcast_to(np.float32([1.0, 2.0, 4.0, 8.0]).reshape(1, 1, 4, 1), (1, 4, 4, 1))
    assert_array_equal(jax.jit(reflect_pad, static_argnums=1)(image, 2)[0, 0, :, 0], [4, 2, 1, 2, 4, 8, 4, 2])
    # mirrored: 2 1 2 4 8 4, then (2 + 2 + 2) / 4 and (2 + 8 + 8) / 4
    assert_allclose(jax.jit(halve_smoothly)(image)[0, :, :, 0], [[1.5, 4.5]] * 2)


def test_instance_norm_of_hand_made_maps():
    """Mean 3 and variance 5 of 0, 2, 4, 6; a large mean costs no precision; a flat map is zero."""
    x = np.float32([0.0, 2.0, 4.0, 6.0]).reshape(1, 2, 2, 1)
    expected = np.asarray([-3.0, -1.0, 1.0, 3.0]) / np.sqrt(5 + 1e-5)
    plain = jax.jit(lambda x: InstanceNorm().apply({}, x))
    for image in (x, x + 10_000):
        assert_allclose(np.ravel(plain(image)), expected, rtol=1e-5)
    affine = {"params": {"scale": np.float32([2.0]), "bias": np.float32([1.0])}}
    assert_allclose(np.ravel(jax.jit(InstanceNorm(True).apply)(affine, x)), 2 * expected + 1, rtol=1e-5)
    assert not np.any(plain(np.full_like(x, 7.0)))


def test_running_variance_of_pytorch_is_not_biased():
    """Of 0, 2, 4, 6 it is 20 / 3, a tenth of which is added to nine tenths of 1; the output uses 5."""
    x = np.float32([0.0, 2.0, 4.0, 6.0]).reshape(1, 2, 2, 1)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    variables = {"params": {"scale": one, "bias": zero}, "batch_stats": {"mean": zero, "var": one}}

    @functools.partial(jax.jit, static_argnums=0)
    def run(norm):
        return norm.apply(variables, x, train=True, mutable=["batch_stats"])

    y, after = run(Norm(unbiased=True))
    assert_allclose(np.ravel(y), np.asarray([-3.0, -1.0, 1.0, 3.0]) / np.sqrt(5 + 1e-5), rtol=1e-5)
    assert_allclose(after["batch_stats"]["var"], [0.9 + 0.1 * 20 / 3], rtol=1e-6)
    assert_allclose(run(Norm())[1]["batch_stats"]["var"], [0.9 + 0.5], rtol=1e-6)


def test_dropout_is_drawn_for_each_example():
    keys = jax.random.split(jax.random.key(0), 3)
    x = np.ones((3, 8, 8, 4), np.float32)
    drop = jax.jit(lambda keys, x, number: drop_half(x, keys, number), static_argnums=2)
    y = np.asarray(drop(keys, x, 5))
    assert {*np.unique(y)} == {0.0, 2.0} and abs(float(y.mean()) - 1) < 0.2
    assert_array_equal(drop(keys[1:2], x[1:2], 5), y[1:2])
    assert (np.asarray(drop(keys, x, 6)) != y).any() and (y[0] != y[1]).any()
    assert drop_half(x, None, 5) is x


@pytest.mark.parametrize(
    "config",
    [UNetConfig(64, width=1, depth=6, d_width=2, d_layers=1), pair_of("translator-antialias", 16).config],
    ids=lambda config: type(config).__name__,
)
def test_dropout_needs_training_and_keys(config):
    g, (x, _, _) = build(config).g, inputs(config, 2)
    variables, keys = drawn(g), jax.random.split(jax.random.key(3), 2)
    run = functools.partial(jax.jit, static_argnums=2, compiler_options=QUICK)(
        lambda v, keys, train: g.apply(v, x, None, train, keys)[0]
    )
    off = dataclasses.replace(config, dropout=False)
    plain = jax.jit(lambda v: build(off).g.apply(v, x, None, True)[0], compiler_options=QUICK)(variables)
    assert_allclose(run(variables, None, True), plain, atol=1e-6)
    assert np.abs(run(variables, keys, True) - plain).max() > 1e-4
    assert_allclose(run(variables, keys, False), run(variables, None, False), atol=1e-6)


def test_sizes_that_a_translator_runs_at():
    """Sizes that 4 does not divide come back larger, as published."""
    g = pair_of("translator", 16).g
    for size, made in ((20, 20), (18, 20), (17, 20)):
        x = jax.ShapeDtypeStruct((1, size, 12, 2), jnp.float32)
        assert jax.eval_shape(lambda v, x: g.apply(v, x)[0], g.specs(), x).shape == (1, made, 12, 3)


def test_steps_of_the_encoder():
    """By the numbers of the published code, with strides: 10 and 11 are the blocks, 6 the end of `down1`."""
    pair = pair_of("translator", 16)
    x, variables = inputs(pair.config, 2)[0], drawn(pair.g)
    layers, pad = (0, 1, 2, 4, 6, 10, 11), ((0, 0), (3, 3), (3, 3), (0, 0))
    features_of = jax.jit(pair.g.parts["features"], static_argnums=2, compiler_options=QUICK)
    outputs = jax.jit(pair.g.activations, compiler_options=QUICK)(variables, x)
    maps = features_of(variables, x, layers)
    assert_array_equal(maps[0], np.pad(x, pad, mode="reflect"))
    for features, name in zip(maps[1:], ("stem/conv", "", "down1/conv", "down1", "block0", "block1")):
        if name:
            assert_allclose(features, outputs[name], atol=1e-6)
    assert_allclose(maps[2], np.maximum(outputs["stem/norm"], 0), atol=1e-6)  # its ReLU works in place
    # and comes after the last
    assert_allclose(features_of(variables, x, (0, 2))[1], outputs["stem/norm"], atol=1e-6)
    with pytest.raises(ValueError, match="layer 12 is no step of the encoder, whose 2 blocks end with step 11"):
        pair.g.parts["features"](variables, x, (0, 12))


def test_what_d_is_given():
    pair = pair_of("unet", 16)
    with pytest.raises(ValueError, match="D reads 5 channels, 2 of what goes in, then 3; it was given 3"):
        jax.eval_shape(lambda v: pair.d.apply(v, jnp.ones((1, 16, 16, 3))), pair.d.specs())
    pair = pair_of("translator", 16)
    with pytest.raises(ValueError, match="D reads 3 channels, those of the image alone; it was given 5"):
        jax.eval_shape(lambda v: pair.d.apply(v, jnp.ones((1, 16, 16, 5))), pair.d.specs())


def test_patches():
    maps = np.arange(2 * 2 * 3 * 1, dtype=np.float32).reshape(2, 2, 3, 1)
    assert_array_equal(jax.jit(sample_patches)(maps, np.int32([4, 0]))[..., 0], [[4, 0], [10, 6]])
    assert_allclose(jax.jit(unit)(np.float32([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert (np.asarray(jax.jit(jax.grad(lambda v: unit(v).sum()))(np.zeros((1, 2), np.float32))) > 0).all()
    f = make_patch_mlp((3, 2), 4)
    ones = lambda *channels: [np.ones((2, 5, c), np.float32) for c in channels]
    vectors = jax.jit(f.apply)(drawn(f), ones(3, 2))[0]
    assert [v.shape for v in vectors] == [(2, 5, 4)] * 2
    assert_allclose(np.linalg.norm(vectors[0], axis=-1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"patches have \[3, 3\] channels, and this network is for \[3, 2\]"):
        f.apply(drawn(f), ones(3, 3))


def test_kernels_in_parts_begin_as_one():
    """Glorot's deviation is that of the whole kernel, 0.02 sqrt(2 / (16 (6 + 10))) here."""
    draw = gan_init("xavier", 16, 6 + 10)(jax.random.key(0), (4, 4, 30, 100))
    assert_allclose(draw.std(), 0.02 * np.sqrt(2 / (16 * 16)), rtol=0.01)
    whole = gan_init("xavier")(jax.random.key(0), (4, 4, 60, 100))
    assert_allclose(whole.std(), 0.02 * np.sqrt(2 / (16 * 160)), rtol=0.01)
    assert_allclose(gan_init("normal", 16, 16)(jax.random.key(0), (4, 4, 30, 100)).std(), 0.02, rtol=0.01)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (UNetConfig(100), "net.resolution 100 cannot be halved 8 times; use a multiple of 256, or another net.depth"),
        (UNetConfig(depth=1), r"net.depth is 1; use at least 2 \(8 is U-Net-256, 7 U-Net-128\)"),
        (
            UNetConfig(16, depth=3),
            "net.d_layers 3 leaves D no patch at net.resolution 16; use fewer, or at least 24 px",
        ),
        (TranslatorConfig(30), "net.resolution is 30; use a multiple of 4 from 8"),
        (TranslatorConfig(in_channels=0), "net.in_channels is 0; it must be positive"),
        (TranslatorConfig(blocks=-1), "net.blocks is -1; it must not be negative"),
    ],
)
def test_configurations_that_cannot_run(net, message):
    with pytest.raises(ValueError, match=message):
        Config(net=net).validate()


@pytest.mark.parametrize("antialias", [False, True])
def test_the_smallest_size_of_d(antialias):
    """What `problems` says of a size is what D makes of it."""
    config = TranslatorConfig(d_width=1, d_layers=2, antialias=antialias)
    d = build(config).d
    for size in range(8, 21, 4):
        x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        try:
            left = jax.eval_shape(lambda v, x: d.apply(v, x)[0], d.specs(), x).size > 0
        except (ValueError, TypeError):
            left = False
        assert bool([*dataclasses.replace(config, resolution=size).problems()]) != left, size
