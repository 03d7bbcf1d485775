"""Convolutions as matrix products against XLA's own: values, first derivatives, the second ones, and the compiled program."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.nets import build
from gan_jax.nets.conv import single_operations
from gan_jax.nets.products import padded_conv, transposed_conv

NUMBERS = ("NHWC", "HWIO", "NHWC")
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the products are for CPUs")


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def assert_same_derivatives(ours, reference, x, w, tolerance=1e-5):
    """Values, gradients, and the gradients of both gradients' squares, within a part of the largest value of each."""

    def everything(form):
        loss = lambda x, w: jnp.tanh(0.1 * form(x, w)).sum()
        squares = lambda x, w: sum(jnp.square(part).sum() for part in jax.grad(loss, (0, 1))(x, w))
        functions = (form, jax.grad(loss, (0, 1)), jax.grad(squares, (0, 1)))
        values = jax.jit(lambda x, w: [function(x, w) for function in functions], compiler_options=QUICK)(x, w)
        return jax.tree.leaves(values)

    for got, expected in zip(everything(ours), everything(reference), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * float(jnp.abs(expected).max()))


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad"),
    [
        ((1, 17, 16, 32), (3, 3, 32, 40), 1, 1),  # tiles of an odd height
        ((2, 18, 21, 40), (3, 3, 40, 32), 1, 0),
        ((1, 9, 8, 8), (7, 7, 8, 3), 1, 3),  # to an image
        ((1, 5, 6, 3), (7, 7, 3, 8), 1, 3),  # of an image
        ((2, 7, 6, 6), (4, 4, 6, 5), 1, 1),
        ((2, 5, 6, 6), (3, 3, 6, 5), 1, 1),
        ((2, 7, 6, 6), (3, 3, 6, 5), 2, 1),
        ((1, 8, 6, 3), (4, 4, 3, 5), 2, 1),
    ],
)
def test_padded_conv(shape, kernel, stride, pad):
    form = lambda x, w: jax.lax.conv_general_dilated(
        x, w, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=NUMBERS
    )
    x, w = draw(*shape), draw(*kernel, seed=1)
    assert_same_derivatives(lambda x, w: padded_conv(x, w, stride, pad), form, x, w)


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [
        ((1, 1, 1, 6), (4, 4, 6, 5)),  # products with the kernel as it is
        ((1, 3, 2, 6), (3, 3, 6, 5)),
        ((2, 3, 5, 6), (4, 4, 6, 3)),
        ((2, 5, 3, 6), (3, 3, 6, 5)),
    ],
)
def test_transposed_conv(shape, kernel):
    """The transpose of the convolution with stride 2 and padding 1, whose kernel has its channels exchanged."""
    n, h, width, _ = shape
    image = jnp.zeros((n, 2 * h, 2 * width, kernel[3]))

    def form(x, w):
        down = lambda y: jax.lax.conv_general_dilated(
            y, w.swapaxes(2, 3), (2, 2), ((1, 1), (1, 1)), dimension_numbers=NUMBERS
        )
        return jax.linear_transpose(down, image)(x)[0]

    assert_same_derivatives(transposed_conv, form, draw(*shape), draw(*kernel, seed=1))


def test_tiles_by_hand():
    """A kernel of one tap moves the image; all of them together are the sum over 3x3 px."""
    x = jnp.arange(20.0 * 18).reshape(1, 20, 18, 1) * jnp.ones((1, 1, 1, 32))
    tap = jnp.zeros((3, 3, 32, 32)).at[0, 2].set(jnp.eye(32))
    np.testing.assert_allclose(padded_conv(x, tap), x[:, :-2, 2:], rtol=1e-5)
    ones = jnp.ones((3, 3, 1, 1)) * jnp.eye(32)[None, None]
    np.testing.assert_allclose(padded_conv(x, ones)[0, 0, 0], jnp.full(32, 9 * 19.0), rtol=1e-5)


def test_halves_and_counted_programs_keep_convolutions():
    x, w = draw(1, 8, 8, 6), draw(4, 4, 6, 5, seed=1)
    names = lambda x, w: str(jax.make_jaxpr(lambda x, w: padded_conv(x, w, 2, 1))(x, w))
    assert "conv_general_dilated" not in names(x, w)
    assert "conv_general_dilated" in names(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16))
    with single_operations():
        assert "conv_general_dilated" in names(x, w)


NETS: dict[str, Any] = {
    "unet": UNetConfig(resolution=32, depth=5, width=8, d_width=8),
    "translator": TranslatorConfig(resolution=32, blocks=1, width=8, d_width=8),
}


@pytest.mark.parametrize("name", NETS)
def test_only_layers_that_read_images_are_convolutions(name):
    """In the gradient of G and D by weights and inputs: XLA's convolutions, slow on CPU for all others, read or make images."""
    config = NETS[name]
    pair = build(config)
    x = jnp.zeros((1, 32, 32, 3))

    def loss(params, of_d, x):
        g, d = pair.nets["g"], pair.nets["d"]
        image = g.apply({**pair.nets["g"].specs(), "params": params} | state["g"], x, train=False)[0]
        joined = jnp.concatenate([x, image], -1) if name == "unet" else image
        return jnp.square(d.apply({"params": of_d} | state["d"], joined, train=False)[0]).sum()

    variables = {k: pair.nets[k].init(jax.random.key(0)) for k in ("g", "d")}
    state = {k: {c: v for c, v in variables[k].items() if c != "params"} for k in variables}
    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(variables["g"]["params"], variables["d"]["params"], x)
    text = str(jaxpr)
    kernels = re.findall(r"f32\[([\d,]+)\] = conv_general_dilated", text)
    image_like = [shape for shape in kernels if 3 in map(int, shape.split(","))]
    if name == "unet":
        assert not kernels
    else:  # the stem, and its gradients
        assert len(kernels) <= 3 and len(image_like) >= len(kernels) - 1
