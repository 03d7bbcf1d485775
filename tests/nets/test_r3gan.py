"""R3GAN: how it starts, what its lists mean, where it computes in half precision, and the published sizes."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import R3GANConfig
from gan_jax.nets import build
from gan_jax.nets.r3gan import PRESETS, Stage, dtype_at, stages
from gan_jax.trees import count, flatten
from tests.nets.families import drawn

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
SMALL = R3GANConfig(resolution=16, z_dim=64, num_classes=4, widths=(64, 32), cardinality=(4,), blocks=(2, 1))


def test_initial_weights():
    """Standard deviations of the paper: sqrt(2 / 1.04) L^(-1/4) / sqrt(fan_in) inside the L = 4 blocks, last zero."""
    pair = build(SMALL)
    leaves = {
        f"{name}/{path}": np.asarray(leaf)
        for name, net in (("g", pair.g), ("d", pair.d))
        for path, leaf in flatten(jax.jit(net.init, compiler_options=QUICK)(jax.random.key(0))["params"]).items()
    }
    inside = math.sqrt(2 / 1.04) * 4**-0.25
    expected = {
        "g/stem/basis": 1.0,
        "g/stem/kernel": 1 / math.sqrt(64 + 64),
        "g/embed/embedding": 1 / math.sqrt(4),
        "g/b8/transition/kernel": 1 / math.sqrt(64),
        "g/b4/res1/conv0/kernel": inside / math.sqrt(64),
        "g/b4/res1/conv1/kernel": inside / math.sqrt(9 * 128 / 4),
        "d/b8/transition/kernel": 1 / math.sqrt(32),
        "d/b16/res0/conv1/kernel": inside / math.sqrt(9 * 64 / 4),
        "d/head/basis": 1 / math.sqrt(16),
        "d/head/kernel": 1 / math.sqrt(64),
        "d/embed/embedding": 1 / math.sqrt(4 * 64),
    }
    for path, deviation in expected.items():
        np.testing.assert_allclose(leaves[path].std(), deviation, rtol=4 / math.sqrt(leaves[path].size), err_msg=path)
    for path, leaf in leaves.items():
        assert leaf.any() != path.endswith(("conv2/kernel", "bias")), path


@pytest.mark.parametrize("part", ["g", "d"])
def test_a_fresh_block_leaves_the_function_as_it_was(part):
    """Blocks add nothing until trained: a deeper network with the same other weights is the same function."""
    small = dataclasses.replace(SMALL, resolution=8, z_dim=5, widths=(8, 4), cardinality=(2,), blocks=(2, 1))
    shallow = getattr(build(dataclasses.replace(small, blocks=(0,))), part)
    deep = getattr(build(small), part)
    variables = drawn(deep)["params"]
    for path, leaf in flatten(variables).items():
        leaf[...] *= not path.endswith("conv2/kernel")  # as they start: `test_initial_weights`
    bare = {
        name: {k: v for k, v in leaf.items() if not k.startswith("res")} for name, leaf in variables.items() if leaf
    }
    bare = {name: leaf for name, leaf in bare.items() if leaf}
    x = jax.random.normal(jax.random.key(1), (3, 5) if part == "g" else (3, 8, 8, 3))
    labels = jnp.array([0, 3, 1], jnp.int32)
    run = lambda net, params: jax.jit(net.apply, compiler_options=QUICK)({"params": params}, x, labels)[0]
    np.testing.assert_allclose(run(deep, variables), run(shallow, bare), rtol=1e-5, atol=1e-6)


def test_lists_hold_on_above_and_wait_for_growth():
    config = R3GANConfig(resolution=32, widths=(8, 6), cardinality=(2,), blocks=(1, 2, 3, 4, 5))
    assert stages(config) == {4: Stage(8, 2, 1), 8: Stage(6, 2, 2), 16: Stage(6, 2, 3), 32: Stage(6, 2, 4)}


def test_half_precision_is_of_the_highest_resolutions_and_never_of_the_ends():
    config = dataclasses.replace(SMALL, z_dim=5, widths=(8, 4), cardinality=(2,), dtype="bfloat16")
    assert [dtype_at(config, r) for r in (4, 8, 16)] == ["float32", "bfloat16", "bfloat16"]
    assert dtype_at(dataclasses.replace(config, low_precision=1), 8) == "float32"
    pair, labels = build(config), jnp.zeros((2,), jnp.int32)
    seen = lambda net, x: {
        path: out.dtype.name for path, out in jax.eval_shape(net.activations, net.specs(), x, labels).items()
    }
    g, d = seen(pair.g, jnp.zeros((2, 5))), seen(pair.d, jnp.zeros((2, 16, 16, 3)))
    assert (g["stem"], g["b4"], g["b8"], g["b16"], g["to_rgb"]) == ("float32",) * 2 + ("bfloat16",) * 2 + ("float32",)
    assert (d["from_rgb"], d["b16"], d["b4"], d["head"]) == ("bfloat16",) * 2 + ("float32",) * 2
    assert g["b8/res0/conv1"] == d["b8/res0/conv1"] == "bfloat16"


@pytest.mark.parametrize(
    "name", [name if name in ("cifar10", "ffhq64") else pytest.param(name, marks=pytest.mark.slow) for name in PRESETS]
)
def test_published_sizes(name):
    """Each kernel read off the architecture: a block of width C has 2 C (C + 9 * 2 C / groups + C) weights, 4 C biases."""
    config = PRESETS[name]
    config_stages, pair = stages(config), build(config)
    blocks, transitions, below = 0, 0, config.widths[0]
    for stage in config_stages.values():
        c = stage.width
        blocks += 2 * (2 * c * (2 * c + 9 * 2 * c // stage.cardinality) + 4 * c)
        transitions += below * c if below != c else 0
        below = c
    first, classes = config.widths[0], config.num_classes
    g_ends = 16 * first + first * (64 + 64 * bool(classes)) + 64 * classes + 3 * below
    d_ends = 16 * first + first * (first if classes else 1) + first * classes + 3 * below
    assert count(pair.g.specs()["params"]) == blocks + transitions + g_ends
    assert count(pair.d.specs()["params"]) == blocks + transitions + d_ends
