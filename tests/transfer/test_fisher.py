"""Fisher information: per-sample gradients against a loop in float64, in chunks of any size, over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from numpy.testing import assert_allclose

from gan_jax.nets.conv import conv
from gan_jax.transfer.fisher import CHUNK, at_once, fisher

DRAWS = np.random.default_rng(0)
PARAMS = {"kernel": DRAWS.normal(size=(3, 3, 2, 3)), "head": {"kernel": DRAWS.normal(size=(3,))}}
EXAMPLES = {"x": DRAWS.normal(size=(8, 4, 4, 2)), "weight": DRAWS.normal(size=(8,))}


def loss(params, example):
    h = jnp.tanh(conv(example["x"][None], params["kernel"])).mean((0, 1, 2))
    return jax.nn.softplus(example["weight"] * h @ params["head"]["kernel"])


def by_loop():
    """By central differences along every parameter, one example at a time."""
    flat, back = ravel_pytree(PARAMS)
    ways = 1e-5 * jnp.eye(len(flat))
    value = jax.jit(jax.vmap(lambda way, one: loss(back(flat + way), one), (0, None)))
    total = np.zeros(flat.shape)
    for i in range(8):
        one = {name: x[i] for name, x in EXAMPLES.items()}
        total += np.square((np.asarray(value(ways, one)) - np.asarray(value(-ways, one))) / 2e-5)
    return back(jnp.asarray(total / 8))


def assert_trees(got, want, rtol):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max()), got, want)


def test_mean_of_squares_is_that_of_a_loop():
    with jax.enable_x64():
        want = by_loop()
        for chunk in (3, 8):  # 3 leaves a rest of 2
            assert_trees(jax.jit(lambda p, e, c=chunk: fisher(loss, p, e, chunk=c))(PARAMS, EXAMPLES), want, 1e-8)
        mean = jax.grad(lambda p: jax.vmap(loss, (None, 0))(p, EXAMPLES).mean())(PARAMS)
        squared = jax.tree.map(jnp.square, mean)  # what it must not be
        assert max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a / b - 1).max(), squared, want))) > 0.5


def test_devices_share_the_examples():
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (PARAMS, EXAMPLES))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("batch",))
    shared = jax.shard_map(
        lambda p, e: fisher(loss, p, e, sync=lambda tree: jax.lax.pmean(tree, "batch")),
        mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec("batch")), out_specs=PartitionSpec(), check_vma=False,
    )  # fmt: skip
    assert_trees(jax.jit(shared)(*single), fisher(loss, *single), 1e-5)


def test_typed_keys_are_examples_too():
    keys = jax.random.split(jax.random.key(0), 5)
    drawn = jax.vmap(lambda key: jax.random.normal(key, ()))(keys)
    found = fisher(lambda p, key: p * jax.random.normal(key, ()), jnp.ones(()), keys, chunk=2)
    assert_allclose(found, jnp.square(drawn).mean(), rtol=1e-6)


def test_one_at_a_time_where_grouped_convolutions_are_slow(monkeypatch):
    assert at_once() == (1 if jax.default_backend() == "cpu" else CHUNK)
    passes = lambda: str(jax.make_jaxpr(lambda p, e: fisher(loss, p, e))(PARAMS, EXAMPLES))
    assert ("feature_group_count=8" in passes()) == (jax.default_backend() != "cpu")
    monkeypatch.setattr("gan_jax.transfer.fisher.at_once", lambda: 8)
    assert "feature_group_count=8" in passes() or "batch_group_count=8" in passes()


@pytest.mark.parametrize("examples", [{"x": np.zeros((0, 2))}, {"x": np.zeros((2, 2)), "y": np.zeros((3,))}])
def test_examples_that_are_none(examples):
    with pytest.raises(ValueError, match="at least one example"):
        fisher(lambda p, e: p * e["x"].sum(), jnp.ones(()), examples)
