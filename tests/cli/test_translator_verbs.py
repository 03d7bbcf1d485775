"""The verbs merge, align, evaluate and rank-sources on weights that translate images."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax import load
from gan_jax.config import AttentionFusionConfig, PairedTask, to_dict
from gan_jax.metrics import extract, load_features
from gan_jax.metrics.kernel import mmd2
from gan_jax.metrics.pairs import pair_metrics
from gan_jax.roots import average_of
from gan_jax.tasks import networks_of
from gan_jax.tasks.model import save
from gan_jax.transfer.probes import layout_of
from gan_jax.transfer.weights import fresh_variables
from gan_jax.trees import flatten
from tests.surgery.align.copies import disguised
from tests.tasks.translating import config_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of two translators, two.npz of pairs; a and b are fresh, c computes what a computes. cut has a third network."""
    folder, rng = tmp_path_factory.mktemp("translators"), np.random.default_rng(0)

    def write(name, task, variables):
        config = config_of(task)
        of_g = networks_of(config).generators
        roots = {average_of(net) if net in of_g else net: tree for net, tree in variables.items()}
        save(folder / name, config.net, roots, {"task": to_dict(config)["task"]})

    def other(leaf):
        return leaf + (0.05 * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    config = config_of("unpaired")
    first = fresh_variables(networks_of(config), 0)
    write("a", "unpaired", first)
    write("b", "unpaired", jax.tree_util.tree_map(other, first))
    write("c", "unpaired", {name: disguised(layout_of(config.net, name), tree)[0] for name, tree in first.items()})
    f = fresh_variables(networks_of(config_of("one_sided")), 0)["f"]
    for name, tree in (("cut", f), ("cut2", jax.tree_util.tree_map(lambda leaf: leaf + 1, f))):
        write(name, "one_sided", {"g": first["g_ab"], "d": first["d_b"], "f": tree})
    inputs = rng.integers(0, 256, (24, 4, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    np.savez(folder / "two.npz", inputs=inputs, images=255 - inputs)
    return folder


def test_each_network_is_merged_with_its_like(cli, folder, tmp_path):
    out = tmp_path / "out"
    assert cli("merge", folder / "a", folder / "b", "--kind", "average", "--weights", 0.25, 0.75, "--out", out) == 0, (
        cli.err
    )
    assert f"wrote {out}: gan-jax translate {out}" in cli.out
    a, b, merged = (flatten(load(path).variables) for path in (folder / "a", folder / "b", out))
    assert {path.split("/")[0] for path in merged} == {"g_ab_ema", "g_ba_ema", "d_a", "d_b"}
    for path, leaf in merged.items():
        assert_allclose(leaf, 0.25 * a[path] + 0.75 * b[path], rtol=1e-5, atol=1e-6, err_msg=path)
    assert load(out).manifest["task"]["kind"] == "unpaired" and load(out).directions == ("ab", "ba")


def test_a_third_network_is_merged_where_all_have_one(cli, folder, tmp_path):
    assert cli("merge", folder / "cut", folder / "cut2", "--out", tmp_path / "out") == 0, cli.err
    f, first = (load(path).variables["f"] for path in (tmp_path / "out", folder / "cut"))
    jax.tree_util.tree_map(lambda now, was: assert_allclose(now, was + 0.5, rtol=1e-5, atol=1e-6), f, first)


@pytest.mark.parametrize("by", ["weights", "activations"])
def test_a_disguised_translator_comes_back_in_every_network(cli, folder, tmp_path, by):
    out = tmp_path / "out"
    images = () if by == "weights" else ("--images", f"npz:{folder / 'two.npz'}", "--n", 16)
    assert cli("align", folder / "a", folder / "c", "--out", out, "--by", by, *images) == 0, cli.err
    assert f"wrote {out}: gan-jax translate" in cli.out
    want, was, got = (flatten(load(path).variables) for path in (folder / "a", folder / "c", out))
    assert {line.split(":")[0] for line in cli.out.splitlines() if "->" in line} == {"g_ab", "g_ba", "d_a", "d_b"}
    for path, leaf in got.items():
        assert_allclose(leaf, want[path], rtol=2e-4, atol=2e-5, err_msg=path)
    for root in ("g_ab_ema", "g_ba_ema", "d_a", "d_b"):
        assert any(path.startswith(root) and not np.allclose(was[path], want[path]) for path in want)


def test_aligned_features_have_no_third_network(cli, folder, tmp_path):
    assert cli("align", folder / "cut", folder / "cut2", "--out", tmp_path / "out") == 0, cli.err
    assert "f: left out, since it reads features of g in their old order" in cli.out
    assert set(load(tmp_path / "out").variables) == {"g_ema", "d"}


def test_a_model_is_measured_on_pairs_both_ways(cli, folder, tmp_path):
    """The numbers of pairs are those of its translations of the inputs."""
    data = f"npz:{folder / 'two.npz'}"
    words = ("--data.source", data, "--json", tmp_path / "numbers.json")
    assert cli("evaluate", folder / "a", *words) == 0, cli.err
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    with np.load(folder / "two.npz") as pairs:
        inputs, images = pairs["inputs"], pairs["images"]
    want = pair_metrics(load(folder / "a").translate(inputs, direction="ab"), images)
    for name in ("l1", "psnr", "ssim"):
        title = want.protocols[name].title(name)
        assert_allclose(numbers[title], want.means[name], rtol=1e-4, err_msg=name)
    net = load_features("fashion-v1")
    for of, made, way in (
        (images, load(folder / "a").translate(inputs, direction="ab"), ""),
        (inputs, load(folder / "a").translate(images, direction="ba"), ", way back"),
    ):
        kid = numbers[f"KID (fashion-v1, luminance, relative only){way}"]
        assert_allclose(kid, mmd2(extract(net, of).values, extract(net, made).values), rtol=1e-3)
    assert not any("PSNR" in name and "way back" in name for name in numbers)
    assert "no held-out reference" in numbers["note"]


def test_what_translators_have_no_part_in_is_said_before_any_work(cli, folder, tmp_path):
    data = ("--data.source", f"npz:{folder / 'two.npz'}")
    assert cli("evaluate", folder / "a", *data, "--lpips", "vgg16") == 2
    assert "is of samples around training images" in cli.err
    assert cli("evaluate", folder / "a", "--data.source", "embedded:fashion-mnist") == 2
    assert cli("rank-sources", folder / "a", "--data.source", "embedded:fashion-mnist") == 2
    assert "sources are ranked by their samples" in cli.err
    assert cli("rank-sources", "pairs:x,y", folder / "a") == 2
    assert "pairs:x,y is a set of pairs" in cli.err and "--transfer.merge best" in cli.err
    assert cli("align", folder / "a", folder / "c", "--out", tmp_path / "x", "--by", "activations") == 2
    assert "such as --images pairs:A,B" in cli.err
    assert cli("align", folder / "a", folder / "cut", "--out", tmp_path / "x") == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("words", [("pairs:x,y",), ("--target", "pairs:x,y")])
def test_a_fusion_for_pairs_takes_task_and_networks_of_its_donors(cli, folder, fake_run, tmp_path, words):
    donors = ("--donors", folder / "cut", folder / "cut2")
    assert cli("fuse", *words, *donors, "--method", "attention", "--out", tmp_path / "run") == 0, cli.err
    (config,) = [args[0] for name, args, _ in fake_run.calls if name == "run"]
    assert config.data.source == "pairs:x,y" and config.net == config_of("one_sided").net
    assert isinstance(config.task, PairedTask) and isinstance(config.transfer, AttentionFusionConfig)
    assert config.transfer.source == str(folder / "cut") and config.transfer.donors == (str(folder / "cut2"),)
