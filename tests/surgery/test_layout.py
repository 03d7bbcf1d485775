"""The layouts name every leaf, agree with the shapes, and are right: permuted and rescaled, the function stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import DCGANConfig, R3GANConfig, ResNetConfig, StyleGAN2Config
from gan_jax.surgery.axes import Axis, parse
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import TreeError, flatten, unflatten
from tests.surgery.pairs import SMALL_DCGAN, SMALL_R3GAN, compiled, latents, make_pair, shapes

CONFIGS = [
    ResNetConfig(resolution=32, channel_max=8),
    ResNetConfig(resolution=16, num_classes=3),
    DCGANConfig(resolution=16),
    DCGANConfig(resolution=64),
    StyleGAN2Config(resolution=16, num_classes=3),
    StyleGAN2Config(resolution=16, discriminator="skip"),
    StyleGAN2Config(resolution=16, discriminator="orig", mbstd_group=0),
    R3GANConfig(),
    R3GANConfig(resolution=16, num_classes=3, widths=(12,), cardinality=(4, 2), blocks=(1, 2)),
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


@pytest.mark.parametrize(
    "base",
    [pytest.param({}, marks=pytest.mark.slow), {"num_classes": 3}, {"base": SMALL_DCGAN}, {"base": SMALL_R3GAN}],
    ids=str,
)
@pytest.mark.parametrize("train", [pytest.param(False, marks=pytest.mark.slow), True])
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
    with pytest.raises(TreeError, match="no arrow"):
        parse("h w b4 b8")
    layout = Layout({"params/a/kernel": "x -> y", "params/b/kernel": "y -> z"})
    with pytest.raises(PlanError, match="has 3 channels of 'y', others 4"):
        layout.sizes({"params/a/kernel": (2, 4), "params/b/kernel": (3, 2)})
    with pytest.raises(PlanError, match="does not have the axes 'x -> y'"):
        layout.sizes({"params/a/kernel": (2, 4, 4)})
    with pytest.raises(PlanError, match="does not know leaf 'params/c/kernel'.*did you mean"):
        layout.leaf("params/c/kernel")


def test_text_of_weights_for_each_channel_and_of_grouped_convolutions():
    leaf = parse("h w -> b4:stem>b4")
    assert leaf.axes[2] == Axis("b4", "b4", False, None, "b4", "stem")
    leaf = parse("h w place:conv0 -> (groups=8 out:conv1)")
    assert leaf.view((3, 3, 2, 40)) == (3, 3, 2, 8, 5)
    layout = Layout({"params/k": "h w place:conv0 -> (groups=8 out:conv1)"}, joint={"conv0": ("groups", "place")})
    assert layout.uses("params/k") == [("conv0", True, (3, 2)), ("groups", False, (3,)), ("conv1", False, (4,))]
    with pytest.raises(PlanError, match="has 4 channels of 'groups', others 8"):
        Layout({"params/a": "x -> groups", "params/b": "groups=8 -> y"}).sizes({"params/b": (8, 3), "params/a": (2, 4)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z -> w", "axes 'z -> w': 'w' is the height or width .* read as 'h w'; name a group of channels otherwise"),
        ("w -> logit", "'w' is the height or width"),
        ("h b4 -> b8", "'h' is the height or width"),
        ("b4 -> h w", "'h' is the height or width"),
        ("h w b4 -> rgb:loud", "axis 'rgb:loud': 'rgb' is a fixed axis, without scale or size"),
        ("z=3 -> b4", "axis 'z=3': 'z' is a fixed axis"),
        ("z -> b4=many", "axis 'b4=many' is no 'group', 'group:scale', 'group:read>written' or 'group=size'"),
        ("z -> :b4", "axis ':b4' is no 'group'"),
    ],
)
def test_names_of_fixed_axes_are_no_groups(text, message):
    with pytest.raises(TreeError, match=message):
        parse(text)
