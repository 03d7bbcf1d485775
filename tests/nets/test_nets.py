"""What every pair promises, for every family, resolution and compute dtype; leaf paths are public API.

After a change that is meant: `python -m tests.nets.test_nets` rewrites the golden list.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import (
    BigGANConfig,
    ConfigError,
    DCGANConfig,
    MLPConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
)
from gan_jax.nets import NETS, build
from gan_jax.trees import count, flatten

GOLDEN = Path(__file__).parent / "golden" / "leaves.json"
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
SMALL = {"channels": 3, "z_dim": 5, "channel_base": 64, "channel_max": 8}
FAMILIES = {
    "resnet": ResNetConfig(**SMALL),
    "resnet-conditional": ResNetConfig(num_classes=3, **SMALL),
    "dcgan": DCGANConfig(**SMALL),
    "stylegan2": StyleGAN2Config(w_dim=6, mapping_layers=2, **SMALL),
    "stylegan2-conditional": StyleGAN2Config(w_dim=6, num_classes=3, discriminator="skip", **SMALL),
    "resnet-deep": ResNetConfig(depth=3, kernel=5, num_classes=3, **SMALL),
    "r3gan": R3GANConfig(z_dim=5, widths=(8, 8, 6), cardinality=(4, 2), blocks=(1, 2, 1)),
    "r3gan-conditional": R3GANConfig(z_dim=5, num_classes=3, widths=(6,), cardinality=(2,), blocks=(1,), expansion=1),
    "mlp": MLPConfig(channels=3, z_dim=5, g_widths=(8, 6), d_widths=(6,)),
    "mlp-conditional": MLPConfig(channels=3, z_dim=5, num_classes=3, g_widths=(8,), d_widths=(8, 6)),
    "biggan": BigGANConfig(z_dim=12, width=1, attention=(16,)),
    "biggan-conditional": BigGANConfig(z_dim=12, width=1, num_classes=3, shared_dim=4, attention=(8,), d_gain=True),
    "biggan-tables": BigGANConfig(
        *(16, 3, 3, 5, 1), hierarchical=False, shared_dim=0, attention=(), d_wide=False, g_spectral=False
    ),
    "sngan": SNGANConfig(z_dim=5, g_widths=(8, 6, 4), d_widths=(4, 6), d_rest=(6, 8), estimate="stored"),
    "sngan-conditional": SNGANConfig(
        z_dim=5, num_classes=3, g_widths=(8, 6), d_widths=(4, 6), d_rest=(6, 5), upsample="nearest"
    ),
}
CASES = [
    (family, r)
    for family in FAMILIES
    for r in (16, 32)
    if (family, r) not in {("resnet-deep", 32), ("biggan-tables", 32)}
]


@functools.cache
def pair_of(family: str, resolution: int, dtype: str = "float32"):
    return build(dataclasses.replace(FAMILIES[family], resolution=resolution, dtype=dtype))


def leaves(family: str, resolution: int) -> dict[str, list[int]]:
    pair = pair_of(family, resolution)
    return {path: list(spec.shape) for path, spec in flatten({"g": pair.g.specs(), "d": pair.d.specs()}).items()}


def inputs(config, n: int = 4) -> tuple:
    z = jax.random.normal(jax.random.key(1), (n, config.z_dim))
    images = jax.random.uniform(jax.random.key(2), (n, config.resolution, config.resolution, 3), minval=-1.0)
    return z, images, jnp.arange(n, dtype=jnp.int32) % 3 if getattr(config, "num_classes", 0) else None


def test_every_family_is_here():
    assert {type(config) for config in FAMILIES.values()} == NETS.keys()


@pytest.mark.parametrize(("family", "resolution"), CASES)
def test_leaf_paths_and_shapes_are_the_golden_ones(family, resolution):
    golden = json.loads(GOLDEN.read_text())[f"{family}-{resolution}"]
    assert leaves(family, resolution) == golden


@pytest.mark.parametrize(("family", "resolution"), CASES)
def test_parameters_are_float32_and_as_many_as_the_golden_ones(family, resolution):
    golden = json.loads(GOLDEN.read_text())[f"{family}-{resolution}"]
    pair = pair_of(family, resolution, "bfloat16")
    for name, net in (("g", pair.g), ("d", pair.d)):
        assert {leaf.dtype for leaf in jax.tree.leaves(net.specs())} == {jnp.dtype("float32")}
        expected = sum(int(np.prod(shape)) for path, shape in golden.items() if path.startswith(f"{name}/params/"))
        assert count(net.specs()["params"]) == expected > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "resolution"), CASES)
def test_outputs(family, resolution, dtype):
    """Shapes and dtypes in both modes, without running anything."""
    pair = pair_of(family, resolution, dtype)
    z, images, labels = inputs(pair.config)
    for train in (False, True):
        made, g_collections = jax.eval_shape(lambda v, t=train: pair.g.apply(v, z, labels, t), pair.g.specs())
        logits, d_collections = jax.eval_shape(lambda v, t=train: pair.d.apply(v, images, labels, t), pair.d.specs())
        assert (made.shape, made.dtype) == (images.shape, jnp.float32)
        assert (logits.shape, logits.dtype) == ((4,), jnp.float32)
        for net, collections in ((pair.g, g_collections), (pair.d, d_collections)):
            expected = {k: v for k, v in net.specs().items() if k != "params"}
            assert jax.tree.map(lambda x: (x.shape, x.dtype), collections) == jax.tree.map(
                lambda x: (x.shape, x.dtype), expected
            )


@pytest.mark.parametrize(
    ("family", "resolution", "dtype"),
    [
        ("resnet", 32, "float32"),
        ("resnet-conditional", 16, "bfloat16"),
        ("resnet-deep", 16, "float32"),
        ("dcgan", 32, "float32"),
        ("stylegan2", 16, "bfloat16"),
        ("stylegan2-conditional", 32, "float32"),
        ("r3gan", 32, "bfloat16"),
        ("r3gan-conditional", 16, "float32"),
        ("mlp", 32, "bfloat16"),
        ("mlp-conditional", 16, "float32"),
        ("sngan", 16, "bfloat16"),
        ("sngan-conditional", 16, "float32"),
        ("biggan", 32, "bfloat16"),
        ("biggan-conditional", 16, "float32"),
        ("biggan-tables", 16, "float32"),
    ],
)
def test_a_training_pass(family, resolution, dtype):
    """Range, liveliness, and a finite gradient in every leaf, through G and D together."""
    pair = pair_of(family, resolution, dtype)
    z, images, labels = inputs(pair.config)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(key):
        g, d = pair.g.init(key), pair.d.init(jax.random.fold_in(key, 1))
        if family.startswith(("r3gan", "biggan")):  # whose blocks or attention sleep behind a zero at first
            g, d = jax.tree.map(lambda leaf: jnp.where((leaf == 0).all(), 0.1, leaf), (g, d))

        def loss(params):
            made, _ = pair.g.apply({**g, "params": params["g"]}, z, labels, True)
            fake, _ = pair.d.apply({**d, "params": params["d"]}, made, labels, True)
            real, _ = pair.d.apply({**d, "params": params["d"]}, images, labels, True)
            return jnp.tanh(fake).sum() - 2 * jnp.tanh(real).sum(), (made, real)

        (_, outputs), gradients = jax.value_and_grad(loss, has_aux=True)({"g": g["params"], "d": d["params"]})
        return outputs, gradients

    (made, logits), gradients = run(jax.random.key(0))
    assert np.asarray(made).std() > 1e-3
    assert np.abs(made).max() <= 1 or family.startswith(("stylegan2", "r3gan")), "whose images are not bounded"
    assert np.asarray(logits).std() > 1e-4, "D tells images apart"
    for path, gradient in flatten(gradients).items():
        assert np.isfinite(gradient).all() and (np.abs(gradient) > 0).any(), path


@pytest.mark.parametrize("family", ["resnet", "dcgan", "stylegan2", "r3gan", "mlp", "sngan", "biggan-conditional"])
def test_compiled_is_eager(family):
    pair = pair_of(family, 16)
    z, images, labels = inputs(pair.config, 2)
    for net, x in ((pair.g, z), (pair.d, images)):
        variables = jax.jit(net.init, compiler_options=QUICK)(jax.random.key(0))
        eager, fast = net.apply(variables, x, labels)[0], jax.jit(net.apply)(variables, x, labels)[0]
        np.testing.assert_allclose(fast, eager, rtol=1e-4, atol=1e-5)


def test_statistics_are_those_of_the_batch():
    """Evaluation with them is the training pass: with running averages it is not."""
    pair = pair_of("resnet", 16)
    z, _, _ = inputs(pair.config)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(key):
        variables = pair.g.init(key)
        exact = {**variables, "batch_stats": pair.g.statistics(variables, z)}
        return pair.g.apply(variables, z, train=True)[0], pair.g.apply(exact, z)[0], pair.g.apply(variables, z)[0]

    trained, exact, running = run(jax.random.key(0))
    np.testing.assert_allclose(exact, trained, atol=2e-4)
    assert np.abs(running - trained).max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_d_are_its_layers_from_the_image_upwards(family):
    pair = pair_of(family, 32)
    if family.startswith("mlp"):  # whose layers have no resolution
        assert pair.d_blocks == tuple(name for name in pair.d.specs()["params"] if name.startswith("fc"))
        return
    blocks = {"dcgan": ("from_rgb", "b8", "b4"), "stylegan2": ("b32", "b16", "b8", "b4")}
    blocks["biggan"] = blocks["sngan"] = ("b32", "b16", "b8", "b8_more0")
    assert pair.d_blocks == blocks.get(family.partition("-")[0], ("from_rgb", "b32", "b16", "b8", "b4"))
    names = list(pair.d.specs()["params"])
    assert set(pair.d_blocks) <= set(names)
    rest = {name for name in names if name not in pair.d_blocks and not name.startswith("norm")}
    if family.startswith("stylegan2"):
        assert rest == ({"mapping"} if pair.config.num_classes else set())
    else:
        assert rest == ({"head", "embed"} if getattr(pair.config, "num_classes", 0) else {"head"})
    sizes = [int(name[1:].partition("_")[0]) for name in pair.d_blocks if name != "from_rgb"]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == (8 if family.startswith(("biggan", "sngan")) else 4)


def test_widths_do_not_depend_on_the_final_size():
    """A pair of another resolution has the same blocks below, so that growing finds them."""
    small, large = leaves("resnet", 16), leaves("resnet", 32)
    shared = {path for path in small if path.startswith(("g/params/b", "g/batch_stats/b"))}
    assert shared and all(large[path] == small[path] for path in shared)


@pytest.mark.parametrize("name", ["g", "d"])
def test_a_conditional_net_wants_labels(name):
    pair = pair_of("resnet-conditional", 16)
    net, x = getattr(pair, name), inputs(pair.config)["gd".index(name)]
    with pytest.raises(ValueError, match="needs labels .N. int32, one for each example; it was given none"):
        jax.eval_shape(lambda v: net.apply(v, x), net.specs())


def test_unknown_configuration():
    with pytest.raises(
        ConfigError,
        match="no network for int; the known ones are ResNetConfig, DCGANConfig, StyleGAN2Config, R3GANConfig",
    ):
        build(3)


if __name__ == "__main__":
    golden = {f"{family}-{resolution}": leaves(family, resolution) for family, resolution in CASES}
    lines = [
        f'"{name}": {{\n' + ",\n".join(f'  "{path}": {json.dumps(shape)}' for path, shape in paths.items()) + "\n}"
        for name, paths in golden.items()
    ]
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
