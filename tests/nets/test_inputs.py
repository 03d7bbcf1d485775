"""Rows that kernels multiply: times the kernel they are what layers give, in every family; no kernel is left out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.nets.conv import conv, conv_down, conv_up
from gan_jax.nets.inside import kernel_inputs, transposed_windows, windows
from gan_jax.nets.resample import _transposed3, blur
from gan_jax.trees import flatten
from tests.nets.families import EVERY, FAMILIES, drawn, inputs, pair_of, seen

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


def matrix(kernel, groups=1):
    """`[groups, K, O / groups]`."""
    m = np.asarray(kernel, np.float64).reshape(-1, groups, kernel.shape[-1] // groups)
    return m.transpose(1, 0, 2)


def product(rows, kernel):
    """Rows `[groups, M, K]` times a kernel `[.., O]`: `[M, O]`."""
    y = np.asarray(rows, np.float64) @ matrix(kernel, len(rows))
    return y.transpose(1, 0, 2).reshape(y.shape[1], -1)


@pytest.mark.parametrize(
    ("size", "rows", "layer"),
    [
        (3, lambda x: windows(x, 3, pad=1), conv),
        (4, lambda x: windows(x, 4, stride=2, pad=1), conv_down),
        (4, lambda x: transposed_windows(x, 4), conv_up),
        (3, lambda x: transposed_windows(x, 3), lambda x, w: _transposed3(x, w)[:, :-1, :-1]),
    ],
    ids=["same", "down", "up", "up3"],
)
def test_windows_times_a_kernel(size, rows, layer):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 4, 6, 3), (size, size, 3, 5)))
    y = np.asarray(layer(jnp.asarray(x), jnp.asarray(w)))
    assert_allclose(product(rows(x), w), y.reshape(-1, 5), atol=1e-5)


def test_windows_of_groups():
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 4, 6, 6), (3, 3, 2, 9)))
    y = np.asarray(conv(jnp.asarray(x), jnp.asarray(w), groups=3))
    assert_allclose(product(windows(x, 3, pad=1, groups=3), w), y.reshape(-1, 9), atol=1e-5)


@pytest.mark.parametrize("family", EVERY)
def test_every_kernel_is_listed(family):
    """Of the size of its kernel; tables of classes are not, a kernel `[features, classes]` of BigGAN's D among them."""
    pair = pair_of(family, FAMILIES[family].resolutions[0])
    z, images, labels = inputs(pair.config)
    for net, x in ((pair.g, z), (pair.d, seen(pair.config, z, images))):
        specs = net.specs()
        found = jax.eval_shape(functools.partial(kernel_inputs, net), specs, x, labels)
        leaves = flatten(specs["params"])
        kernels = {path for path in leaves if path.rpartition("/")[2] == "kernel"}
        assert found.keys() == kernels - ({"embed/kernel"} if "biggan" in family else set())
        for path, rows in found.items():
            groups, _, k = rows.shape
            assert (k, leaves[path].shape[-1] % groups) == (np.prod(leaves[path].shape[:-1]), 0), path


@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("dcgan", "g"),
        pytest.param("dcgan", "d", marks=pytest.mark.slow),  # its layers are ResNet's too
        ("stylegan2", "g"),
        ("stylegan2", "d"),
        ("r3gan", "g"),
        pytest.param("r3gan", "d", marks=pytest.mark.slow),  # the blocks of G
        ("resnet", "d"),
        ("mlp", "g"),
        ("unet", "g"),
        ("translator", "g"),
    ],
)
def test_rows_times_kernels_are_what_layers_give(family, network):
    """Up to one factor for each output channel, and for each image where it is demodulated."""
    pair = pair_of(family, 8)
    net, (z, images, labels) = getattr(pair, network), inputs(pair.config)
    x, variables = z if network == "g" else images, drawn(net, family == "stylegan2")
    variables["params"] = jax.tree.map(lambda v: v if v.ndim else 0 * v, variables["params"])  # no noise is heard

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(variables):
        return kernel_inputs(net, variables, x, labels), net.activations(variables, x, labels)

    rows, outputs = run(variables)
    params = flatten(variables["params"])
    assert rows
    for path, of in rows.items():
        module = path.rpartition("/")[0]
        y, w = np.asarray(outputs[module], np.float64), params[path]
        made = product(of, w).reshape(4, -1, w.shape[-1])
        styled = family == "stylegan2" and network == "g" and module.endswith(("conv0", "conv1"))
        if family == "stylegan2":
            y = undone(y, module, network)
        if family == "r3gan" and module == "stem":
            y = y[:, 0, 0]  # the map of each channel is a factor
        if styled and module.endswith("conv0"):
            side = int(np.sqrt(made.shape[1]))
            made = jnp.asarray(made.reshape(4, side, side, -1), jnp.float32)
            made = np.asarray(blur(jnp.pad(made, ((0, 0), (0, 1), (0, 1), (0, 0))), (1, 3, 3, 1), (1, 0)), np.float64)
        y, made = y.reshape(4, -1, w.shape[-1]), made.reshape(4, -1, w.shape[-1])
        bias = params.get(f"{module}/bias")
        axes = (1,) if styled else (0, 1)
        if bias is not None:  # of equalised layers, on another scale: a constant for each channel
            y, made = (v - v.mean(axes, keepdims=True) for v in (y, made))
        factor = (y * made).sum(axes, keepdims=True) / np.maximum((made**2).sum(axes, keepdims=True), 1e-30)
        assert_allclose(factor * made, y, atol=2e-4 * np.abs(y).max() + 1e-6, err_msg=path)
        assert module == "stem" or (factor > 0).all() or np.abs(y).max() < 1e-6


def undone(y, module, network):
    """A layer's output before its activation."""
    linear = ("affine", "to_rgb", "skip", "out", "embed")
    return y if module.endswith(linear) else np.where(y < 0, y / 0.2, y)


def test_a_module_that_is_used_twice_has_the_rows_of_both():
    """StyleGAN2 maps two latents where styles are mixed; here in a network that calls its mapping again."""
    pair = pair_of("stylegan2", 16)
    z = inputs(pair.config)[0]

    def twice(variables, x, labels, train):
        pair.g.parts["map"](variables, x)
        return pair.g.parts["map"](variables, 2 * x)

    import types

    run = lambda v: kernel_inputs(types.SimpleNamespace(apply=twice), v, z)
    shapes = jax.eval_shape(run, pair.g.specs())
    assert shapes["mapping/fc0/kernel"].shape == (1, 8, 5)
