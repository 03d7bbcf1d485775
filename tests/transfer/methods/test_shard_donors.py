"""Donors cut over devices while shares are learned: a device has its part only, and what is learned is the same."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from numpy.testing import assert_allclose

from gan_jax.config import AttentionFusionConfig, ConfigError, GradientFusionConfig, MLPConfig
from gan_jax.fusion.mixture import cut_axis, mix, mix_parts
from gan_jax.nets.build import build
from gan_jax.train import compile as compiling
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import make_start
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.train.toy import run_config, save_pairs
from tests.transfer.methods import conformance as ask

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(16, 8), d_widths=(16,))
DEVICES = 8
STARTS = {"box": {"constraint": "box", "start": 0.3}, "fused D": {"d": "mix", "granularity": "tensor"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("sharded")
    save_pairs(root, NET, ("first", "second", "third"))
    return root


def config_of(folder, kind=GradientFusionConfig, compile="jit", devices=DEVICES, **options):
    transfer = kind(source=str(folder / "first"), donors=(str(folder / "second"), str(folder / "third")), fuse_kimg=0.064,
                    fuse_lr=0.05, **options)  # fmt: skip
    config = run_config(f"npz:{folder / 'data.npz'}", kimg=0.064, devices=devices)
    train = dataclasses.replace(config.train, batch=16, compile=compile)
    return dataclasses.replace(config, net=NET, transfer=transfer, train=train)


def prepared(config):
    pair = build(config.net)
    method = make_method(config.transfer, pair)
    return ask.prepared(config, make_start(config, pair, method), method)


@pytest.fixture
def seen(monkeypatch):
    """Every state of a stage as it came out of a dispatch: path -> (bytes of all, bytes on each device)."""
    states = []

    def watched(*args, **options):
        program = compiling.compile_jit(*args, **options)

        def run(state, data):
            out = program.run(state, data)
            held = lambda x: [shard.data.nbytes for shard in x.addressable_shards]
            states.append({p: (x.nbytes, held(x)) for p, x in flatten(out[0]).items() if "adapter/donors/" in p})
            return out

        return dataclasses.replace(program, run=run)

    monkeypatch.setitem(compiling.COMPILERS, "jit", watched)
    return states


@pytest.mark.parametrize("name", default_rows(STARTS, ["box"]))
def test_each_device_holds_its_part_and_the_same_is_learned(folder, seen, name):
    whole = prepared(config_of(folder, **STARTS[name]))
    everywhere = seen[-1]
    assert all(held == [size] * DEVICES for size, held in everywhere.values())
    seen.clear()
    cut = prepared(config_of(folder, shard_donors=True, **STARTS[name]))
    assert len(seen) == 2, "a stage of two dispatches"
    for state in seen:
        assert set(state) == set(everywhere) and {path.partition("/")[0] for path in state} >= {"g", "g_ema"}
        for path, (size, held) in state.items():
            divides = cut_axis(path, (2, *leaf_of(path).shape), DEVICES) is not None
            assert held == [size // DEVICES if divides else size] * DEVICES, path
        assert max(sum(held[i] for _, held in state.values()) for i in range(DEVICES)) < 0.2 * sum(
            size for size, _ in state.values()
        ), "few small leaves are whole"
    for network, of in whole.record["fusion"]["shares"].items():
        for group, shares in of.items():
            assert_allclose(cut.record["fusion"]["shares"][network][group], shares, rtol=2e-4, atol=2e-5, err_msg=group)
    learned = whole.record["fusion"]["learned"]
    assert abs(learned[-1]["share1"] - learned[0]["share1"]) > 1e-3, "shares moved"
    for a, b in ((whole.nets[name], cut.nets[name]) for name in "gd"):
        for path, leaf in flatten(a).items():
            assert_allclose(flatten(b)[path], leaf, rtol=2e-3, atol=2e-4, err_msg=path)
            assert len(flatten(b)[path].devices()) == 1


def leaf_of(path):
    root, _, tail = path.partition("/")
    net = build(NET).d if root == "d" else build(NET).g
    return flatten(net.specs()["params"])[tail.partition("donors/")[2]]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"query": "latent", "per": "batch"}])
def test_attention_learns_the_same(folder, options):
    options = {"gate": 0.5, "temperature": 1.0, **options}
    whole, cut = (
        prepared(config_of(folder, AttentionFusionConfig, shard_donors=on, **options)).record["fusion"]["shares"]["g"]
        for on in (False, True)
    )
    for group, shares in whole.items():
        assert_allclose(cut[group], shares, rtol=2e-4, atol=2e-5, err_msg=group)


@pytest.mark.parametrize(
    "shape, channels", [((3, 16), False), ((3, 16), True), ((32, 5), True), ((16,), True), ((3,), True)]
)
def test_parts_that_are_mixed_and_gathered_are_the_mixture_and_have_its_gradient(shape, channels):
    draw = np.random.default_rng(0)
    leaf, donors, weigh = (
        jnp.asarray(draw.normal(size=s), jnp.float32) for s in (shape, (2, *shape), (DEVICES, *shape))
    )
    shares = jnp.asarray(draw.uniform(0, 0.5, (2, shape[-1]) if channels else (2,)), jnp.float32)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), ("batch",))
    axis = cut_axis("g/params/adapter/donors/x", donors.shape, DEVICES)
    spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "batch")

    def body(shares, donors, weigh):
        value = lambda w: (mix_parts(leaf, donors, w, "batch") * weigh[0]).sum()
        mean = lambda tree: jax.lax.pmean(tree, "batch")
        return mix_parts(leaf, donors, shares, "batch"), mean(jax.grad(value)(shares))

    out = PartitionSpec()
    mapped = jax.shard_map(
        body, mesh=mesh, in_specs=(out, spec, PartitionSpec("batch")), out_specs=out, check_vma=False
    )
    mixed, slope = jax.jit(mapped)(shares, donors, weigh)
    assert_allclose(mixed, mix(leaf, donors, shares), rtol=1e-6, atol=1e-6)
    expected = jax.grad(lambda w: (mix(leaf, donors, w) * weigh.mean(0)).sum())(shares)
    assert_allclose(slope, expected, rtol=1e-5, atol=1e-5)


def test_only_donors_are_cut_along_their_longest_axis_that_divides():
    path = "g/params/adapter/donors/b8/conv0/kernel"
    assert cut_axis(path, (2, 3, 3, 16, 64), 8) == 4
    assert cut_axis(path, (8, 3, 3, 24, 20), 8) == 3, "not along K"
    assert cut_axis(path, (8, 3), 8) is None and cut_axis("params/adapter/donors/x", (2, 8), 8) == 1
    assert cut_axis("g/params/adapter/gate/alpha/b8", (2, 8), 8) is None
    assert cut_axis("g/params/b8/conv0/kernel", (3, 3, 16, 64), 8) is None


def test_what_cannot_cut_says_so(folder):
    with pytest.raises(ConfigError, match="shard_donors needs train.compile jit, not pmap"):
        prepared(config_of(folder, compile="pmap", shard_donors=True))
    with pytest.raises(ConfigError, match=r"transfer.query latent every example has its own; use transfer.per batch"):
        make_method(config_of(folder, AttentionFusionConfig, query="latent", shard_donors=True).transfer, build(NET))
    with pytest.raises(ConfigError, match="pmap has every leaf on each device"):
        compiling.compile_pmap(lambda **_: None, 1, jax.devices(), True, cut_axis)
