"""A student generator: distances by hand, the teacher of each example, no gradient to teachers, the plain one otherwise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import MLPConfig
from gan_jax.fusion import teachers
from gan_jax.fusion.teachers import Distillation, choose, with_teachers
from gan_jax.nets import build
from gan_jax.nets.inside import g_maps_by_block
from gan_jax.reserved import DISTANCES
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.nets.families import FAMILIES, inputs, pair_of

MLP = MLPConfig(resolution=4, channels=1, z_dim=3, g_widths=(5, 6), d_widths=(4,))
DISTILLATION = Distillation(
    (0.25, 0.75), ("fc0", "fc1"), perceptual=lambda params, a, b: params * jnp.square(a - b).mean((1, 2, 3))
)


def made(distillation=DISTILLATION, params=3.0):
    net = build(MLP).g
    g, *others = (net.init(jax.random.key(i)) for i in range(len(distillation.shares) + 1))
    return (
        net,
        with_teachers(net, distillation),
        g,
        others,
        teachers.attach(distillation, g, others, jnp.float32(params)),
    )


@pytest.mark.parametrize("by", ["latent", "chance"])
def test_teachers_have_their_shares_of_the_examples(by):
    distillation = Distillation((0.2, 0.5, 0.3), by=by)
    z = jnp.asarray(np.random.default_rng(0).standard_normal((4000, 2), np.float32))
    keys = jax.random.split(jax.random.key(0), len(z))
    who = np.asarray(jax.jit(lambda z, keys: choose(distillation, z, keys))(z, keys))
    counts = np.bincount(who, minlength=3) / len(who)
    assert_allclose(counts, distillation.shares, atol=3 * np.sqrt(0.25 / len(z)))
    again = np.asarray(jax.jit(lambda z, keys: choose(distillation, z, keys))(z, keys[::-1]))
    assert (who != again).mean() == (0 if by == "latent" else pytest.approx(0.62, abs=0.05))
    if by == "latent":
        assert z[who == 0, 0].max() <= z[who == 1, 0].min() and z[who == 1, 0].max() <= z[who == 2, 0].min()
        assert_array_equal(choose(distillation, z[:7], None), who[:7])  # an example's teacher is its own


def test_distances_by_hand():
    net, student, g, others, carried = made()
    z = jnp.asarray(np.random.default_rng(1).standard_normal((6, 3), np.float32))
    out, collections = jax.jit(lambda v, z: student.apply(v, z, train=True))(carried, z)
    who = np.asarray(choose(DISTILLATION, z, None))
    assert set(who) == {0, 1}
    see = jax.jit(net.apply_with_intermediates)
    own, _, inside = see(g, z)
    answers = [see(one, z) for one in others]
    of_each = lambda parts: np.stack([np.asarray(parts[w][i], np.float64) for i, w in enumerate(who)])
    target = of_each([image for image, _, _ in answers])
    assert_array_equal(out, own)
    far = np.asarray(own, np.float64) - target
    assert_allclose(collections[DISTANCES]["l1"], abs(far).mean(), rtol=1e-5)
    assert_allclose(collections[DISTANCES]["perceptual"], 3 * np.square(far).mean(), rtol=1e-5)
    parts = []
    for path in DISTILLATION.points:
        t = of_each([seen[path] for *_, seen in answers])
        parts.append((np.square(np.asarray(inside[path], np.float64) - t).mean(1) / np.square(t).mean(1)).mean())
    assert_allclose(collections[DISTANCES]["features"], np.mean(parts), rtol=1e-5)


def test_only_the_pupil_learns_and_it_is_the_plain_one_otherwise():
    net, student, g, _, carried = made()
    z = jnp.asarray(np.random.default_rng(1).standard_normal((6, 3), np.float32))
    loss = lambda p: sum(student.apply({**carried, "params": p}, z, train=True)[1][DISTANCES].values())
    slopes = flatten(jax.jit(jax.grad(loss))(carried["params"]))
    for path, slope in slopes.items():
        assert np.any(slope) == (teachers.trains(path)), path
    assert sum(map(teachers.trains, slopes)) == len(flatten(g["params"]))
    out, collections = jax.jit(student.apply)(carried, z)
    assert_array_equal(out, jax.jit(net.apply)(g, z)[0])
    assert jax.tree.structure(collections) == jax.tree.structure({DISTANCES: carried[DISTANCES]})
    jax.tree.map(assert_array_equal, teachers.plain(carried), g)


def test_a_pupil_that_equals_its_teachers_is_not_far():
    distillation = Distillation((0.5, 0.5), ("fc0",))
    net = build(MLP).g
    g = net.init(jax.random.key(0))
    carried = teachers.attach(distillation, g, [g, g])
    told = jax.jit(lambda v: with_teachers(net, distillation).apply(v, jnp.ones((4, 3)), train=True)[1][DISTANCES])(
        carried
    )
    assert told == {"l1": 0, "features": 0} and set(carried[DISTANCES]) == set(told)


SHAPED = ["mlp-conditional", "resnet", "r3gan"]


@pytest.mark.parametrize("family", default_rows(FAMILIES, SHAPED))
def test_every_family_is_taught_by_shapes_alone(family):
    pair = pair_of(family, FAMILIES[family].resolutions[0], "bfloat16")
    z, images, labels = inputs(pair.config)
    distillation = Distillation((0.5, 0.5), tuple(g_maps_by_block(pair)), "chance")
    carried = jax.eval_shape(lambda g: teachers.attach(distillation, g, [g, g]), pair.g.specs())
    keys = jax.random.split(jax.random.key(0), len(z))
    out, told = jax.eval_shape(
        lambda v: with_teachers(pair.g, distillation).apply(v, z, labels, train=True, keys=keys), carried
    )
    assert (out.shape, out.dtype) == (images.shape, jnp.float32)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(told) == shapes({k: v for k, v in carried.items() if k != "params"})


def test_a_teacher_without_a_share_is_an_error():
    with pytest.raises(ValueError, match="3 teachers have 2 shares; give one to each"):
        teachers.attach(DISTILLATION, {}, [{}, {}, {}])
