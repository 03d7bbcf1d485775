"""The plain form of a layer computes what the layer does, and comes back: with the layers of the networks themselves."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nets import build, layers
from gan_jax.nets.conv import conv
from gan_jax.nets.r3gan import Head, Stem
from gan_jax.nets.resample import conv_down3, downsample, upsample
from gan_jax.nets.stylegan2 import HALF, StyledConv, ToRGB
from gan_jax.surgery.families.cross import Part, roles_of
from gan_jax.surgery.ops import run_steps, shape_of_steps
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.ops.forms import SLOPE, modulated_shape, rank_one_shape, residual_shape, spread_shape
from gan_jax.trees import flatten
from tests.surgery.pairs import SMALL_R3GAN, SMALL_STYLEGAN2

C = 6  # channels of the small networks at all but R3GAN's highest resolution
draw = lambda *shape: np.random.default_rng([*shape, 5]).standard_normal(shape)
lrelu = lambda x: nn.leaky_relu(x, 0.2)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def role(config: Any, name: str) -> Part:
    net, _, name = name.partition(" ")
    return roles_of(config)[net][name]


@functools.cache
def shapes(config: Any) -> dict:
    """Of a pair that is built without float64, which R3GAN's D does not take for its latents and images."""
    with jax.enable_x64(False):
        pair = build(config)
        return {"g": pair.g.specs(), "d": pair.d.specs()}


def plain(config: Any, name: str, *leaves: Any) -> np.ndarray:
    part, found = role(config, name), {f"{name[0]}/{p}": x for p, x in flatten(shapes(config)[name[0]]).items()}
    assert [x.shape for x in leaves] == [found[f"{name[0]}/{path}"].shape for path in part.reads]
    return run_steps(part.gives, leaves, None) if part.gives else leaves[0]


def stored(config: Any, name: str, value: np.ndarray, leaf: str = "") -> np.ndarray:
    fills = [fill for path, fill in role(config, name).fills.items() if path.endswith(leaf)]
    return run_steps(fills[0].takes, [value], None)


@pytest.mark.parametrize(("name", "up"), [("g up16", True), ("g same8", False)])
def test_a_styled_convolution(name, up):
    kernel, styles, x = draw(3, 3, C, C), 1 + 0.3 * draw(C), jnp.asarray(draw(2, 8, 8, C))
    layer = StyledConv(C, up, None, "float64")

    def run(kernel, styles):
        params = {"affine": {"kernel": np.zeros((5, C)), "bias": styles}, "kernel": kernel, "bias": np.zeros(C)}
        variables = {"params": {**params, "noise_strength": np.zeros(())}, "constants": {"noise": np.zeros((16, 16))}}
        return layer.apply(variables, x, jnp.zeros((2, 5)), jnp.zeros((1, 1, 1)))

    found = plain(SMALL_STYLEGAN2, name, kernel, styles)
    inside = (slice(None), slice(1, -1), slice(1, -1))  # the filter meets the rim elsewhere
    wanted = run(kernel, styles)
    made = lrelu(conv(upsample(x) if up else x, jnp.asarray(found)))
    np.testing.assert_allclose(wanted[inside], made[inside], atol=1e-7)
    back = stored(SMALL_STYLEGAN2, name, found)
    np.testing.assert_allclose(np.square(back).mean(), 1, rtol=1e-12)
    np.testing.assert_allclose(run(back, np.ones(C)), wanted, atol=1e-7)


def test_a_layer_to_the_image_of_stylegan2():
    kernel, styles, x = draw(1, 1, C, 1), 1 + 0.3 * draw(C), jnp.asarray(draw(2, 8, 8, C))
    params = {"affine": {"kernel": np.zeros((5, C)), "bias": styles}, "kernel": kernel, "bias": np.zeros(1)}
    found = plain(SMALL_STYLEGAN2, "g to_rgb8", kernel, styles)
    image = ToRGB(1, None, "float64").apply({"params": params}, x, jnp.zeros((2, 5)))
    np.testing.assert_allclose(image, conv(x, jnp.asarray(found)), atol=1e-10)
    np.testing.assert_allclose(
        stored(SMALL_STYLEGAN2, "g to_rgb8", found), kernel * styles[None, None, :, None], rtol=1e-9
    )


LAYERS = {  # role -> size, gain, image channels, and what stands around the kernel
    "d same16": (3, 1.0, C, lambda x, w: lrelu(conv(x, w))),
    "d down8": (3, HALF, C, lambda x, w: lrelu(conv_down3(x, w))),
    "d skip8": (1, HALF, C, lambda x, w: conv(downsample(x), w)),
    "d from_rgb": (1, 1.0, 1, lambda x, w: lrelu(conv(x, w))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_equalised_layers(name):
    size, gain, inputs, function = LAYERS[name]
    kernel, x = draw(size, size, inputs, C), jnp.asarray(draw(2, 8, 8, inputs))
    short = "skip" in name
    options = {"down": short or "down" in name, "bias": not short, "activate": not short}
    layer = layers.EqualisedConv(C, size=size, **options)
    params = {"kernel": kernel} if short else {"kernel": kernel, "bias": np.zeros(C)}
    found = plain(SMALL_STYLEGAN2, name, kernel)
    np.testing.assert_allclose(layer.apply({"params": params}, x, gain), function(x, jnp.asarray(found)), atol=1e-10)
    np.testing.assert_allclose(stored(SMALL_STYLEGAN2, name, found), kernel, rtol=1e-12)


def test_the_layer_behind_the_deviation_reads_features_alone():
    kernel, x = draw(3, 3, C + 1, C), jnp.asarray(draw(2, 4, 4, C))
    none = jnp.concatenate([x, jnp.zeros((2, 4, 4, 1))], axis=-1)
    layer = layers.EqualisedConv(C).apply({"params": {"kernel": kernel, "bias": np.zeros(C)}}, none)
    found = plain(SMALL_STYLEGAN2, "d same4", kernel)
    np.testing.assert_allclose(layer, lrelu(conv(x, jnp.asarray(found))), atol=1e-10)


def test_the_first_layer_of_r3gan_is_a_dense_one_of_rank_one():
    kernel, basis, z = draw(8, C), draw(4, 4, C), draw(3, 8)
    made = Stem(C).apply({"params": {"kernel": kernel, "basis": basis}}, z)
    found = plain(SMALL_R3GAN, "g stem", kernel, basis)
    np.testing.assert_allclose((z @ found).reshape(3, 4, 4, C), made, atol=1e-12)
    parts = {name: stored(SMALL_R3GAN, "g stem", found, name) for name in ("kernel", "basis")}
    np.testing.assert_allclose(np.square(parts["basis"]).mean((0, 1)), 1, rtol=1e-9)
    np.testing.assert_allclose(Stem(C).apply({"params": parts}, z), made, atol=1e-10)


def test_the_last_layer_of_r3gan_is_a_dense_one_and_every_dense_one_is_it():
    kernel, basis, x = draw(C, 1), draw(4, 4, 1, C), draw(3, 4, 4, C)
    made = Head(1).apply({"params": {"kernel": kernel, "basis": basis}}, x)
    found = plain(SMALL_R3GAN, "d head", kernel, basis)
    np.testing.assert_allclose(x.reshape(3, -1) @ found, made, atol=1e-12)
    other = draw(16 * C, 1)
    parts = {name: stored(SMALL_R3GAN, "d head", other, name) for name in ("kernel", "basis")}
    np.testing.assert_allclose(Head(1).apply({"params": parts}, x), x.reshape(3, -1) @ other, atol=1e-12)
    assert (parts["basis"].sum((0, 1, 2)) >= 0).all(), "one of two signs"


def test_the_last_layers_of_stylegan2_as_if_they_were_linear():
    fc, out, x = draw(16 * C, C), draw(C, 1), draw(3, 4, 4, C).reshape(3, -1)
    found = plain(SMALL_STYLEGAN2, "d head", fc, out)
    last = [layers.EqualisedDense(C), layers.EqualisedDense(1)]
    h = last[0].apply({"params": {"kernel": fc, "bias": np.zeros(C)}}, x) * SLOPE * np.sqrt(2)
    np.testing.assert_allclose(
        last[1].apply({"params": {"kernel": out, "bias": np.zeros(1)}}, h), x @ found, atol=1e-12
    )


def test_blocks_as_if_they_were_linear():
    x = jnp.asarray(draw(2, 8, 8, C))
    blocks = [(draw(1, 1, C, 12) + i, draw(3, 3, 4, 12) - i, draw(1, 1, 12, C)) for i in (0, 1)]
    wanted = x
    for one, grouped, last in blocks:
        h = conv(x, jnp.asarray(one))
        h = conv(h, jnp.asarray(grouped), groups=3)
        wanted = wanted + SLOPE**2 * conv(h, jnp.asarray(last))
    kernel = run_steps([("fold_residual", {})], [k for block in blocks for k in block], None)
    np.testing.assert_allclose(conv(x, jnp.asarray(kernel)), wanted, atol=1e-9)


def test_what_does_not_fit_is_refused():
    for shape, wrong, args, message in (
        (modulated_shape, [(3, 3, 2, 4), (3,)], {"gain": 1}, r"a kernel \[k, k, I, O\] and styles \[I\]"),
        (spread_shape, [(5, 3), (4, 4, 2)], {"side": "first"}, r"the maps \[4, 4, .., C\] of its channels"),
        (rank_one_shape, [(5, 24)], {"side": "first", "part": "maps"}, "4 x 4 positions along axis 1, not"),
        (residual_shape, [(1, 1, 2, 4), (3, 3, 3, 4), (1, 1, 4, 2)], {}, "a 1x1, a grouped and a 1x1 kernel"),
    ):
        with pytest.raises(OpError, match=message):
            shape(wrong, args)
    with pytest.raises(OpError, match=r"this needs a kernel \[k, k, I, O\], not \[2, 3\]"):
        shape_of_steps([("flip", {})], [(2, 3)])
    zeros = run_steps([("unit_rms", {})], [np.zeros((2, 2))], None)
    np.testing.assert_array_equal(zeros, 0)
