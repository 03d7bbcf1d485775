"""Shares that depend on examples: every one computes with weights of its own, a batch with their mean; both collapse."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import MLPConfig, ResNetConfig, StyleGAN2Config
from gan_jax.fusion.attention import (
    Conditional,
    conditional,
    plain_target,
    source_of,
    standing,
    update_running_mean,
    with_statistics,
)
from gan_jax.fusion.mixture import Mixture, fused, grouping
from gan_jax.nets import build
from gan_jax.trees import flatten, unflatten
from tests.lanes import default_rows

MLP = MLPConfig(resolution=4, channels=1, z_dim=3, num_classes=3, g_widths=(5,), d_widths=(4,))
NORMED = ResNetConfig(resolution=8, channels=1, z_dim=3, channel_base=16, channel_max=4)
N = 4


def made(config, query="latent", gate=0.7, temperature=0.2, with_source=False):
    pair = build(config)
    source = source_of(query, pair)
    init = jax.jit(pair.g.init)
    target, *donors = (init(jax.random.key(seed)) for seed in range(3))
    z = jax.random.normal(jax.random.key(5), (N, config.z_dim))
    labels = jnp.arange(N, dtype=jnp.int32) % 3 if config.num_classes else None
    inputs = source(target, z, labels).shape[-1]
    mixture = Mixture(
        Conditional(2, 4, gate, temperature, with_source, inputs=inputs), grouping("block", pair.g_blocks)
    )
    params = mixture.attach(target["params"], jax.random.key(1), [one["params"] for one in donors])
    return pair, mixture, source, {**target, "params": params}, z, labels


QUERIES = [(query, with_source) for query in ("latent", "class", "features") for with_source in (False, True)]


@pytest.mark.parametrize(
    "query, with_source", default_rows(QUERIES, [("latent", False), ("class", False), ("features", True)])
)
def test_each_example_has_the_weights_of_its_shares(query, with_source):
    pair, mixture, source, variables, z, labels = made(MLP, query, with_source=with_source)
    net = conditional(pair, mixture, source, "example")
    got = jax.jit(net.apply)(variables, z, labels)[0]
    tree = variables["params"]["adapter"]["gate"]
    attention = mixture.gate.attention(tree, source(plain_target(variables), z, labels))
    for group, a in attention.items():
        assert_allclose(np.asarray(a).sum(-1), 1, rtol=1e-5)
        assert len(np.unique(np.asarray(a).round(5), axis=0)) > 1, group
    attention, variables, apply = jax.device_get(attention), jax.device_get(variables), jax.jit(pair.g.apply)
    for i in range(N):
        shares = {group: 0.7 * a[i, int(with_source) :] for group, a in attention.items()}
        plain = {**variables, "params": mixture.bake(variables["params"], shares)}
        assert_allclose(got[i], apply(plain, z[i : i + 1], labels[i : i + 1])[0][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("granularity", default_rows(["global", "tensor"], ["tensor"]))
def test_a_latent_that_chooses_a_network_is_normalised_by_its_statistics(granularity):
    """Each example is what the network of the largest share makes of it, in evaluation mode even where training is asked."""
    pair = build(NORMED)
    init, statistics = jax.jit(pair.g.init), jax.jit(pair.g.statistics)
    every = [init(jax.random.key(seed)) for seed in range(3)]
    probe = jax.random.normal(jax.random.key(9), (64, 3))
    every = [{**one, "batch_stats": statistics(one, probe)} for one in every]
    gate = Conditional(2, 4, 1.0, 1e-5, True, inputs=3)
    mixture, source = Mixture(gate, grouping(granularity, pair.g_blocks)), source_of("latent", pair)
    params = mixture.attach(every[0]["params"], jax.random.key(1), [one["params"] for one in every[1:]])
    if granularity == "tensor":  # of the same mind everywhere
        leaves = flatten(params)
        first = {kind: next(leaf for path, leaf in leaves.items() if path.startswith(f"adapter/gate/{kind}/"))
                 for kind in ("query", "key")}  # fmt: skip
        same = {path: first.get(path.split("/")[2], leaf) if path.startswith("adapter/gate/") else leaf
                for path, leaf in leaves.items()}  # fmt: skip
        params = unflatten(same)
    variables = with_statistics({**every[0], "params": params}, every[0], every[1:])
    z = jax.random.normal(jax.random.key(5), (12, 3))
    chosen = next(
        iter(gate.attention(params["adapter"]["gate"], source(plain_target(variables), z, None)).values())
    ).argmax(1)
    assert len(set(chosen.tolist())) > 1
    got = jax.jit(
        lambda v: standing(conditional(pair, mixture, source, "example")).apply_with_intermediates(v, z, None, True)
    )(variables)[0]
    apply = jax.jit(pair.g.apply)
    want = np.stack([apply(one, z)[0] for one in every])[np.asarray(chosen), np.arange(12)]
    assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("per", default_rows(["example", "batch"], ["batch"]))
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
    got, want = jax.jit(net.apply)(variables, z, labels)[0], jax.jit(pair.g.apply)(plain, z, labels)[0]
    assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_is_remembered_is_what_it_collapses_to():
    pair, mixture, source, variables, z, labels = made(MLP)
    params, step = (
        variables["params"],
        jax.jit(lambda params: update_running_mean(mixture, params, z, lambda tree: tree)),
    )
    for _ in range(150):
        params = step(params)
    tree = params["adapter"]["gate"]
    now = {group: np.asarray(a).mean(0) for group, a in mixture.gate.attention(tree, z).items()}
    first = step(variables["params"])["adapter"]["gate"]["mean"]
    for group, a in now.items():
        assert_allclose(flatten(first)[group], 0.9 * 0.5 + 0.1 * a, rtol=1e-5)
        assert_allclose(mixture.shares(params)[group], 0.7 * a, rtol=1e-4)
    assert set(mixture.bake(params)) == set(pair.g.specs()["params"])


def routed(with_source=True, temperature=0.01):
    """One donor; the first number of a latent, positive or not, says whether it or the source makes the image."""
    pair = build(MLP)
    gate = Conditional(1, 2, 1.0, temperature, with_source, inputs=MLP.z_dim)
    mixture = Mixture(gate, grouping("global", pair.g_blocks))
    source, donor = (jax.jit(pair.g.init)(jax.random.key(seed)) for seed in range(2))
    params = mixture.attach(source["params"], jax.random.key(1), [donor["params"]])
    tree = params["adapter"]["gate"]
    tree["query"]["all"] = jnp.asarray([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    tree["key"]["all"] = jnp.asarray([[-1.0, 0.0], [1.0, 0.0]])[1 - with_source :]
    return pair, mixture, source, donor, {**source, "params": params}


def test_a_latent_decides_whether_the_source_makes_it_or_the_donor():
    pair, mixture, source, donor, variables = routed()
    z = jnp.asarray([[0.5, 1.0, 0.0], [-0.5, 1.0, 0.0], [2.0, 0.0, 1.0], [-0.1, 0.0, 1.0]])
    labels = jnp.asarray([0, 1, 2, 0], jnp.int32)
    a = mixture.gate.attention(variables["params"]["adapter"]["gate"], z)["all"]
    own = np.asarray([0.0, 1.0, 0.0, 1.0])
    assert_allclose(a, np.stack([own, 1 - own], 1), atol=1e-5)
    see = jax.jit(pair.g.apply_with_intermediates)
    theirs = [see(one, z, labels) for one in (source, donor)]
    net = conditional(pair, mixture, source_of("latent", pair), "example")
    images, _, inside = jax.jit(net.apply_with_intermediates)(variables, z, labels)
    assert_allclose(images, jax.jit(net.apply)(variables, z, labels)[0], rtol=1e-6, atol=1e-6)
    for i in range(N):
        assert_allclose(images[i], theirs[int(1 - own[i])][0][i], rtol=1e-5, atol=1e-5)
        assert_allclose(inside["fc0"][i], theirs[int(1 - own[i])][2]["fc0"][i], rtol=1e-5, atol=1e-5)
    params, step = (
        variables["params"],
        jax.jit(lambda params: update_running_mean(mixture, params, z, lambda tree: tree)),
    )
    for _ in range(150):
        params = step(params)
    assert_allclose(mixture.shares(params)["all"], [0.5], atol=1e-4)
    mean = fused(pair.g, mixture).apply({**variables, "params": params}, z, labels)[0]
    assert_allclose(mean, pair.g.apply({**source, "params": mixture.bake(params)}, z, labels)[0], rtol=1e-5, atol=1e-5)
    assert all(np.abs(mean - images).max((1, 2, 3)) > 0.01), "the mean is none of them"


def test_donors_of_the_same_images_have_the_same_shares_for_every_example():
    rows = jnp.asarray([[0.5, -1.0], [1.0, 0.3], [0.5, -1.0]])
    gate = Conditional(3, temperature=0.1, descriptors=rows, inputs=2)
    a = gate.attention(gate.init(jax.random.key(0), {"all": None}), jnp.asarray([[1.0, 0.5], [-1.0, -0.5]]))["all"]
    assert_allclose(a[:, 0], a[:, 2], rtol=1e-6)
    assert (np.abs(np.asarray(a[:, 0] - a[:, 1])) > 0.01).all() and abs(a[0, 0] - a[1, 0]) > 0.01
    assert not gate.trains("descriptors")


def test_one_donor_alone_leaves_nothing_to_decide():
    _, mixture, *_, variables = routed(with_source=False)
    a = mixture.gate.attention(variables["params"]["adapter"]["gate"], jnp.ones((N, 3)))["all"]
    assert_allclose(a, np.ones((N, 1)))


@pytest.mark.parametrize("per", default_rows(["example", "batch"], ["example"]))
def test_looking_inside_is_of_the_same_weights(per):
    pair, mixture, source, variables, z, _ = made(NORMED)
    net = conditional(pair, mixture, source, per)
    want, updated = jax.jit(lambda v: net.apply(v, z, None, True))(variables)
    got, collections, inside = jax.jit(lambda v: net.apply_with_intermediates(v, z, None, True))(variables)
    assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), collections, updated)
    shapes = jax.eval_shape(lambda v: pair.g.apply_with_intermediates(v, z, None, True)[2], plain_target(variables))
    assert {path: leaf.shape for path, leaf in inside.items()} == {path: leaf.shape for path, leaf in shapes.items()}


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
    with pytest.raises(ValueError, match="channels have no mixing weights of their own"):
        Conditional(2, inputs=3).init(jax.random.key(0), {"a": 5})
