"""The fused generator: it starts as the target, to the bit, in every mode and part; donors have no gradients."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import ConfigError, MLPConfig, ResNetConfig
from gan_jax.fusion import features
from gan_jax.fusion.features import attention_maps, choose_points
from gan_jax.fusion.features import fused as fused_net
from gan_jax.losses import path_lengths
from gan_jax.nets import build
from gan_jax.nets.fronts import Styled
from gan_jax.trees import flatten, partition
from tests.lanes import default_rows
from tests.nets.families import FAMILIES, inputs, pair_of
from tests.train.toy import NET, STYLED, build_styled, build_toy

CONDITIONAL = ResNetConfig(**{**NET.__dict__, "num_classes": 3})
TOYS = {
    "plain": (build_toy(NET), {"norm0": 4, "to_rgb": 1}),
    "conditional": (build_toy(CONDITIONAL), {"norm0": 4}),
    "styled": (build_styled(STYLED), {"first": 16}),
}


def made(name="plain", kind="attention", donors=2, gate=None):
    """`(plain net, fused net, plain variables, fused variables, fusion)`."""
    pair, points = TOYS[name]
    fusion = features.Fusion(points, kind, 4)
    init = jax.jit(pair.g.init)
    g, *others = (init(jax.random.key(i)) for i in range(donors + 1))
    carried = jax.jit(lambda g, others: features.attach(fusion, g, others, jax.random.key(9)))(g, others)
    if gate is not None:
        draw = np.random.default_rng(0)
        branch = carried["params"][features.FUSION]
        moved = jax.tree.map(lambda x: x + 0.2 * draw.standard_normal(x.shape, np.float32), branch[features.LAYERS])
        ways = {point: {**way, "gate": np.float32(gate)} for point, way in moved.items()}
        carried = {**carried, "params": {**carried["params"], features.FUSION: {**branch, features.LAYERS: ways}}}
    return pair.g, fused_net(pair.g, fusion), g, carried, fusion


def compiled(function):
    return jax.jit(function, static_argnames="train")


def latents(name="plain", n=4):
    z = jnp.asarray(np.random.default_rng(1).standard_normal((n, 4), np.float32))
    return z, (jnp.arange(n) % 3 if name == "conditional" else None), jax.random.split(jax.random.key(2), n)


@pytest.mark.parametrize("name", default_rows(TOYS, ["plain"]))
def test_the_start_is_the_target_to_the_bit(name):
    """Operation by operation; what a compiler makes of the whole may round otherwise."""
    net, fused, g, carried, fusion = made(name)
    z, labels, keys = latents(name)
    want, collections = net.apply(g, z, labels, train=True, keys=keys)
    out, told = fused.apply(carried, z, labels, train=True, keys=keys)
    assert_array_equal(out, want)
    assert jax.tree.structure(told) == jax.tree.structure({k: v for k, v in carried.items() if k != "params"})
    jax.tree.map(assert_array_equal, {k: told[k] for k in collections}, collections)
    jax.tree.map(assert_array_equal, features.plain(carried), g)
    for path, share in told[features.SHARES].items():
        assert_allclose(share.sum(), 1, rtol=1e-5)
        assert told[features.SELF_ATTENTION][path] >= -np.log(share[0]) - 1e-5  # Jensen
    near = functools.partial(assert_allclose, rtol=3e-6, atol=3e-7)
    still = compiled(net.apply)(g, z, labels)[0]
    near(compiled(fused.apply)(carried, z, labels)[0], still)
    near(compiled(fused.apply_with_intermediates)(carried, z, labels)[0], still)
    if "styles" in net.parts:
        styles = fused.parts["styles"](carried, z, labels)
        assert isinstance(styles, Styled)
        images = lambda ws: fused.parts["synthesise"](carried, styles._replace(ws=ws))
        assert_array_equal(images(styles.ws), want)
        y, plain = jnp.ones(want.shape), lambda ws: net.parts["synthesise"](g, ws)
        lengths = [jax.jit(lambda ws, run=run: path_lengths(run, ws, y))(styles.ws) for run in (images, plain)]
        assert_allclose(*lengths, rtol=1e-5)


@pytest.mark.parametrize("name", default_rows(TOYS, ["conditional", "styled"]))
def test_parts_modes_and_looks_agree_away_from_the_start(name):
    net, fused, g, carried, fusion = made(name, gate=0.8)
    z, labels, _ = latents(name)
    out = compiled(fused.apply)(carried, z, labels)[0]
    assert abs(out - compiled(net.apply)(g, z, labels)[0]).max() > 1e-2
    seen, _, inside = compiled(fused.apply_with_intermediates)(carried, z, labels)
    assert_allclose(seen, out, rtol=3e-6, atol=3e-7)
    plain = compiled(net.activations)(g, z, labels)
    assert all(abs(inside[point] - plain[point]).max() > 1e-2 for point in fusion.points)
    if "styles" in net.parts:
        assert_allclose(fused.parts["synthesise"](carried, fused.parts["styles"](carried, z)), out, rtol=1e-5)
    maps = jax.jit(lambda v: attention_maps(net, fusion, v, z, labels))(carried)
    for point, share in maps.items():
        size = inside[point].shape[1:-1] if inside[point].ndim == 4 else (1, 1)
        assert share.shape == (4, *size, 3)
        assert_allclose(share.sum(-1), 1, rtol=1e-5)


def test_donors_have_no_gradient_and_are_not_trained():
    _, fused, _, carried, _ = made(gate=0.5)
    z, labels, keys = latents()
    slope = jax.jit(jax.grad(lambda p: fused.apply({**carried, "params": p}, z, labels, train=True)[0].sum()))(
        carried["params"]
    )
    flat = flatten(slope)
    donors = {path for path in flat if path.startswith("fusion/donors/")}
    assert len(donors) > 4 and not any(np.any(flat[path]) for path in donors)
    ways = {path for path in flat if path.startswith("fusion/ways/")}
    assert all(np.isfinite(flat[path]).all() and np.any(flat[path]) for path in ways)
    for finetune in (True, False):
        trained = set(flatten(partition(carried["params"], features.trains(finetune))[0]))
        assert trained == (set(flat) - donors if finetune else ways)


def test_a_donor_with_all_of_the_weight_is_copied():
    """One-hot at every point: the generator computes what the donor does with what follows the last point."""
    net, fused, g, carried, fusion = made("plain")
    z, _, _ = latents()
    branch = carried["params"][features.FUSION]
    ways = {
        point: {**way, "gate": jnp.ones(()), "bias": jnp.array([0.0, 0.0, 60.0])}
        for point, way in branch[features.LAYERS].items()
    }
    carried = {**carried, "params": {**carried["params"], features.FUSION: {**branch, features.LAYERS: ways}}}
    want = compiled(net.apply)(branch[features.DONORS]["g2"], z)[0]
    assert abs(want - compiled(net.apply)(g, z)[0]).max() > 0.1
    assert_allclose(compiled(fused.apply)(carried, z)[0], want, rtol=1e-5, atol=1e-6)


def test_a_donor_without_weight_can_be_dropped():
    net, fused, _, carried, fusion = made("plain", gate=0.7)
    z, _, _ = latents()
    branch = carried["params"][features.FUSION]
    ways = {p: {**way, "bias": jnp.array([0.3, -60.0, 0.0])} for p, way in branch[features.LAYERS].items()}
    carried = {**carried, "params": {**carried["params"], features.FUSION: {**branch, features.LAYERS: ways}}}
    fewer = features.without(carried, [0])
    left = fewer["params"][features.FUSION][features.DONORS]
    assert set(left) == {"g1"}
    jax.tree.map(assert_array_equal, left["g1"], branch[features.DONORS]["g2"])
    assert_allclose(compiled(fused.apply)(fewer, z)[0], compiled(fused.apply)(carried, z)[0], rtol=1e-5, atol=1e-6)
    out, told = compiled(fused.apply)(fewer, z, train=True)
    assert jax.tree.map(jnp.shape, told) == jax.tree.map(jnp.shape, {k: v for k, v in fewer.items() if k != "params"})


SHAPED = ["mlp", "resnet-conditional", "sngan"]


@pytest.mark.parametrize("family", default_rows(FAMILIES, SHAPED))
def test_every_family_is_fused_by_shapes_alone(family):
    """At one point a block, in both modes: the shapes of images, collections and shares."""
    pair = pair_of(family, FAMILIES[family].resolutions[0], "bfloat16")
    z, images, labels = inputs(pair.config)
    shapes = choose_points(pair)
    fusion = features.Fusion({path: shape[-1] for path, shape in shapes.items()}, width=4)
    fused, specs = fused_net(pair.g, fusion), pair.g.specs()
    attach = lambda g: features.attach(fusion, g, [g, g], jax.random.key(0))
    carried, keys = jax.eval_shape(attach, specs), jax.random.split(jax.random.key(0), len(z))
    shares = jax.eval_shape(fused.parts[features.SHARES], carried, z, labels)
    for train in (False, True):
        out, told = jax.eval_shape(lambda v, t=train: fused.apply(v, z, labels, train=t, keys=keys), carried)
        assert (out.shape, out.dtype) == (images.shape, jnp.float32)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), told) == jax.tree.map(
            lambda x: (x.shape, x.dtype), {k: v for k, v in carried.items() if k != "params"}
        )
    assert {path: leaf.shape for path, leaf in shares.items()} == {
        path: (4, *shape[:-1], 3) for path, shape in shapes.items()
    }
    if "styles" in pair.g.parts:
        again = jax.eval_shape(
            lambda v: fused.parts["synthesise"](v, fused.parts["styles"](v, z, labels, keys), keys), carried
        )
        assert again.shape == images.shape


def test_points_that_are_not_there_are_errors():
    pair = build(MLPConfig(resolution=4, channels=1, z_dim=3, g_widths=(5, 6), d_widths=(4,)))
    assert choose_points(pair) == {"fc0": (5,), "fc1": (6,)}
    assert choose_points(pair, ("fc1",)) == {"fc1": (6,)}
    with pytest.raises(
        ConfigError, match="transfer.points: G has no module 'fc2' .did you mean .fc.*it has fc0, fc1, to_rgb"
    ):
        choose_points(pair, ("fc2",))


def test_no_donors_is_an_error():
    pair, points = TOYS["plain"]
    with pytest.raises(ValueError, match="there are no donors to fuse; give at least one"):
        features.attach(features.Fusion(points), pair.g.specs(), [], jax.random.key(0))
