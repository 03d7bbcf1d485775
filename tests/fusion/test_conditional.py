"""Shares that depend on examples: every one computes with weights of its own, a batch with their mean; both collapse."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import MLPConfig, ResNetConfig, StyleGAN2Config
from gan_jax.fusion.conditional import Conditional, conditional, plain_target, remember, source_of
from gan_jax.fusion.mixture import Mixture, grouping
from gan_jax.nets import build
from gan_jax.trees import flatten, unflatten

MLP = MLPConfig(resolution=4, channels=1, z_dim=3, num_classes=3, g_widths=(5,), d_widths=(4,))
NORMED = ResNetConfig(resolution=8, channels=1, z_dim=3, channel_base=16, channel_max=4)
N = 4


def made(config, query="latent", gate=0.7, temperature=0.2):
    pair = build(config)
    source = source_of(query, pair)
    target, *donors = (jax.jit(pair.g.init)(jax.random.key(seed)) for seed in range(3))
    z = jax.random.normal(jax.random.key(5), (N, config.z_dim))
    labels = jnp.arange(N, dtype=jnp.int32) % 3 if getattr(config, "num_classes", 0) else None
    inputs = source(target, z, labels).shape[-1]
    mixture = Mixture(Conditional(2, inputs, 4, gate, temperature), grouping("block", pair.g_blocks))
    params = mixture.attach(target["params"], jax.random.key(1), [one["params"] for one in donors])
    return pair, mixture, source, {**target, "params": params}, z, labels


@pytest.mark.parametrize("query", ["latent", "class", "features"])
def test_each_example_has_the_weights_of_its_shares(query):
    pair, mixture, source, variables, z, labels = made(MLP, query)
    net = conditional(pair, mixture, source, "example")
    got = jax.jit(net.apply)(variables, z, labels)[0]
    tree = variables["params"]["adapter"]["gate"]
    attention = mixture.gate.attention(tree, source(plain_target(variables), z, labels))
    for group, a in attention.items():
        assert_allclose(np.asarray(a).sum(-1), 1, rtol=1e-5)
        assert len(np.unique(np.asarray(a).round(5), axis=0)) > 1, group
    for i in range(N):
        shares = {group: 0.7 * a[i] for group, a in attention.items()}
        plain = {**variables, "params": mixture.bake(variables["params"], shares)}
        assert_allclose(got[i], pair.g.apply(plain, z[i : i + 1], labels[i : i + 1])[0][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("per", ["example", "batch"])
def test_batch_norms_see_the_whole_batch(per):
    """With gates shut both are the target in training mode, its statistics too."""
    pair, mixture, source, variables, z, _ = made(NORMED, gate=0.0)
    net = conditional(pair, mixture, source, per)
    got, collections = jax.jit(lambda v: net.apply(v, z, None, True))(variables)
    want, updated = jax.jit(lambda v: pair.g.apply(v, z, None, True))(plain_target(variables))
    assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    for path, leaf in flatten(updated).items():
        assert_allclose(flatten(collections)[path], leaf, rtol=1e-4, atol=1e-6, err_msg=path)


def test_a_batch_has_the_weights_of_its_mean():
    pair, mixture, source, variables, z, labels = made(MLP)
    net = conditional(pair, mixture, source, "batch")
    tree = variables["params"]["adapter"]["gate"]
    mean = {group: 0.7 * a.mean(0) for group, a in mixture.gate.attention(tree, z).items()}
    plain = {**variables, "params": mixture.bake(variables["params"], mean)}
    assert_allclose(net.apply(variables, z, labels)[0], pair.g.apply(plain, z, labels)[0], rtol=1e-5, atol=1e-6)


def test_what_is_remembered_is_what_it_collapses_to():
    pair, mixture, source, variables, z, labels = made(MLP)
    params, now = variables["params"], None
    for _ in range(150):
        params = remember(mixture, params, z, lambda tree: tree)
    tree = params["adapter"]["gate"]
    now = {group: np.asarray(a).mean(0) for group, a in mixture.gate.attention(tree, z).items()}
    first = remember(mixture, variables["params"], z, lambda tree: tree)["adapter"]["gate"]["mean"]
    for group, a in now.items():
        assert_allclose(flatten(first)[group], 0.9 * 0.5 + 0.1 * a, rtol=1e-5)
        assert_allclose(mixture.shares(params)[group], 0.7 * a, rtol=1e-4)
    assert set(mixture.bake(params)) == set(pair.g.specs()["params"])


def test_every_query_and_key_has_a_gradient_through_the_examples():
    pair, mixture, source, variables, z, labels = made(MLP)
    net = conditional(pair, mixture, source, "example")
    leaves = flatten(variables["params"]["adapter"]["gate"])

    def value(gate):
        params = {**variables["params"], "adapter": {**variables["params"]["adapter"], "gate": unflatten(gate)}}
        return (
            net.apply({**variables, "params": params}, z, labels)[0] * jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
        ).sum()

    for path, slope in jax.jit(jax.grad(value))(leaves).items():
        assert np.isfinite(slope).all(), path
        if mixture.gate.trains(path):
            assert (np.asarray(slope) != 0).any(), path


def test_styles_are_a_query_of_stylegan2():
    config = StyleGAN2Config(
        resolution=8, channels=1, z_dim=3, w_dim=4, mapping_layers=1, channel_base=16, channel_max=4
    )
    pair = build(config)
    specs = pair.g.specs()
    source = source_of("style", pair)
    assert jax.eval_shape(source, specs, jnp.zeros((2, 3)), None).shape == (2, 4)
    assert jax.eval_shape(source_of("features", pair), specs, jnp.zeros((2, 3)), None).shape[0] == 2


def test_what_cannot_be_asked_is_said():
    with pytest.raises(ValueError, match="no styles to make a query of"):
        source_of("style", build(NORMED))
    with pytest.raises(ValueError, match="no classes to make a query of"):
        source_of("class", build(dataclasses.replace(MLP, num_classes=0)))
    with pytest.raises(ValueError, match="channels have no shares of their own"):
        Conditional(2, 3).init(jax.random.key(0), {"a": 5})
