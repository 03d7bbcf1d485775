"""Gradient and attention fusion as whole runs: what is learned, baked, recorded; resumed to the bit; on devices."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax import load, provenance
from gan_jax.config import (
    AttentionFusionConfig,
    ConfigError,
    EvalConfig,
    GradientFusionConfig,
    MergeConfig,
    MLPConfig,
)
from gan_jax.fusion.gradient import Coefficients, fisher_shares, group_shares, matching_shares
from gan_jax.fusion.mixture import Mixture, fused, grouping
from gan_jax.nets.build import build
from gan_jax.surgery.align import permute
from gan_jax.surgery.families import layouts
from gan_jax.tasks.model import save
from gan_jax.train.extension import Extension
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.run import run
from gan_jax.transfer.start import make_start
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.train.checkpoint_states import assert_same
from tests.train.toy import run_config, save_pairs
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.test_minegan_run import _Stops

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 6), d_widths=(8,))


@pytest.fixture(scope="module")
def donors(tmp_path_factory):
    """Weights of three networks; the last is the first with its channels in another order."""
    folder = tmp_path_factory.mktemp("donors")
    save_pairs(folder, NET)
    axes, first = layouts(NET), load(folder / "first").variables
    turned = {
        root: permute(axes[net], first[root], {g: np.arange(n)[::-1] for g, n in groups(net).items()})
        for root, net in (("g_ema", "g"), ("d", "d"))
    }
    save(folder / "turned", NET, turned, {})
    return folder


def groups(net):
    return {"g": {"fc0": 8, "fc1": 6}, "d": {"fc0": 8}}[net]


def config_of(folder, transfer, **train):
    config = run_config(f"npz:{folder / 'data.npz'}", kimg=0.128, devices=1, **train)
    return dataclasses.replace(config, net=NET, transfer=transfer)


def gradient(folder, **options):
    base = {"source": str(folder / "first"), "donors": (str(folder / "second"),), "fuse_kimg": 0.064, "fuse_lr": 0.05}
    return GradientFusionConfig(**{**base, **options})


@pytest.fixture(scope="module")
def learned(donors, tmp_path_factory):
    """A whole run that learns shares, and its folder."""
    folder = tmp_path_factory.mktemp("learned")
    return run(config_of(donors, gradient(donors)), folder), folder


CASES = {
    "simplex": {},
    "box, fused D": {"constraint": "box", "start": 0.3, "d": "mix", "granularity": "tensor"},
    "free, best D": {"constraint": "free", "d": "best", "granularity": "channel", "regularise": "distance"},
    "fisher": {"init": "fisher", "fisher_samples": 16, "regularise": "entropy", "granularity": "global"},
    "preserving": {"preserve": 1.0},
    "matching": {"init": "gradient_matching", "fisher_samples": 16, "donor_dtype": "bfloat16"},
}


@pytest.mark.parametrize("name", default_rows(CASES, ["simplex"]))
def test_a_run_learns_shares_and_leaves_a_plain_pair(donors, learned, tmp_path, name):
    done, folder = learned if name == "simplex" else (None, tmp_path)
    done = done or run(config_of(donors, gradient(donors, **CASES[name])), folder)
    record = json.loads((folder / "prepared.json").read_text())["fusion"]
    assert record["target"].endswith("first") and [donor["donor"] for donor in record["donors"]] == [
        str(donors / "second")
    ]
    shares = record["shares"]["g"]
    blocks = {"global": {"all"}, "block": {"fc0", "fc1", "to_rgb"}}
    expected = blocks.get(CASES[name].get("granularity", "block"), set(flatten(build(NET).g.specs()["params"])))
    assert set(shares) == expected and all(len(w) == 1 for w in shares.values())
    if CASES[name].get("constraint") == "box":
        assert all(0 <= w[0] <= 1 for w in shares.values())
    assert ("d" in record["shares"]) == (CASES[name].get("d") == "mix")
    if CASES[name].get("d") == "best":
        assert set(record["d"]) == {str(donors / "first"), str(donors / "second")}
    rows = record["learned"]
    assert rows[-1]["images"] == 64 and 0 < rows[-1]["share1"] < 1
    assert len({round(row["share1"], 6) for row in rows}) > 1, "nothing was learned"
    assert int(done.state.images) == 128, "the stage's images count"
    for g in (done.state.nets["g"], done.state.ema["g"]):
        assert set(g["params"]) == set(build(NET).g.specs()["params"])


MERGED = {
    "uniform": {}, "ties": {"density": 0.5, "d": "mix"}, "fisher": {"samples": 16}, "regmean": {"samples": 32},
    "gradient_matching": {"samples": 16, "d": "mix"}, "dare_ties": {"density": 0.5}, "layer_swap": {"transition": 1.0},
    "slerp": {"d": "best"}, "greedy_soup": {"samples": 64}, "best": {"samples": 64},
}  # fmt: skip


@pytest.mark.parametrize("kind", default_rows(MERGED, ["uniform", "best"]))
def test_merges_are_where_a_run_starts(donors, kind):
    """Before any training: of the aligned pair what the merge says, a chosen network as it is."""
    transfer = MergeConfig(source=str(donors / "first"), donors=(str(donors / "second"),), merge=kind, **MERGED[kind])
    ready = prepared(dataclasses.replace(config_of(donors, transfer), evaluate=EvalConfig(features="fashion-v1")))
    record, leaves = ready.record["fusion"], flatten(ready.nets["g"]["params"])
    first, second = (flatten(load(donors / n).variables["g_ema"]["params"]) for n in ("first", "second"))
    assert record["kind"] == kind and ready.images == 0 and set(leaves) == set(first)
    assert all(np.isfinite(leaf).all() for leaf in leaves.values())
    if kind == "best":
        assert record["chosen"] == min(record["distances"], key=record["distances"].get)
        (chosen,) = [f for n, f in (("first", first), ("second", second)) if record["chosen"].endswith(n)]
        assert all((leaves[path] == chosen[path]).all() for path in leaves)
    elif kind != "greedy_soup":
        assert any(np.abs(leaves[path] - first[path]).max() > 1e-3 for path in leaves)
    assert ready.history[-1]["kind"] == "fuse" and kind in (ready.history[-1]["words"] + "best")


def test_a_base_in_an_order_of_its_own_is_brought_into_the_sources(donors):
    """Of the source, a donor and the source's own copy in another order, nothing but the donor's difference is a task."""
    first = str(donors / "first")
    merging = MergeConfig(
        source=first, donors=(str(donors / "second"),), merge="task_arithmetic", lam=0.5, scales=False, d="base"
    )
    want = prepared(config_of(donors, dataclasses.replace(merging, base=first))).nets["g"]
    got = prepared(config_of(donors, dataclasses.replace(merging, base=str(donors / "turned")))).nets["g"]
    apart = prepared(config_of(donors, dataclasses.replace(merging, base=str(donors / "turned"), align="none"))).nets[
        "g"
    ]
    for path, leaf in flatten(want["params"]).items():
        assert_allclose(flatten(got["params"])[path], leaf, atol=1e-6, err_msg=path)
    assert np.abs(flatten(apart["params"])["fc0/kernel"] - flatten(want["params"])["fc0/kernel"]).max() > 0.01


def prepared(config):
    pair = build(config.net)
    method = make_method(config.transfer, pair)
    return ask.prepared(config, make_start(config, pair, method), method)


@pytest.mark.slow
def test_the_stage_is_the_programs_own_and_a_resumed_run_reads_no_donor(donors, learned, tmp_path):
    config = config_of(donors, gradient(donors))
    with pytest.raises(_Stops.Broken):
        run(config, tmp_path / "cut", _Stops())
    whole, _ = learned
    second = donors / "second"
    second.rename(donors / "moved")
    try:
        assert_same(run(config, tmp_path / "cut").state, whole.state)
    finally:
        (donors / "moved").rename(second)


def test_what_became_of_a_leaf_names_every_donor(learned):
    _, folder = learned
    text = provenance(folder, "g_ema/params/fc0/kernel")
    assert "fused with" in text and "second" in text and "on average 0." in text
    lines = text.splitlines()
    assert sum("copy <-" in line for line in lines) == 2, "once of the source, once of the donor"
    assert "not fused" in provenance(folder, "d/params/fc0/kernel")
    assert load(folder).sample(jax.random.key(0), 2).shape == (2, 16, 16, 1)


@pytest.mark.parametrize("align", default_rows(["weights", "activations", "none"], ["weights", "none"]))
def test_an_aligned_copy_is_the_source_whatever_was_learned(donors, align):
    """At the end of the stage; one that is not aligned is another network."""
    transfer = gradient(donors, donors=(str(donors / "turned"),), scales=False, align=align)
    ready = prepared(config_of(donors, transfer))
    first = flatten(load(donors / "first").variables["g_ema"])
    apart = max(np.abs(leaf - first[path]).max() for path, leaf in flatten(ready.nets["g"]).items())
    assert apart > 1e-2 if align == "none" else apart < 1e-5
    if align == "weights":
        cosines = ready.record["fusion"]["donors"][0]["g"]
        assert cosines[0] < 0.9 and cosines[1] == pytest.approx(1.0, abs=1e-6)


def test_attention_begins_as_the_source_and_cools(donors):
    transfer = AttentionFusionConfig(source=str(donors / "first"), donors=(str(donors / "second"),) * 2, fuse_kimg=0.064,
                                     fuse_lr=0.05, temperature=8.0)  # fmt: skip
    record = prepared(config_of(donors, transfer)).record["fusion"]
    rows = record["learned"]
    assert abs(rows[0]["share1"]) < 0.1 and rows[-1]["share1"] != rows[0]["share1"]
    assert all(len(w) == 2 for w in record["shares"]["g"].values())


COLLAPSES = [("example", "mean"), ("batch", "mean"), ("example", "distil")]


@pytest.mark.parametrize("per, collapse", default_rows(COLLAPSES, []))
def test_a_query_of_latents_collapses(donors, per, collapse):
    transfer = AttentionFusionConfig(source=str(donors / "first"), donors=(str(donors / "second"),) * 2, fuse_kimg=0.064,
                                     fuse_lr=0.05, query="latent", per=per, gate=0.5, collapse=collapse,
                                     distil_kimg=0.032)  # fmt: skip
    ready = prepared(config_of(donors, transfer))
    record = ready.record["fusion"]
    assert ("taught" in record) == (collapse == "distil") and ready.images == (96 if collapse == "distil" else 64)
    assert all(len(w) == 2 and 0 < sum(w) < 1 for w in record["shares"]["g"].values())
    assert set(ready.nets["g"]["params"]) == set(build(NET).g.specs()["params"])


def gradient_config():
    return GradientFusionConfig(donors=("a", "b"))


def _stage(mixture, others):
    """The stage as a method of its own, G fused with donors from the start."""

    @dataclasses.dataclass(frozen=True)
    class Stage(Method):
        def trains(self, network):
            return mixture.trains if network == "g" else lambda path: True

        def wrap(self, pair):
            return dataclasses.replace(pair, g=fused(pair.g, mixture))

        def attach(self, network, variables, key):
            if network != "g":
                return variables
            return {**variables, "params": mixture.attach(variables["params"], key, others)}

    clamp = lambda ctx, network, before, after: (mixture.clamp(after[0]), after[1]) if network == "g" else after
    return Stage(starts=("g", "d"), extension=Extension(post_update=clamp))


def test_only_the_gate_moves():
    pair = build(NET)
    mixture = Mixture(Coefficients(2, "box", 0.3), grouping("block", pair.g_blocks))
    others = [jax.jit(pair.g.init)(jax.random.key(20 + i))["params"] for i in range(2)]
    config = ask.make_config(gradient_config(), NET)
    begun = ask.begin(config, _stage(mixture, others))
    before, (after, _) = begun.before, begun.after(4)
    for path in before:
        if path.startswith(("g/params", "g_ema/params")):
            gate = "/adapter/gate/" in path
            assert (before[path] != after[path]).any() == gate, path
    assert all("adapter/gate/" in path for path in before if path.startswith("opt_g/") and path.endswith("kernel"))


@pytest.mark.slow
def test_devices_learn_the_same():
    pair = build(NET)
    mixture = Mixture(Coefficients(2, "simplex"), grouping("block", pair.g_blocks))
    others = [jax.jit(pair.g.init)(jax.random.key(20 + i))["params"] for i in range(2)]
    ask.assert_same_on_devices(ask.begin(ask.make_config(gradient_config(), NET), _stage(mixture, others)))


def test_information_decides_by_hand():
    target, donors = jnp.asarray([1.0, 0.0]), [jnp.asarray([1.0, 3.0]), jnp.asarray([2.0, 0.0])]
    f = fisher_shares(target, donors)
    assert_allclose(f, [[0.25, 1.0], [0.5, 0.0]], atol=1e-5)
    a = 1 / 3
    m = matching_shares(target, donors)
    assert_allclose(m, [[a * 2 / (1 + a * 3), a * 3 / a / 3], [a * 3 / (1 + a * 3), 0.0]], atol=1e-5)
    params = lambda *values: {"w": jnp.asarray(values)}
    theta = [(params(2.0, 0.0), params(*donors[0])), (params(0.0, 5.0), params(*donors[1]))]
    shares = group_shares(fisher_shares, lambda path: "all", (params(0.0, 0.0), params(*target)), theta)["all"]
    assert_allclose(shares, [0.25, 0.0], atol=1e-5)  # weighted by how far each weight would move
    even = group_shares(fisher_shares, lambda path: "all", (params(0.0, 0.0), params(*target)),
                        [(params(0.0, 0.0), params(*target))])["all"]  # fmt: skip
    assert_allclose(even, [0.5])


def test_what_cannot_be_fused_is_refused(donors, tmp_path):
    pair = build(NET)
    with pytest.raises(ConfigError, match="transfer.donors is empty"):
        make_method(GradientFusionConfig(), pair)
    valid = GradientFusionConfig(donors=("a",))
    for change, words in (
        ({"networks": "g", "d": "mix"}, "needs a D of every donor"),
        ({"networks": "d"}, "fusion mixes pretrained Gs"),
        ({"fuse_kimg": 0.0}, "no mixing weight is learned"),
        ({"start": 1.5}, "outside of simplex"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_method(dataclasses.replace(valid, **change), pair)
    with pytest.raises(ConfigError, match="above 0"):
        make_method(AttentionFusionConfig(donors=("a",), temperature=0.0), pair)
    with pytest.raises(ConfigError, match="attention_width is 0"):
        make_method(AttentionFusionConfig(donors=("a",), attention_width=0), pair)
    with pytest.raises(ConfigError, match="transfer.query is style: MLPConfig has no styles"):
        make_method(AttentionFusionConfig(donors=("a",), query="style"), pair)
    with pytest.raises(ConfigError, match="are of whole leaves"):
        make_method(AttentionFusionConfig(donors=("a",), query="latent", granularity="channel"), pair)
    with pytest.raises(ConfigError, match="best merges nothing"):
        make_method(MergeConfig(merge="best", d="mix", donors=("a",)), pair)
    with pytest.raises(ConfigError, match="slerp is of 2 networks, but there are 3"):
        make_method(MergeConfig(merge="slerp", donors=("a", "b")), pair)
    with pytest.raises(ConfigError, match="must be shorter than train.kimg"):
        config_of(donors, gradient(donors, fuse_kimg=1.0)).validate()
