"""Leaves spread over devices: filled where they are, hashed in blocks, never whole on the host."""

from __future__ import annotations

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from gan_jax.surgery import Action, make_plan, transplant
from gan_jax.surgery.transplant import digest_of
from gan_jax.trees import Rule, digest

RNG = np.random.default_rng(0)


def sharding(*spec, shape=(8,), names=("x",), devices=None):
    devices = jax.devices() if devices is None else devices
    mesh = Mesh(np.array(devices).reshape(shape), names, axis_types=(AxisType.Auto,) * len(names))
    return NamedSharding(mesh, PartitionSpec(*spec))


@pytest.fixture
def no_gathering(monkeypatch):
    """Fails where an array on several devices is made into a NumPy array, by us or by JAX."""
    from jax._src.array import ArrayImpl

    whole = ArrayImpl._value

    def value(self):
        assert len(self.sharding.device_set) == 1, f"{self.dtype}{self.shape} was gathered to the host"
        return whole.fget(self)

    monkeypatch.setattr(ArrayImpl, "_value", property(value))


def test_the_guard_sees_a_gathered_array(no_gathering):
    spread = jax.device_put(np.ones((8, 2), np.float32), sharding("x"))
    with pytest.raises(AssertionError, match="was gathered"):
        np.asarray(spread)


LAYOUTS = [
    sharding("x"), sharding(None, "x"), sharding(), sharding("x", "y", shape=(2, 4), names=("x", "y")),
    sharding(("y", "x"), shape=(2, 4), names=("x", "y")), sharding("x", devices=jax.devices()[::-1]),
]  # fmt: skip


@pytest.mark.parametrize("where", LAYOUTS, ids=lambda s: f"{s.spec}")
@pytest.mark.parametrize("block", [60, 1 << 20])
def test_digests_are_those_of_the_whole_array(no_gathering, where, block):
    for x in (RNG.standard_normal((8, 16, 3)).astype(np.float32), np.arange(64, dtype=np.int8).reshape(8, 8)):
        assert digest_of(jax.device_put(x, where), block) == digest(x)
    if where.spec == PartitionSpec():
        for x in (np.float32(3), np.ones((0, 3), np.float32), RNG.standard_normal(5).astype(jnp.bfloat16)):
            assert digest_of(jax.device_put(x, where), block) == digest(x)


def test_digests_take_no_more_than_a_block(no_gathering):
    array = jax.device_put(np.zeros((1024, 1024), np.float32), sharding(None, "x"))
    digest_of(array, 65536)
    tracemalloc.start()
    digest_of(array, 65536)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 65536 <= peak < array.nbytes // 8


def test_keys_have_the_digest_of_their_data():
    key = jax.random.key(3)
    assert digest_of(key) == digest(jax.random.key_data(key)) != digest_of(jax.random.key(4))


def test_a_tree_over_eight_devices(no_gathering):
    """Every kind of operation; results keep the target's sharding, equal those of NumPy, and nothing is gathered."""
    rows, columns, both = sharding("x"), sharding(None, "x"), sharding()
    leaves = {  # name: (shape, layout) of the source, (shape, layout) of the target, operation
        "copy": ((16, 8), rows, (16, 8), columns, "copy"), "widen": ((8, 8), rows, (16, 16), rows, "fit"),
        "part": ((16, 8), columns, (8, 8), rows, "fit"), "init": ((8, 2), rows, (8, 4), rows, "init"),
        "mean": ((8, 16), rows, (16,), both, "mean"), "svd": ((1, 1, 8, 8), both, (1, 1, 8, 16), both, "widen_spectral"),
    }  # fmt: skip
    draw = lambda shape: RNG.standard_normal(shape).astype(np.float32)
    host_source = {name: draw(leaf[0]) for name, leaf in leaves.items()}
    host_fresh = {name: draw(leaf[2]) for name, leaf in leaves.items()}
    source = {name: jax.device_put(x, leaves[name][1]) for name, x in host_source.items()}
    fresh = {name: jax.device_put(x, leaves[name][3]) for name, x in host_fresh.items()}
    args = {"mean": {"axis": 0}}
    rules = [Rule(name, Action(leaf[4], args=args.get(name, {}))) for name, leaf in leaves.items()]
    plan = make_plan(fresh, source, rules, shape="adapt", unused="drop")
    out, report = transplant(plan, source, fresh)
    want, _ = transplant(plan, host_source, host_fresh)
    assert all(out[name].sharding == fresh[name].sharding for name in leaves)
    for row in report.rows:
        for path, said in row.sources.items():
            assert said == digest(host_source[path])
    for name, x in out.items():
        shards = [(shard.index, np.asarray(shard.data)) for shard in x.addressable_shards]
        for index, value in shards:
            np.testing.assert_allclose(value, want[name][index], rtol=2e-5, atol=2e-6)


def test_between_the_host_one_device_and_many(no_gathering):
    rows, one = sharding("x"), SingleDeviceSharding(jax.devices()[3])
    x, y = RNG.standard_normal((8, 4)).astype(np.float32), RNG.standard_normal((16, 4)).astype(np.float32)
    reverse = sharding("x", devices=jax.devices()[::-1])
    half = sharding("x", shape=(4,), devices=jax.devices()[4:])
    want = np.concatenate([x, y[8:]])
    for source in (x, jax.device_put(x, one), jax.device_put(x, reverse), jax.device_put(x, half)):
        for where in (rows, one):
            spec = {"w": jax.ShapeDtypeStruct(y.shape, y.dtype, sharding=where)}
            plan = make_plan(spec, {"w": source}, shape="adapt")
            out, _ = transplant(plan, {"w": source}, spec, init={"w": y}.pop)
            assert out["w"].sharding == where
            for shard in out["w"].addressable_shards:
                np.testing.assert_array_equal(np.asarray(shard.data), want[shard.index])


def test_spread_results_have_memory_of_their_own():
    where = sharding("x")
    source = {"w": jax.device_put(jnp.arange(32.0).reshape(8, 4), where)}
    out, _ = transplant(make_plan(source, source), source, source)
    jax.jit(lambda x: x + 1, donate_argnums=0)(out["w"])
    assert out["w"].is_deleted() and not source["w"].is_deleted()
    np.testing.assert_array_equal(source["w"], np.arange(32.0).reshape(8, 4))
