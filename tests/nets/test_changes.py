"""Outputs of modules are changed by path: an identity changes nothing in any family, and what is wrong is named."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import MLPConfig, StyleGAN2Config
from gan_jax.nets import build
from gan_jax.nets.fronts import init_miner, miner, prepend_front
from gan_jax.nets.inside import g_maps_by_block, module_shapes
from gan_jax.reserved import GRAFT, MINER
from gan_jax.trees import TreeError
from tests.nets.families import EVERY, FAMILIES, drawn, inputs, pair_of, seen
from tests.train.toy import build_styled

MLP = MLPConfig(resolution=4, channels=1, z_dim=3, g_widths=(5, 6), d_widths=(4,), bounded=False)
FEW = ("dcgan", "stylegan2", "mlp-conditional")  # outputs are changed in one way for all families
STYLED = StyleGAN2Config(resolution=8, channels=1, z_dim=4, w_dim=6, channel_max=4)


@pytest.mark.parametrize(
    ("family", "train"),
    [
        pytest.param(name, train, id=f"{name}-{mode}", marks=() if name in FEW and train else pytest.mark.slow)
        for name in FAMILIES
        for train, mode in ((False, "evaluation"), (True, "training"))
    ],
)
def test_an_identity_leaves_the_program_as_it_is(family, train):
    """The traced programs are equal, operation by operation; with another change they are not."""
    pair = pair_of(family, 16 if 16 in FAMILIES[family].resolutions else 32)
    z, images, labels = inputs(pair.config)
    keys = jax.random.split(jax.random.key(0), len(z))
    d_points = [name for name in pair.d_blocks if name in module_shapes(pair, "d")]
    points = {"g": g_maps_by_block(pair), "d": d_points}
    assert all(points.values())
    for name, x in (("g", z), ("d", seen(pair.config, z, images))):
        net = getattr(pair, name)

        def program(change, net=net, x=x, name=name):
            changes = None if change is None else dict.fromkeys(points[name], change)
            return str(
                jax.make_jaxpr(lambda v, x: net.apply(v, x, labels, train, keys=keys, changes=changes))(net.specs(), x)
            )

        plain = program(None)
        assert program(lambda h: h) == plain
        if name == "g":
            assert program(lambda h: h + 1) != plain


def test_what_comes_after_reads_the_change():
    """By hand: with the last layer's output replaced, the image is made of the replacement, whatever the latents."""
    pair = build(MLP)
    g, z = drawn(pair.g), jax.random.normal(jax.random.key(1), (2, 3))
    h = jax.random.normal(jax.random.key(2), (2, 6))
    out, _, inside = pair.g.apply_with_intermediates(g, z, changes={"fc1": lambda old: h})
    rgb = g["params"]["to_rgb"]
    want = jnp.where(h > 0, h, MLP.g_slope * h) @ rgb["kernel"] + rgb["bias"][None]
    assert_allclose(out.reshape(2, -1), want, rtol=1e-5)
    assert_array_equal(inside["fc1"], h)
    assert_array_equal(pair.g.apply(g, z, train=True, changes={"fc1": lambda old: h})[0], out)


def test_gradients_pass_through_a_change():
    pair = build(MLP)
    g, z = drawn(pair.g), jax.random.normal(jax.random.key(1), (2, 3))

    def total(scale):
        return pair.g.apply(g, z, train=True, changes={"fc0": lambda h: h * scale})[0].sum()

    slope = jax.jit(jax.grad(total))(jnp.float32(0.7))
    wide = (total(0.7 + 1e-2) - total(0.7 - 1e-2)) / 2e-2
    assert abs(slope) > 1e-3
    assert_allclose(slope, wide, rtol=2e-2)


def test_styles_and_fronts_take_changes_along():
    """A generator's parts, and a network behind a front."""
    g = build_styled(STYLED).g
    z = jax.random.normal(jax.random.key(1), (2, 4))
    changes, mined = {"first": lambda h: h[::-1]}, prepend_front(g, miner("none"))

    @jax.jit
    def run(key):
        variables = g.init(key)
        ws = g.parts["styles"](variables, z)
        branch = {GRAFT: {MINER: init_miner(jax.random.key(2), 4, 8)}}
        return (
            g.apply(variables, z, changes=changes)[0],
            g.parts["synthesise"](variables, ws, changes=changes),
            g.parts["synthesise"](variables, ws),
            mined.apply({**variables, "params": {**variables["params"], **branch}}, z, changes=changes)[0],
        )

    want, synthesised, unchanged, behind = run(jax.random.key(0))
    assert_allclose(synthesised, want, atol=1e-6)
    assert np.abs(unchanged - want).max() > 1e-3
    assert_allclose(behind, want, atol=1e-6)


def test_a_block_that_gives_two_arrays_is_an_error():
    pair = build(STYLED)
    with pytest.raises(TreeError, match="'synthesis/b8' gives several arrays; change the output of a module inside"):
        jax.eval_shape(
            lambda v: pair.g.apply(v, jnp.zeros((2, 4)), changes={"synthesis/b8": lambda h: h}), pair.g.specs()
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc7": lambda h: h}, "no module 'fc7' whose output could be changed.*did you mean.*fc"),
        ({"fc1": lambda h: h[:, :2]}, r"'fc1' gives float32\[2, 6\], but its change float32\[2, 2\]"),
        ({"fc1": lambda h: h.astype(jnp.bfloat16)}, r"but its change bfloat16\[2, 6\]; a change keeps shape and dtype"),
    ],
)
def test_a_change_that_cannot_be_is_an_error(changes, message):
    pair = build(MLP)
    with pytest.raises(TreeError, match=message):
        jax.eval_shape(lambda v: pair.g.apply(v, jnp.zeros((2, 3)), changes=changes), pair.g.specs())


def test_no_changes_is_none():
    pair = build(MLP)
    g, z = drawn(pair.g), jax.random.normal(jax.random.key(1), (2, 3))
    assert_array_equal(pair.g.apply(g, z, changes={})[0], pair.g.apply(g, z)[0])
    got, want = pair.g.statistics(g, z, changes={}), pair.g.statistics(g, z)
    assert jax.tree.structure(got) == jax.tree.structure(want)


@pytest.mark.parametrize("family", EVERY)
def test_points_are_maps_from_small_to_large(family):
    pair = pair_of(family, FAMILIES[family].resolutions[-1])
    points = g_maps_by_block(pair)
    sizes = [shape[0] for shape in points.values() if len(shape) == 3]
    lowest = sizes.index(min(sizes)) if pair.config.translates else 0  # translators go down before they go up
    assert sizes == sorted(sizes[:lowest], reverse=True) + sorted(sizes[lowest:]) and points
    if "mlp" not in family:
        assert len(sizes) == len(points) and sizes[-1] >= pair.config.resolution // 2
