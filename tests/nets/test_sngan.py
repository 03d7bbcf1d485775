"""What is particular to SNGAN as published: sizes, parameters as many as published, shortcuts, how singular values are found."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import Config, SNGANConfig
from gan_jax.nets import build
from gan_jax.nets.conv import upsample_linear
from gan_jax.nets.layers import Dense
from gan_jax.trees import count
from tests.nets.families import drawn

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
WIDE = (64, 128, 256, 512, 1024)
SMALL = SNGANConfig(8, 1, z_dim=3, g_widths=(3, 2), d_widths=(3,), d_rest=(3, 4))


@pytest.mark.parametrize(
    ("config", "g", "d"),
    [
        (SNGANConfig(), 4_276_739, 1_053_825),
        (SNGANConfig(48, g_widths=(512, 256, 128, 64), d_widths=WIDE[:4], d_rest=WIDE[4:]), 4_878_083, 10_141_441),
        (SNGANConfig(64, g_widths=WIDE[::-1], d_widths=WIDE, d_rest=()), 12_220_675, 10_141_441),
        (SNGANConfig(128, g_widths=(1024, *WIDE[::-1]), d_widths=WIDE, d_rest=(1024,)), 32_150_787, 29_017_857),
    ],
    ids=["32", "48", "64", "128"],
)
def test_as_many_parameters_as_published(config, g, d):
    Config(net=config).validate()
    pair = build(config)
    assert (count(pair.g.specs()["params"]), count(pair.d.specs()["params"])) == (g, d)


def test_bilinear_doubling():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 2)).astype("f4")
    wanted = jax.image.resize(x, (2, 6, 10, 2), "bilinear")
    np.testing.assert_allclose(upsample_linear(jnp.asarray(x)), wanted, atol=1e-6)
    np.testing.assert_allclose(upsample_linear(jnp.asarray([0.0, 4.0]).reshape(1, 1, 2, 1))[0, 0, :, 0], [0, 1, 3, 4])


def test_shortcuts_read_what_the_first_relu_leaves():
    """The block that keeps size and width is relu(x) + residual, or x + residual."""
    for cut in (True, False):
        pair = build(dataclasses.replace(SMALL, cut_skips=cut))
        d = drawn(pair.d)
        d["params"]["b4"]["conv1"] = jax.tree.map(np.zeros_like, d["params"]["b4"]["conv1"])
        seen = jax.jit(pair.d.activations, compiler_options=QUICK)(
            d, jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
        )
        before, after = seen["b8"], seen["b4"]
        assert np.abs(np.minimum(before, 0)).max() > 1e-3
        np.testing.assert_allclose(after, np.maximum(before, 0) if cut else before, atol=1e-6)
        sums = np.maximum(seen["b4_more0"], 0).sum((1, 2))
        kernel, bias = (np.asarray(d["params"]["head"][name]) for name in ("kernel", "bias"))
        logits = sums @ kernel / np.linalg.norm(kernel) + bias  # one output: the singular value is the length
        np.testing.assert_allclose(seen["head"], logits, rtol=1e-4, atol=1e-5)


def test_stored_vectors_are_taken_as_they_are():
    """Three ways to the singular value, from vectors that have not converged, and one training pass."""
    rng = np.random.default_rng(0)
    kernel, u, v = rng.standard_normal((5, 4)), rng.standard_normal(4), rng.standard_normal(5)
    u, v, unit = u / np.linalg.norm(u), v / np.linalg.norm(v), lambda x: x / np.linalg.norm(x)
    x = np.eye(5)
    first = unit(kernel @ u)
    wanted = {"plain": np.linalg.norm(kernel @ u), "refine": np.linalg.norm(first @ kernel), "stored": v @ kernel @ u}
    as_f4 = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    for name, value in wanted.items():
        options: dict[str, Any] = {} if name == "plain" else {name: True}
        layer: Any = Dense(features=4, bias=False, spectral=True, **options)
        state = as_f4({"params": {"kernel": kernel}, "spectral": {"u": u, **({"v": v} if name == "stored" else {})}})
        np.testing.assert_allclose(layer.apply(state, as_f4(x)), kernel / value, rtol=1e-5)
        made, after = layer.apply(state, as_f4(x), True, mutable=["spectral"])
        np.testing.assert_allclose(made, kernel / wanted["refine"], rtol=1e-5)
        np.testing.assert_allclose(after["spectral"]["u"], unit(first @ kernel), rtol=1e-5)
        if name == "stored":
            np.testing.assert_allclose(after["spectral"]["v"], first, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"resolution": 36},
            r"net.resolution 36 cannot be halved 3 times, as net.g_widths \[256, 256, 256, 256\] requires",
        ),
        ({"d_widths": (4,) * 6}, "net.resolution 32 cannot be halved 6 times, as net.d_widths"),
        ({"g_widths": ()}, r"net.g_widths is \[\]; give one width or more"),
        ({"d_rest": (4, 0)}, r"net.d_rest is \[4, 0\]"),
    ],
)
def test_what_cannot_be_built(changes, message):
    with pytest.raises(ValueError, match=message):
        Config(net=SNGANConfig(**changes)).validate()
