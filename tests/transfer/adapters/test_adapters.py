"""Adapters: the identity at the start, formulas by hand, baked equals adapted, on real networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import ResNetConfig, StyleGAN2Config
from gan_jax.nets import build
from gan_jax.transfer.adapters import (
    adafm,
    adapted,
    attach,
    bake,
    count_trained,
    filter_scale,
    kml,
    lora,
    singular_values,
)
from gan_jax.trees import TreeError, flatten, merge, partition
from tests.lanes import default_rows

ADAPTERS = {
    "adafm": adafm(),
    "kml": kml(),
    "filter_scale": filter_scale(),
    "lora": lora(rank=2, alpha=6.0),
    "svd": singular_values(),
}
RESNET = ResNetConfig(resolution=16, channel_max=4, z_dim=4)
STYLEGAN2 = StyleGAN2Config(resolution=8, channel_max=4, z_dim=4, w_dim=4, mapping_layers=2)
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 5))


@functools.cache
def fresh(config):
    """G and its variables."""
    net = build(config).g
    return net, jax.jit(net.init)(jax.random.key(0))


def moved(arrays, fixed=(), seed=1):
    """The same arrays a little elsewhere."""
    draws = np.random.default_rng(seed)
    shift = lambda array: array + jnp.asarray(0.3 * draws.normal(size=array.shape), array.dtype)
    return {name: array if name in fixed else shift(array) for name, array in arrays.items()}


@pytest.fixture
def float64():
    with jax.enable_x64():
        yield


BY_HAND = {
    "adafm": lambda w, d: w * d["gamma"][None, None] + d["beta"][None, None],
    "kml": lambda w, d: w * (1 + np.einsum("i,o->io", d["u"], d["v"]))[None, None],
    "filter_scale": lambda w, d: w * np.asarray(d["scale"]),
    "lora": lambda w, d: w + 3 * np.einsum("mr,ro->mo", d["a"], d["b"]).reshape(w.shape),
    "svd": lambda w, d: (d["u"] @ np.diag(np.asarray(d["gain"])) @ d["v"]).reshape(w.shape),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_formula_and_gradient_by_hand(name, float64):
    """The effective kernel is the published one, and its gradient is that of finite differences."""
    adapter, kernel = ADAPTERS[name], jnp.asarray(KERNEL)
    arrays = moved(adapter.init(jax.random.key(0), kernel), adapter.fixed)
    assert_allclose(adapter.apply(kernel, arrays), BY_HAND[name](KERNEL, arrays), rtol=1e-12, atol=1e-12)
    trained = {k: v for k, v in arrays.items() if k not in adapter.fixed}
    value = lambda t: jnp.sin(adapter.apply(kernel, {**arrays, **t})).sum()
    way = moved(jax.tree.map(jnp.zeros_like, trained), seed=2)
    step = lambda h: value(jax.tree.map(lambda a, b: a + h * b, trained, way))
    slope = sum((g * w).sum() for g, w in zip(jax.tree.leaves(jax.grad(value)(trained)), jax.tree.leaves(way)))
    assert_allclose(slope, (step(1e-5) - step(-1e-5)) / 2e-5, rtol=1e-7)


STARTS = [(name, net) for name in ADAPTERS for net in ("resnet", "stylegan2")]


@pytest.mark.parametrize(
    "name, net",
    default_rows(STARTS, [("kml", "stylegan2"), ("adafm", "resnet"), ("lora", "resnet"), ("svd", "resnet")]),
)
def test_the_start_changes_no_bit_and_every_array_is_heard(name, net):
    adapter, plain = ADAPTERS[name], fresh({"resnet": RESNET, "stylegan2": STYLEGAN2}[net])[1]
    params = jax.jit(lambda params: attach(adapter, params, jax.random.key(1)))(plain["params"])
    for path, leaf in flatten(jax.jit(lambda params: bake(adapter, params))(params)).items():
        assert_array_equal(leaf, flatten(plain["params"])[path], err_msg=path)
    trained, frozen = partition(params, adapter.trains)
    effective = lambda t: sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(bake(adapter, merge(t, frozen))))
    if name != "lora":  # whose b is zero: a hears nothing at first
        assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(jax.jit(jax.grad(effective))(trained)))
    assert count_trained(adapter, params) == sum(leaf.size for leaf in jax.tree.leaves(trained))


@pytest.mark.parametrize("name", default_rows(["kml", "svd"], ["kml"]))
def test_baked_equals_adapted(name):
    """The plain network with baked weights makes the adapted network's images, under jit too."""
    adapter, (net, plain) = ADAPTERS[name], fresh(RESNET)
    both = adapted(net, adapter)
    grafted = jax.jit(lambda params: attach(adapter, params, jax.random.key(1)))(plain["params"])
    variables = {**plain, "params": grafted}
    assert flatten(both.specs()).keys() == flatten(variables).keys()  # its own init attaches the branch too
    trained, frozen = partition(variables["params"], adapter.trains)
    draws = np.random.default_rng(3)
    trained = jax.tree.map(
        lambda leaf: leaf + np.float32(0.5) * draws.normal(size=leaf.shape).astype(np.float32), trained
    )
    variables = {**variables, "params": merge(trained, frozen)}
    z = jax.random.normal(jax.random.key(2), (3, RESNET.z_dim))
    images, _ = jax.jit(both.apply)(variables, z)
    baked = {**variables, "params": jax.jit(lambda params: bake(adapter, params))(variables["params"])}
    assert_allclose(jax.jit(net.apply)(baked, z)[0], images, rtol=1e-6, atol=1e-6)
    start = {**variables, "params": {k: v for k, v in variables["params"].items() if k != "adapter"}}
    assert np.abs(jax.jit(net.apply)(start, z)[0] - images).max() > 1e-2  # the delta does something


def test_draws_depend_on_the_path_only():
    """A leaf's arrays are the same whatever other leaves are adapted."""
    params = {"a": {"kernel": jnp.ones((2, 3))}, "b": {"kernel": jnp.ones((2, 3))}}
    every, one = (attach(lora(patterns), params, jax.random.key(0)) for patterns in (("**/kernel",), ("b/kernel",)))
    assert_array_equal(every["adapter"]["b"]["kernel"]["a"], one["adapter"]["b"]["kernel"]["a"])
    assert np.abs(every["adapter"]["a"]["kernel"]["a"] - every["adapter"]["b"]["kernel"]["a"]).max() > 0


def test_errors_say_what_to_do():
    params = {"b16": {"kernel": jnp.ones((2, 3))}}
    with pytest.raises(TreeError, match=r"pattern 'b32/kernel' covers no leaf \(did you mean 'b16/kernel'\?\)"):
        attach(lora(("b32/kernel",)), params, jax.random.key(0))
    with pytest.raises(TreeError, match="nothing to bake"):
        bake(lora(), params)
    with pytest.raises(TreeError, match="bake it before attaching another"):
        attach(lora(), attach(kml(), params, jax.random.key(0)), jax.random.key(0))
    with pytest.raises(ValueError, match="rank is 0; use at least 1"):
        lora(rank=0)
