"""Fusions and merges of translators, on every task: what donors are mixed into, and from which images it is learned."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import (
    AttentionFusionConfig,
    CocktailConfig,
    ConfigError,
    DistillationConfig,
    FeatureFusionConfig,
    GradientFusionConfig,
    MergeConfig,
    OptimConfig,
    TrainConfig,
    to_dict,
)
from gan_jax.data import Pairs
from gan_jax.data.convert import to_uint8
from gan_jax.metrics import extract, load_features
from gan_jax.metrics.kernel import mmd2
from gan_jax.roots import average_of, pair_part
from gan_jax.seeds import root_key
from gan_jax.tasks import networks_of
from gan_jax.tasks.feeds import resident_pairs
from gan_jax.tasks.model import save
from gan_jax.train.feed import resident
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import PrepareContext
from gan_jax.transfer.probes import draw_batch, layout_of, recompute_statistics
from gan_jax.transfer.ranking import make_distance
from gan_jax.transfer.start import make_prepared, make_start
from gan_jax.transfer.weights import fresh_variables
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.surgery.align.copies import disguised
from tests.tasks.translating import BATCH, TASKS, config_of, feed_of

STEPS = TrainConfig(batch=BATCH, steps_per_dispatch=2, kimg=2 * BATCH / 1000, devices=1)
STAGE = 2 * BATCH / 1000  # thousands of images


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """`(task) -> (folders, variables)` of two networks, and of the first as a disguised copy."""
    kept = {}

    def of(task):
        if task not in kept:
            config, folder = config_of(task), tmp_path_factory.mktemp(task)
            nets = networks_of(config)
            first, rng = fresh_variables(nets, 0), np.random.default_rng(5)
            other = lambda leaf: leaf + (0.05 * rng.normal(size=leaf.shape)).astype(leaf.dtype)
            trees = {"first": first}
            trees["second"] = {
                name: {**tree, "params": jax.tree_util.tree_map(other, tree["params"])} for name, tree in first.items()
            }
            copy = lambda name, tree: disguised(layout_of(config.net, name), tree)[0] if pair_part(name) else tree
            trees["copy"] = {name: copy(name, tree) for name, tree in first.items()}
            for name, variables in trees.items():
                roots = {average_of(net) if net in nets.generators else net: tree for net, tree in variables.items()}
                save(folder / name, config.net, roots, {"task": to_dict(config)["task"]})
            kept[task] = {name: str(folder / name) for name in trees}, trees
        return kept[task]

    return of


def ready(task, transfer, feed=None, **changes):
    """What a run of a task begins with."""
    config = config_of(task, transfer=transfer, train=STEPS, **changes)
    nets = networks_of(config)
    method = make_method(transfer, nets)
    trainer = make_trainer(config, method, feed or feed_of(config))
    return make_prepared(trainer, make_start(config, nets, method), method, jax.random.key(3))


def few(kind, channels, count=12):
    """A feed of few noise images of uint8, as a run has them: inputs are dark, images are bright."""
    rng = np.random.default_rng(2)
    rows = lambda low, channels: rng.integers(low, low + 128, (count, 16, 16, channels)).astype(np.uint8)
    return resident_pairs(Pairs(rows(0, 3), rows(128, channels), kind), 16, mirror=False)


def generators(task):
    return networks_of(config_of(task)).generators


def params(variables):
    return {path: np.asarray(leaf) for path, leaf in flatten(variables["params"]).items()}


@pytest.mark.parametrize("task", TASKS)
def test_a_merge_is_the_mean_of_every_generator(task, sources):
    folders, trees = sources(task)
    transfer = MergeConfig(source=folders["first"], donors=(folders["second"],), align="none", scales=False)
    merged = ready(task, transfer)
    for name in networks_of(config_of(task)).nets:
        first, second, got = params(trees["first"][name]), params(trees["second"][name]), params(merged.nets[name])
        for path, leaf in got.items():
            want = (first[path] + second[path]) / 2 if name in generators(task) else first[path]
            assert_allclose(leaf, want, rtol=1e-6, atol=1e-7, err_msg=f"{name}/{path}")
    assert set(merged.record["fusion"]["shares"]) == set(generators(task))


KINDS = [
    (task, kind) for task in ("paired", "unpaired") for kind in ("fisher", "regmean", "layer_swap", "ties", "best")
]


@pytest.mark.parametrize(
    "task, kind", default_rows(KINDS, [("paired", "fisher"), ("paired", "best"), ("unpaired", "regmean")])
)
def test_a_network_that_is_merged_with_its_own_disguise_stays_what_it_is(task, kind, sources):
    """What a merge asks of a copy is what it asks of the source: information, Gram matrices, distances, losses of D."""
    folders, trees = sources(task)
    transfer = MergeConfig(
        source=folders["first"], donors=(folders["copy"],), merge=kind, samples=BATCH, mid_px=16,
        d="best" if kind == "best" and task == "paired" else "base",
    )  # fmt: skip
    merged = ready(task, transfer, few(task, config_of(task).net.channels))
    record = merged.record["fusion"]
    if kind == "best":
        scores = [record["distances"]] if task == "paired" else [record[name]["distances"] for name in generators(task)]
        for of_sources in scores + ([record["d"]] if task == "paired" else []):
            first, copy = of_sources.values()
            assert_allclose(copy, first, rtol=1e-3)
        return
    for name in generators(task):
        want = params(trees["first"][name])
        for path, leaf in params(merged.nets[name]).items():
            assert_allclose(leaf, want[path], rtol=1e-3, atol=1e-4, err_msg=f"{name}/{path}")


@pytest.mark.parametrize("task", default_rows(TASKS, ["unpaired"]))
def test_a_network_that_is_mixed_with_its_own_disguise_stays_what_it_is(task, sources):
    """Whatever the learned mixing weights: the donor is put into the order and on the scales of the source, D too."""
    folders, trees = sources(task)
    transfer = GradientFusionConfig(
        source=folders["first"], donors=(folders["copy"],), fuse_kimg=STAGE, fuse_lr=0.05, d="mix"
    )
    mixed = ready(task, transfer)
    record, nets = mixed.record["fusion"], networks_of(config_of(task))
    mixtures = (*nets.generators, *nets.discriminators)
    assert set(record["shares"]) == set(mixtures)
    for name in mixtures:
        before, after = record["donors"][0][name]
        assert before < 0.9 and after > 0.999
        want = params(trees["first"][name])
        for path, leaf in params(mixed.nets[name]).items():
            assert_allclose(leaf, want[path], rtol=2e-4, atol=2e-5, err_msg=f"{name}/{path}")
    (row,) = record["learned"]
    alone = len(nets.generators) == 1
    for name in nets.generators:  # the loss does not depend on it
        assert_allclose(row["share1" if alone else f"share1_{name}"], 0.5, atol=0.01)
    if task == "one_sided":
        assert (params(mixed.nets["f"])["layer0/kernel"] != params(trees["first"]["f"])["layer0/kernel"]).any()


@pytest.mark.parametrize("task", default_rows(TASKS, ["paired"]))
def test_learned_attention_is_baked_into_each_generator(task, sources):
    """Every leaf is the source's and the donors', by the mixing weights of its block as they are recorded."""
    folders, trees = sources(task)
    transfer = AttentionFusionConfig(
        source=folders["first"], donors=(folders["second"], folders["copy"]), align="none", scales=False,
        fuse_kimg=STAGE, fuse_lr=0.01, gate=0.5, temperature=2.0,
    )  # fmt: skip
    mixed = ready(task, transfer)
    shares = mixed.record["fusion"]["shares"]
    assert set(shares) == set(generators(task))
    for name in networks_of(config_of(task)).discriminators:  # what is not mixed is trained
        was = params(trees["first"][name])
        assert any((leaf != was[path]).any() for path, leaf in params(mixed.nets[name]).items())
    for name in generators(task):
        blocks = networks_of(config_of(task)).g_blocks
        first, *others = (params(trees[source][name]) for source in ("first", "second", "copy"))
        assert len({tuple(w) for w in shares[name].values()}) > 1
        for path, leaf in params(mixed.nets[name]).items():
            block = next((b for b in blocks if path.startswith(f"{b}/")), path.split("/")[0])
            weights = shares[name][block]
            want = (1 - sum(weights)) * first[path] + sum(w * other[path] for w, other in zip(weights, others))
            assert_allclose(leaf, want, rtol=1e-4, atol=1e-5, err_msg=f"{name}/{path}")


@pytest.mark.parametrize("task", default_rows(["paired", "unpaired"], ["paired"]))
def test_attention_asks_the_features_of_the_image_that_is_translated(task, sources):
    """The query of each direction is of the images that it reads, and its running mean is what is baked."""
    folders, trees = sources(task)
    transfer = AttentionFusionConfig(
        source=folders["first"], donors=(folders["second"],), align="none", scales=False, granularity="global",
        fuse_kimg=STAGE, fuse_lr=0.01, gate=1.0, temperature=1.0, temperature_end=1.0, query="features", per="batch",
        with_source=True,
    )  # fmt: skip
    mixed = ready(task, transfer)
    shares = {name: w["all"][0] for name, w in mixed.record["fusion"]["shares"].items()}
    assert set(shares) == set(generators(task)) and len(set(shares.values())) == len(shares)
    for name, share in shares.items():
        assert 0 < share < 1
        first, second = (params(trees[source][name]) for source in ("first", "second"))
        for path, leaf in params(mixed.nets[name]).items():
            assert_allclose(leaf, first[path] + share * (second[path] - first[path]), rtol=1e-4, atol=1e-5)


def context_of(task, feed=None, **changes):
    """`(context of a preparation, plain networks)`."""
    config = config_of(task, **changes)
    nets = networks_of(config)
    trainer = make_trainer(config, make_method(config.transfer, nets), feed or feed_of(config))
    return PrepareContext(trainer, jax.random.key(3), None, None), nets


@pytest.mark.parametrize("name", ["g_ab", "g_ba"])
def test_translators_are_ranked_by_what_they_make_of_what_they_read(name, sources):
    """Inputs and translations of the other domain, in the direction of the generator."""
    context, nets = context_of("unpaired", few("unpaired", 3))
    variables = sources("unpaired")[1]["first"][name]
    read, made = ("input", "image") if name == "g_ab" else ("image", "input")
    net, key = load_features("fashion-v1"), root_key(context.config.evaluate.seed)
    x = draw_batch(context.feed, key, 20)[read]
    translations = np.asarray(to_uint8(nets.nets[name].apply(variables, x)[0]))
    real = context.feed.resident[made]
    want = mmd2(extract(net, real).values, extract(net, translations).values)
    assert_allclose(make_distance(context, nets, 20, name)(variables), want, rtol=1e-4)


def test_statistics_of_mixed_weights_are_those_of_the_run_s_images(sources):
    """Of a set of one image: exactly those of that image, whatever weights they were before."""
    config = config_of("paired")
    rng = np.random.default_rng(1)
    image = lambda channels: rng.uniform(-1, 1, (1, 16, 16, channels)).astype(np.float32)
    feed = resident({"input": image(config.net.in_channels), "image": image(config.net.channels)})
    context, nets = context_of("paired", feed)
    g = jax.tree_util.tree_map(lambda leaf: 20 * leaf, sources("paired")[1]["first"]["g"])
    x = jnp.repeat(jnp.asarray(feed.resident["input"]), BATCH, 0)
    want = flatten(nets.g.statistics(g, x))
    got = flatten(recompute_statistics(context, nets, "g", g)["batch_stats"])
    assert want.keys() == got.keys() and any(np.abs(leaf).max() > 0.01 for leaf in want.values())
    for path, leaf in got.items():
        assert_allclose(leaf, want[path], rtol=1e-4, atol=1e-5, err_msg=path)


def test_a_student_of_itself_has_nothing_to_learn(sources):
    """Teacher and student translate the same inputs, with the same dropout."""
    folders, _ = sources("paired")
    transfer = DistillationConfig(
        source=folders["first"], donors=(folders["first"],), shares=(0.0, 1.0), distil_kimg=STAGE, lpips=None,
        distil_lr=1e-9,
    )  # fmt: skip
    (row,) = ready("paired", transfer).record["fusion"]["taught"]
    assert row["l1"] < 1e-6
    (row,) = ready("paired", dataclasses.replace(transfer, donors=(folders["second"],))).record["fusion"]["taught"]
    assert row["l1"] > 0.01


STILL = OptimConfig(lr=1e-9, b1=0.5, b2=0.999)  # learns nothing
ALONE = {
    "cocktail": lambda given: CocktailConfig(**given, root_kimg=STAGE),
    "feature_fusion": lambda given: FeatureFusionConfig(**given, fuse_kimg=STAGE, distil_kimg=0, lpips=None),
}


@pytest.mark.parametrize("method", ALONE)
def test_what_learns_nothing_from_donors_is_the_source(method, sources):
    """The average of copies of the root; the generator that attends to donors, without its attention."""
    folders, trees = sources("paired")
    given = {"source": folders["first"], "donors": (folders["second"],)}
    learned = ready("paired", ALONE[method](given), optim=STILL)
    for name in ("g", "d"):
        want = params(trees["first"][name])
        for path, leaf in params(learned.nets[name]).items():
            assert_allclose(leaf, want[path], rtol=1e-5, atol=1e-6, err_msg=f"{name}/{path}")
    record = learned.record["fusion"]
    if method == "feature_fusion":  # its gate is closed, and attention is divided between two
        assert max(map(abs, record["gates"].values())) < 1e-6
        assert all(0 < sum(w) < 1 for w in record["shares"]["g"].values())
    else:
        (row,) = record["donors"][0]["rooted"]
        assert row["images"] == 2 * BATCH and row["l1"] > 0.01  # from what the donor makes of the inputs


def test_what_is_of_one_generator_says_so(sources):
    folders, _ = sources("unpaired")
    given = {"source": folders["first"], "donors": (folders["second"],)}
    cases = {
        "is a method for one generator g and one discriminator d.*g_ab": [
            CocktailConfig(**given), DistillationConfig(**given), FeatureFusionConfig(**given),
        ],
        "transfer.d best compares discriminators of one generator g": [GradientFusionConfig(**given, d="best")],
        "transfer.collapse distil is of one generator": [
            AttentionFusionConfig(**given, query="features", collapse="distil")
        ],
        "translates images and has no latents to make a query of; use features": [
            AttentionFusionConfig(**given, query="latent")
        ],
    }  # fmt: skip
    for message, transfers in cases.items():
        for transfer in transfers:
            with pytest.raises(ConfigError, match=message):
                make_method(transfer, networks_of(config_of("unpaired")))
    with pytest.raises(ConfigError, match="transfer.by latent gives each teacher a part of the latents"):
        make_method(DistillationConfig(**given, lpips=None), networks_of(config_of("paired")))
