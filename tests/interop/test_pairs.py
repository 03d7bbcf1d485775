"""Pairs by one word: a published generator and our discriminator, through the cache, wherever weights are opened."""

from __future__ import annotations

import dataclasses
import hashlib

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.cli.main import main
from gan_jax.config import DCGANConfig, net_to_dict
from gan_jax.interop.exporters import export_file
from gan_jax.interop.feature_weights import pairs
from gan_jax.interop.weights import WeightsError, embedded_names, load_weights, save_weights
from gan_jax.nets import build
from gan_jax.tasks.model import load
from gan_jax.transfer.source import open_source
from gan_jax.trees import flatten

NAME = "digiface64"
NET = DCGANConfig(resolution=16, z_dim=8, channel_base=256, channel_max=16)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def variables():
    pair = build(NET)
    host = lambda tree: jax.tree_util.tree_map(np.asarray, tree)
    return {"g_ema": host(pair.g.init(jax.random.key(0))), "d": host(pair.d.init(jax.random.key(1)))}


@pytest.fixture
def file(tmp_path, variables, monkeypatch):
    """A generator as its package has it, and the discriminator as this package has it."""
    path, d = tmp_path / "weights.pt", tmp_path / "digiface64-d"
    export_file(path, NET, variables, "dcgan", d=tmp_path / "d.pt")
    half = jax.tree_util.tree_map(lambda leaf: leaf.astype(np.float16), variables["d"])
    save_weights(d, {"d": half}, {"net": net_to_dict(NET), "licence": "Apache-2.0", "provenance": "a test"})
    row = dataclasses.replace(
        pairs.PAIR_CATALOGUE[NAME], file=path.name, size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip
    monkeypatch.setitem(pairs.PAIR_CATALOGUE, NAME, row)
    monkeypatch.setattr(pairs, "discriminator_folder", lambda name: d)
    return path


def test_a_pair_is_got_and_then_opened_by_its_name(file, variables, capsys, tmp_path, cache):
    for open_it in (load_weights, load, open_source):
        with pytest.raises(WeightsError, match=f"not on this machine; gan-jax weights get {NAME}"):
            open_it(NAME)
    assert main(["weights", "get", NAME, "--from", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"--transfer.source {NAME}" in said and "generator only" not in said
    trees, manifest = load_weights(NAME)
    for path, leaf in flatten(variables["g_ema"]).items():
        assert_array_equal(flatten(trees["g_ema"])[path], leaf)
    for path, leaf in flatten(variables["d"]).items():
        got = flatten(trees["d"])[path]
        assert got.dtype == leaf.dtype
        assert_allclose(got, leaf, rtol=1e-3, atol=1e-6)
    assert "MIT" in manifest["licence"] and manifest["discriminator"]["licence"] == "Apache-2.0"
    assert load(NAME).config == open_source(NAME).net and open_source(NAME).net.resolution == 16
    assert main(["inspect", NAME, "--provenance", "--match", "d/params/head/kernel"]) == 0
    assert "digiface64-d, which is part of gan_jax" in capsys.readouterr().out
    (tmp_path / NAME).mkdir()  # what is here wins over the cache
    with pytest.raises(WeightsError, match="holds no weights.safetensors"):
        load_weights(NAME)


def test_without_its_discriminator_a_pair_is_a_generator(file, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "discriminator_folder", lambda name: tmp_path / "absent")
    assert main(["weights", "get", NAME, "--from", str(file)]) == 0
    assert "generator only" in capsys.readouterr().out
    assert set(open_source(NAME).specs) == {"g_ema"}


def test_a_discriminator_of_another_generator_is_refused(file, tmp_path, variables, capsys):
    other = {**variables["d"], "params": {**variables["d"]["params"], "head": {"kernel": np.zeros((4, 4, 9, 1))}}}
    save_weights(tmp_path / "digiface64-d", {"d": other}, {"net": net_to_dict(NET)})
    assert main(["weights", "get", NAME, "--from", str(file)]) == 2
    assert "of other shapes" in capsys.readouterr().err


def test_the_list_says_which_is_a_pair(capsys):
    import json

    assert main(["weights", "list", "--json"]) == 0
    kinds = {row["name"]: row["kind"] for row in json.loads(capsys.readouterr().out)}
    assert kinds[NAME] == "pair" and kinds["mobilenetv2"] == "feature network"
    assert embedded_names() == ["fashion16"]
    with pytest.raises(WeightsError, match="did you mean 'digiface64'"):
        load_weights("digiface")
