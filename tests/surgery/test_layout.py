"""The layouts name every leaf, agree with the shapes, and are right: permuted and rescaled, the function stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import DCGANConfig, ResNetConfig, StyleGAN2Config
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.layout import Layout, parse
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import flatten, unflatten
from tests.surgery.pairs import SMALL_DCGAN, compiled, latents, make_pair, shapes

CONFIGS = [
    ResNetConfig(resolution=32, channel_max=8),
    ResNetConfig(resolution=16, num_classes=3),
    DCGANConfig(resolution=16),
    DCGANConfig(resolution=64),
    StyleGAN2Config(resolution=16, num_classes=3),
    StyleGAN2Config(resolution=16, discriminator="skip"),
    StyleGAN2Config(resolution=16, discriminator="orig", mbstd_group=0),
]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_every_leaf_is_named_and_groups_agree(config):
    for name, layout in layouts(config).items():
        found = {path: tuple(leaf.shape) for path, leaf in flatten(shapes(config)[name]).items()}
        assert set(layout.text) == set(found)
        assert layout.sizes(found)


def permute(layout: Layout, variables, seed: int):
    """Every group's channels in another order."""
    rng = np.random.default_rng(seed)
    flat = flatten(variables)
    sizes = layout.sizes({path: tuple(leaf.shape) for path, leaf in flat.items()})
    orders = {group: rng.permutation(n) for group, n in sizes.items()}
    out = {}
    for path, x in flat.items():
        leaf = layout.leaf(path)
        moved = np.asarray(x).reshape(leaf.view(x.shape))
        for i, axis in enumerate(leaf.axes):
            if axis.group is not None:
                moved = moved.take(orders[axis.group], axis=i)
        out[path] = moved.reshape(x.shape)
    return unflatten(out, like=variables)


@pytest.mark.parametrize("base", [{}, {"num_classes": 3}, {"base": SMALL_DCGAN}], ids=str)
@pytest.mark.parametrize("train", [False, True])
def test_a_permutation_is_not_seen(base, train):
    with jax.enable_x64(True):
        pair, variables = make_pair(0, **base)
        z = latents(pair, 4)
        images = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1), jnp.float64, minval=-1.0)
        for name, x in (("g", z), ("d", images)):
            moved = permute(layouts(pair.config)[name], variables[name], 3)
            apply = compiled(pair.config, name, train)
            head = {"g": "params/to_rgb/kernel", "d": "params/from_rgb/kernel"}[name]
            assert not np.array_equal(flatten(moved)[head], flatten(variables[name])[head])
            np.testing.assert_allclose(apply(moved, x)[0], apply(variables[name], x)[0], atol=1e-10)


def test_text():
    leaf = parse("z -> (4 4 b4)")
    assert leaf.view((64, 16 * 24)) == (64, 4, 4, 24) and leaf.where("b4") == [3]
    leaf = parse("h w b4:b8/norm0 -> b8/conv0")
    assert [(axis.group, axis.scale, axis.reads) for axis in leaf.axes[2:]] == [
        ("b4", "b8/norm0", True),
        ("b8/conv0", "b8/conv0", False),
    ]
    with pytest.raises(PlanError, match="no arrow"):
        parse("h w b4 b8")
    layout = Layout({"params/a/kernel": "x -> y", "params/b/kernel": "y -> z"})
    with pytest.raises(PlanError, match="has 3 channels of 'y', others 4"):
        layout.sizes({"params/a/kernel": (2, 4), "params/b/kernel": (3, 2)})
    with pytest.raises(PlanError, match="does not have the axes 'x -> y'"):
        layout.sizes({"params/a/kernel": (2, 4, 4)})
    with pytest.raises(PlanError, match="does not know leaf 'params/c/kernel'.*did you mean"):
        layout.leaf("params/c/kernel")
