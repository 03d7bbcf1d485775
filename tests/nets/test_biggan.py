"""BigGAN's own parts against NumPy, its sizes against the published numbers, and what cannot be built."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import BigGANConfig, Config, ConfigError
from gan_jax.nets import build
from gan_jax.nets.biggan import PRESETS, PUBLISHED, stages, widths
from gan_jax.nets.layers import Attention, Columns, Dense
from gan_jax.trees import count, flatten
from tests.nets.families import drawn

SMALL = BigGANConfig(16, num_classes=3, z_dim=12, width=1, shared_dim=4, attention=())
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
unit = lambda x: x / np.linalg.norm(x)


@pytest.mark.parametrize("train", [False, True])
def test_evaluation_divides_by_one_more_power_iteration(train):
    """From a vector that has not converged; training stores what it finds, evaluation does not."""
    rng = np.random.default_rng(0)
    kernel, u, x = rng.standard_normal((5, 3)), unit(rng.standard_normal(3)), rng.standard_normal((2, 5))
    after = unit(kernel.T @ (v := unit(kernel @ u)))
    variables = {"params": {"kernel": kernel}, "spectral": {"u": u}}
    with jax.enable_x64(True):
        layer: Any = Dense(features=3, bias=False, spectral=True, refine=True)
        found, kept = layer.apply(variables, x, train, mutable=["spectral"])
        plain: Any = Dense(features=3, bias=False, spectral=True).apply(variables, x)
        labels = jnp.array([2, 0])
        table = Columns(num_classes=3, features=5, spectral=True, refine=True)
        rows: Any = table.apply(variables, labels)
    np.testing.assert_allclose(found, x @ kernel / (v @ kernel @ after), rtol=1e-12)
    np.testing.assert_allclose(kept["spectral"]["u"], after if train else u, rtol=1e-12)
    np.testing.assert_allclose(plain, x @ kernel / np.linalg.norm(kernel @ u), rtol=1e-12)
    np.testing.assert_allclose(rows, (kernel / (v @ kernel @ after)).T[np.array([2, 0])], rtol=1e-12)


def test_attention_by_hand():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 4, 4, 8))
    kernels = {name: rng.standard_normal((1, 1, *s)) for name, s in
               {"theta": (8, 1), "phi": (8, 1), "g": (8, 4), "o": (4, 8)}.items()}  # fmt: skip
    params = {name: {"kernel": kernel} for name, kernel in kernels.items()} | {"gamma": np.float64(0.7)}
    with jax.enable_x64(True):
        layer = Attention(spectral=False, init_kernel=jax.nn.initializers.normal(), dtype="float64")
        found: Any = layer.apply({"params": params}, x, False)
    halved = lambda y: y.reshape(2, 2, 2, 2, -1).max((1, 3)).reshape(4, -1)
    logits = x.reshape(16, 8) @ kernels["theta"][0, 0] @ halved(x[0] @ kernels["phi"][0, 0]).T
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    read = shares @ halved(x[0] @ kernels["g"][0, 0]) @ kernels["o"][0, 0]
    np.testing.assert_allclose(found[0], x[0] + 0.7 * read.reshape(4, 4, 8), rtol=1e-10)


def test_parameters_as_published():
    """70.43 and 87.98 million at 128 px, as the PyTorch implementation prints; 4.3 and 4.2 for CIFAR."""
    counts = lambda pair: tuple(count(net.specs()["params"]) for net in (pair.g, pair.d))
    assert counts(build(PRESETS["imagenet128"])) == (70_433_988, 87_982_370)
    assert counts(build(PRESETS["cifar10"])) == (4_304_387, 4_207_361)
    assert {name: c.resolution for name, c in PRESETS.items()}.items() >= {
        "imagenet512": 512,
        "imagenet256": 256,
    }.items()
    for config in PRESETS.values():
        assert not config.hierarchical or config.z_dim == 20 * len(widths(config))


@pytest.mark.parametrize("resolution", PUBLISHED)
def test_d_mirrors_nothing_but_ends_at_the_published_size(resolution):
    found = stages(BigGANConfig(resolution, width=1))
    assert [stage.features for stage in found] == list(PUBLISHED[resolution][1])
    assert sum(stage.down for stage in found) == (resolution // (8 if resolution == 32 else 4)).bit_length() - 1
    assert [stage.first for stage in found] == [True] + [False] * (len(found) - 1)
    assert found[0].reads == 3 and all(b.reads == a.features for a, b in zip(found, found[1:]))
    assert [stage.has_skip for stage in found][-1] == (found[-1].reads != found[-1].features)


def test_classes_and_parts_of_the_latents_are_heard_where_they_should_be():
    """Latents of a part change nothing before the block that reads it; the class changes all blocks, not the stem."""
    pair = build(SMALL)
    variables = drawn(pair.g)
    z, labels = jax.random.normal(jax.random.key(1), (2, 12)), jnp.array([0, 1])
    activations = jax.jit(pair.g.activations, compiler_options=QUICK)
    run = lambda z, y: activations(variables, z, y)
    base = run(z, labels)
    changed = lambda new: {name for name in ("stem", "b8", "b16") if np.abs(new[name] - base[name]).max() > 1e-6}
    assert changed(run(z.at[:, :4].add(1), labels)) == {"stem", "b8", "b16"}
    assert changed(run(z.at[:, 4:8].add(1), labels)) == {"b8", "b16"}
    assert changed(run(z.at[:, 8:].add(1), labels)) == {"b16"}
    assert changed(run(z, labels + 1)) == {"b8", "b16"}


def test_a_fresh_norm_of_tables_multiplies_by_one():
    table = dataclasses.replace(SMALL, hierarchical=False, shared_dim=0)
    start = lambda key: flatten(build(table).g.init(key)["params"])["b8/norm0/gain"]  # the rest is not compiled
    gain = jax.jit(start, compiler_options=QUICK)(jax.random.key(0))
    assert gain.shape == (3, 16) and not np.any(gain)
    plain = flatten(build(dataclasses.replace(table, num_classes=0)).g.specs()["params"])
    assert plain["b8/norm0/gain"].shape == (16,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z_dim": 13}, "net.z_dim 13 does not fall into 3 equal parts.*multiple of 3, or net.hierarchical False"),
        ({"shared_dim": 0}, "net.shared_dim 0 puts a table of classes into each norm; set net.hierarchical False"),
        ({"resolution": 1024}, "no published BigGAN has 1024 px; give net.g_multipliers and net.d_multipliers"),
        ({"g_multipliers": (1, 1)}, r"net.g_multipliers \[1, 1\] are 2 numbers; 16 px needs 3, from 4 px upwards"),
        (
            {"d_multipliers": (1,)},
            r"net.d_multipliers \[1\] are 1 blocks, which do not lead from 16 px to net.d_size 4",
        ),
        ({"d_size": 5}, "do not lead from 16 px to net.d_size 5"),
        ({"d_attention": ("b3",)}, "net.d_attention 'b3' is no block of D; they are b16, b8, b4"),
    ],
)
def test_what_cannot_be_built(changes, message):
    config = dataclasses.replace(SMALL, **changes)
    with pytest.raises(ConfigError, match=message):
        pair = build(config)
        pair.g.specs()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z_dim": 13}, "net.z_dim 13 does not fall into 3 equal parts, for the first layer and each block at 16 px"),
        ({"shared_dim": 0}, "net.shared_dim 0 puts a table of classes into each norm"),
        ({"d_multipliers": (0, 1, 1)}, r"net.d_multipliers is \[0, 1, 1\]; give numbers of at least 1, or None"),
        ({"attention": (8, 12)}, "net.attention names 12 px, but maps have sizes of 4, 8, 16"),
        ({"width": 0}, "net.width is 0; it must be positive"),
        ({"shared_dim": -1}, "net.shared_dim is -1; it must not be negative"),
    ],
)
def test_what_is_refused_before_a_run(changes, message):
    with pytest.raises(ConfigError, match=message):
        Config(net=dataclasses.replace(SMALL, **changes)).validate()
    Config(net=SMALL).validate()
