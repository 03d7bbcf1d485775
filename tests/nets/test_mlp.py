"""What is particular to fully connected pairs: any size, points, the sizes of known nets, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.config import Config, MLPConfig
from gan_jax.nets import build
from gan_jax.trees import count

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


@pytest.mark.parametrize(
    ("config", "g", "d"),
    [
        (MLPConfig(), 283_920, 267_009),  # 64-256-256-784 and 784-256-256-1
        (MLPConfig(resolution=64, z_dim=100, g_widths=(256, 512, 1024), g_slope=0.2), 4_881_152, None),
        (MLPConfig(g_widths=(256,) * 3, d_widths=(256,) * 3), 283_920 + 65_792, 267_009 + 65_792),
    ],
)
def test_known_nets_have_their_number_of_parameters(config, g, d):
    pair = build(config)
    assert count(pair.g.specs()) == g and (d is None or count(pair.d.specs()) == d)


def test_forward_by_hand():
    """Both nets, written out with NumPy; labels are one-hot numbers beside z."""
    config = MLPConfig(5, 2, 3, 4, (6, 5), (5, 4), g_slope=0.1, d_slope=0.3)
    pair, rng = build(config), np.random.default_rng(0)
    fill = lambda net: jax.tree.map(lambda s: rng.standard_normal(s.shape).astype("f4"), net.specs()["params"])
    g, d = fill(pair.g), fill(pair.d)
    z, labels = rng.standard_normal((3, 4)).astype("f4"), np.array([2, 0, 1])
    dense = lambda layer, x: x @ layer["kernel"] + layer["bias"]
    leaky = lambda x, slope: np.where(x > 0, x, slope * x)
    beside = np.concatenate([z, np.eye(3, dtype="f4")[labels]], axis=1)
    first = np.concatenate([g["fc0"]["kernel"], g["embed"]["embedding"]]), g["fc0"]["bias"]
    h = leaky(dense(g["fc1"], leaky(beside @ first[0] + first[1], 0.1)), 0.1)
    images = np.tanh(dense(g["to_rgb"], h)).reshape(3, 5, 5, 2)
    np.testing.assert_allclose(pair.g.apply({"params": g}, z, jnp.asarray(labels))[0], images, atol=1e-5)
    f = leaky(dense(d["fc1"], leaky(dense(d["fc0"], images.reshape(3, -1)), 0.3)), 0.3)
    logits = dense(d["head"], f)[:, 0] + (d["embed"]["embedding"][labels] * f).sum(1)
    np.testing.assert_allclose(
        pair.d.apply({"params": d}, images, jnp.asarray(labels))[0], logits, rtol=1e-4, atol=1e-4
    )


def test_points_of_the_plane_are_learnt():
    """A pair of 1 x 1 px with two numbers: G moves from around 0 to where the data are, beyond what tanh could reach."""
    config = MLPConfig(1, 2, z_dim=2, g_widths=(16,), d_widths=(16,), bounded=False)
    Config(net=config).validate()
    pair = build(config)
    g, d = pair.g.init(jax.random.key(0)), pair.d.init(jax.random.key(1))
    rule = optax.sgd(0.05)
    data = lambda key: jnp.array([2.0, -1.5])[None, None, None] + 0.3 * jax.random.normal(key, (32, 1, 1, 2))
    make = lambda g, key: pair.g.apply(g, jax.random.normal(key, (32, 2)))[0]
    judge = lambda d, x: pair.d.apply(d, x)[0]

    def step(carry, key):
        g, d, g_state, d_state = carry
        a, b, c = jax.random.split(key, 3)
        real, fake = data(a), make(g, b)
        d_loss = lambda d: (jax.nn.softplus(-judge(d, real)) + jax.nn.softplus(judge(d, fake))).mean()
        slope = lambda d, x: jax.vmap(jax.grad(lambda x: judge(d, x[None])[0]))(x)
        update, d_state = rule.update(
            jax.grad(lambda d: d_loss(d) + 0.5 * jnp.square(slope(d, real)).sum((1, 2, 3)).mean())(d), d_state
        )
        d = optax.apply_updates(d, update)
        update, g_state = rule.update(jax.grad(lambda g: jax.nn.softplus(-judge(d, make(g, c))).mean())(g), g_state)
        return (optax.apply_updates(g, update), d, g_state, d_state), None

    keys = jax.random.split(jax.random.key(2), 400)
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[0], compiler_options=QUICK)
    trained = run((g, d, rule.init(g), rule.init(d)))[0]
    before, after = (make(v, jax.random.key(3)).mean((0, 1, 2)) for v in (g, trained))
    assert np.linalg.norm(before - jnp.array([2.0, -1.5])) > 1.5
    np.testing.assert_allclose(after, [2.0, -1.5], atol=0.4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MLPConfig(0), "net.resolution is 0; use any number of px, or 1 for points"),
        (MLPConfig(28, 2), "net.channels is 2; use 1 .grey."),
        (MLPConfig(1, 0), "net.channels is 0; use how many numbers each point has"),
        (MLPConfig(g_widths=()), r"net.g_widths is \[\]; give the width of each hidden layer"),
        (MLPConfig(d_widths=(3, 0)), r"net.d_widths is \[3, 0\]"),
        (MLPConfig(g_slope=1.0), "net.g_slope is 1; use 0 .ReLU. or a slope below 1"),
    ],
)
def test_what_cannot_be_built(config, message):
    with pytest.raises(ValueError, match=message):
        Config(net=config).validate()
    Config(net=MLPConfig(29, 3)).validate()
