"""The convolutions against XLA's and PyTorch's: values, first derivatives, and the second ones that R1 takes."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nets import conv as conv_module
from gan_jax.nets.conv import conv, conv_down, conv_up, downsample_mean, single_operations, upsample_nearest
from gan_jax.train.trainer import lowered_flops

NUMBERS = ("NHWC", "HWIO", "NHWC")
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


SLOW = pytest.mark.slow


@pytest.fixture(params=["closed", "plain"])
def form(request, monkeypatch):
    """Both forms, whatever the platform."""
    monkeypatch.setattr(conv_module, "is_closed", lambda: request.param == "closed")


CLOSED = pytest.mark.parametrize("form", ["closed", pytest.param("plain", marks=SLOW)], indirect=True)


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def lax_conv(x, w, padding):
    return jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=NUMBERS)


def lax_down(x, w):
    return jax.lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NUMBERS)


def lax_up(x, w):
    """The adjoint of `lax_down`, whose kernel `[4, 4, O, I]` is ours with its channels exchanged."""
    n, h, width, _ = x.shape
    image = jnp.zeros((n, 2 * h, 2 * width, w.shape[3]))
    return jax.linear_transpose(lambda y: lax_down(y, w.swapaxes(2, 3)), image)(x)[0]


def r1_like(form, x, w):
    """A scalar whose gradient holds second derivatives: |d/dx sum tanh(conv)|^2."""
    slope = jax.grad(lambda x: jnp.tanh(form(x, w)).sum())(x)
    return jnp.square(slope).sum()


def assert_same_derivatives(ours, reference, x, w, tolerance=2e-4):
    def everything(form):
        first = jax.grad(lambda x, w: jnp.sin(form(x, w)).sum(), (0, 1))
        second = jax.grad(lambda x, w: r1_like(form, x, w) + r1_like(lambda w, x: form(x, w), w, x), (0, 1))
        compiled = jax.jit(lambda x, w: (form(x, w), first(x, w), second(x, w)), compiler_options=QUICK)
        return jax.tree.leaves(compiled(x, w))

    for got, expected in zip(everything(ours), everything(reference), strict=True):
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("kernel", "padding"),
    [
        ((3, 3), None),
        pytest.param((3, 3), ((0, 0), (0, 0)), marks=SLOW),
        ((2, 3), ((1, 0), (2, 1))),
        pytest.param((1, 1), None, marks=SLOW),
    ],
)
def test_conv(form, kernel, padding):
    full = padding or tuple(((k - 1) // 2, k // 2) for k in kernel)
    x, w = draw(2, 5, 6, 3), draw(*kernel, 3, 4, seed=1)
    assert_same_derivatives(lambda x, w: conv(x, w, padding), lambda x, w: lax_conv(x, w, full), x, w)


@CLOSED
@pytest.mark.parametrize(
    ("kernel", "padding"),
    [pytest.param((3, 3), None, marks=SLOW), ((2, 3), ((1, 0), (2, 1))), pytest.param((1, 1), None, marks=SLOW)],
)
def test_grouped(form, kernel, padding):
    """Against every group convolved by itself; unequal numbers of inputs and outputs, so that none is exchanged."""
    full = padding or tuple(((k - 1) // 2, k // 2) for k in kernel)
    x, w = draw(2, 4, 5, 6), draw(*kernel, 2, 12, seed=1)
    part = lambda x, w, g: lax_conv(x[..., 2 * g : 2 * g + 2], w[..., 4 * g : 4 * g + 4], full)
    apart = lambda x, w: jnp.concatenate([part(x, w, g) for g in range(3)], axis=-1)
    assert_same_derivatives(lambda x, w: conv(x, w, padding, groups=3), apart, x, w)


CASES = [
    pytest.param(1, 3, ((1, 1), (1, 1)), marks=SLOW),
    (1, 3, ((2, 2), (2, 3))),
    pytest.param(1, 4, ((3, 0), (1, 3)), marks=SLOW),
    (3, 3, ((1, 1), (1, 1))),
    pytest.param(3, 2, ((2, 1), (1, 2)), marks=SLOW),
]


@pytest.mark.parametrize(("groups", "size", "padding"), CASES)
def test_values_of_double_precision(groups, size, padding, monkeypatch):
    """As one operation whose derivatives are XLA's own, with outputs smaller and larger than what is read."""
    monkeypatch.setattr(conv_module, "is_closed", lambda: True)
    with jax.enable_x64(True):
        x, w = draw(2, 4, 5, 2 * groups).astype("float64"), draw(size, size, 2, 4 * groups, seed=1).astype("float64")
        plain = lambda x, w: conv_module._plain_conv(x, w, padding, groups)
        assert_same_derivatives(lambda x, w: conv(x, w, padding, groups), plain, x, w, 1e-12)


@pytest.mark.parametrize(("groups", "padding"), [(3, ((1, 1), (1, 1))), (1, ((1, 1), (1, 1))), (1, ((2, 2), (2, 2)))])
def test_closed_convolutions_have_closed_derivatives(groups, padding, monkeypatch):
    """Of any order: what XLA on CPU gets is plain NHWC by HWIO without groups, and no kernel is larger than what it reads."""
    monkeypatch.setattr(conv_module, "is_closed", lambda: True)
    x, w = draw(2, 4, 4, 2 * groups), draw(3, 3, 2, 4 * groups, seed=1)
    form = lambda x, w: conv(x, w, padding, groups)
    by_kernel = lambda w: jnp.square(jax.grad(lambda w: jnp.tanh(form(x, w)).sum())(w)).sum()
    jaxpr = jax.make_jaxpr(jax.grad(lambda w: r1_like(form, x, w) + by_kernel(w)))(w)
    found = list(convolutions(jaxpr.jaxpr))
    assert len(found) >= 10
    for equation in found:
        numbers, (image, kernel) = equation.params["dimension_numbers"], [v.aval.shape for v in equation.invars]
        assert (numbers.lhs_spec, numbers.rhs_spec) == ((0, 3, 1, 2), (3, 2, 0, 1))
        assert equation.params["feature_group_count"] == equation.params["batch_group_count"] == 1
        assert kernel[0] * kernel[1] <= image[1] * image[2]


def convolutions(jaxpr):
    """The convolutions of a program, inside loops and calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for inner in equation.params.values():
            inner = getattr(inner, "jaxpr", inner)  # with constants, or bare
            if hasattr(inner, "eqns"):
                yield from convolutions(inner)


def test_groups_cost_one_compilation(monkeypatch):
    """The program has as many convolutions for many groups as for two."""
    monkeypatch.setattr(conv_module, "is_closed", lambda: True)

    def count(groups):
        x, w = draw(2, 4, 4, 2 * groups), draw(3, 3, 2, 2 * groups, seed=1)
        jaxpr = jax.make_jaxpr(jax.grad(lambda w: r1_like(lambda x, w: conv(x, w, groups=groups), x, w)))(w)
        return len(list(convolutions(jaxpr.jaxpr)))

    assert count(16) == count(2) > 0


@pytest.mark.parametrize(("size", "kernel", "padding"), [(16, (2, 2), ((1, 1), (1, 1))), (2, (3, 3), ((1, 1), (1, 1)))])
def test_no_kernel_is_larger_than_what_it_reads(size, kernel, padding, monkeypatch):
    """As XLA has compiled it: an exchanged convolution has its window reversed, and runs 10 to 47 times slower."""
    monkeypatch.setattr("gan_jax.nets.conv.is_closed", lambda: True)
    x, w = jax.ShapeDtypeStruct((4, size, size, 8), jnp.float32), jax.ShapeDtypeStruct((*kernel, 8, 8), jnp.float32)
    loss = lambda x, w: jnp.square(conv(x, w, padding)).sum()
    jax.config.update("jax_disable_most_optimizations", False)  # until the end of the test
    text = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, w).compile().as_text()
    assert text.count(" convolution(") >= 3 and "rhs_reversal" not in text


def test_single_operations(monkeypatch):
    """For programs that are counted or written: a convolution is one operation, and a traced one is not taken from before."""
    monkeypatch.setattr(conv_module, "is_closed", lambda: True)
    x, w = draw(2, 4, 4, 6), draw(3, 3, 2, 12, seed=1)
    form = lambda x, w: conv(x, w, groups=3)
    slope = lambda x, w: jax.grad(lambda x, w: jnp.sin(form(x, w)).sum(), (0, 1))(x, w)
    groups = lambda: [
        e.params["feature_group_count"] for e in convolutions(jax.make_jaxpr(lambda x, w: form(x, w))(x, w).jaxpr)
    ]
    expected, runs = slope(x, w), groups()
    jax.jit(form)(x, w)
    with single_operations():
        assert groups() == [3]
        for got, value in zip(slope(x, w), expected, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-4)
    assert runs == groups() == [1]
    inside = 2 * 2 * (2 + 3 + 3 + 2) ** 2 * 2 * 12  # of 2 images, each position with the taps that lie in the image
    np.testing.assert_allclose(lowered_flops(form, x, w), inside)


def test_closed_groups_under_maps_of_examples(monkeypatch):
    """vmap, over images alone and over kernels too, is the convolutions one by one."""
    monkeypatch.setattr(conv_module, "is_closed", lambda: True)
    x, w = draw(3, 2, 4, 4, 6), draw(3, 3, 3, 2, 12, seed=1)
    slope = jax.grad(lambda x, w: jnp.sin(conv(x, w, groups=3)).sum(), (0, 1))
    for axes, second in (((0, 0), w), ((0, None), w[0])):
        got = jax.jit(jax.vmap(slope, axes))(x, second)
        for i in range(3):
            expected = jax.jit(slope)(x[i], second[i] if axes[1] == 0 else second)
            for mine, value in zip(got, expected, strict=True):
                np.testing.assert_allclose(mine[i], value, rtol=1e-4, atol=1e-4)


def test_channels_that_do_not_fall_into_groups():
    for shape in ((3, 3, 3, 12), (3, 3, 2, 4)):
        with pytest.raises(ValueError, match="6 channels and a kernel .* do not make a convolution of 3 groups"):
            conv(jnp.zeros((1, 4, 4, 6)), jnp.zeros(shape), groups=3)


@CLOSED
@pytest.mark.parametrize(("ours", "reference"), [(conv_down, lax_down), (conv_up, lax_up)])
def test_strided(form, ours, reference):
    x, w = draw(2, 6, 4, 3), draw(4, 4, 3, 2, seed=1)
    assert_same_derivatives(ours, reference, x, w)


def test_conv_up_at_one_pixel(form):
    """Output o is the sum over i of x[i] w[o + 1 - 2i]: one pixel in the middle paints the kernel around itself."""
    x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1.0)
    w = jnp.arange(16.0).reshape(4, 4, 1, 1)
    expected = np.zeros((6, 6))
    expected[1:5, 1:5] = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(conv_up(x, w)[0, :, :, 0], expected)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="compares with PyTorch, which is not installed")
def test_strided_are_pytorchs(form):
    import torch

    x, w = draw(2, 6, 4, 3), draw(4, 4, 3, 2, seed=1)
    nchw = torch.from_numpy(np.array(x.transpose(0, 3, 1, 2)))
    down = torch.nn.functional.conv2d(nchw, torch.from_numpy(np.array(w.transpose(3, 2, 0, 1))), None, 2, 1)
    up = torch.nn.functional.conv_transpose2d(nchw, torch.from_numpy(np.array(w.transpose(2, 3, 0, 1))), None, 2, 1)
    np.testing.assert_allclose(conv_down(x, w), down.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(conv_up(x, w), up.numpy().transpose(0, 2, 3, 1), atol=1e-5)


@CLOSED
def test_conv_keeps_half_precision(form):
    x, w = draw(2, 4, 4, 3).astype(jnp.bfloat16), draw(3, 3, 3, 4, seed=1).astype(jnp.bfloat16)
    out, gradient = jax.value_and_grad(lambda w: conv(x, w).astype(jnp.float32).sum())(w)
    assert conv(x, w).dtype == gradient.dtype == jnp.bfloat16 and np.isfinite(out)


def test_resampling_by_hand():
    x = jnp.array([[1.0, 2.0], [3.0, 6.0]])[None, :, :, None]
    big = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 6, 6], [3, 3, 6, 6]])
    np.testing.assert_array_equal(upsample_nearest(x)[0, :, :, 0], big)
    np.testing.assert_allclose(downsample_mean(x)[0, 0, 0, 0], 3.0)
    y = draw(2, 4, 6, 3)
    np.testing.assert_allclose(downsample_mean(upsample_nearest(y)), y, rtol=1e-6)


def test_resampling_is_adjoint_up_to_four():
    x, y = draw(1, 4, 4, 2), draw(1, 8, 8, 2, seed=1)
    np.testing.assert_allclose((upsample_nearest(x) * y).sum(), 4 * (x * downsample_mean(y)).sum(), rtol=1e-4)
