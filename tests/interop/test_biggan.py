"""BigGAN as the published implementation computes it: outputs, and every option of the networks in its layout."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from gan_jax.config import BigGANConfig
from gan_jax.interop.importers import import_file
from gan_jax.interop.layouts.biggan import (
    STATISTICS,
    MapsLink,
    constants,
    discriminator_links,
    find,
    generator_links,
    guess_config,
)
from gan_jax.interop.links import ForeignLayoutError, Link, export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, golden, golden_files, imported, nhwc, there_and_back, under

IGNORED = {".sv0": "computed again"}
SMALL = BigGANConfig(
    *(16, 3, 3, 12), width=2, g_multipliers=(5, 4, 2), d_multipliers=(2, 3, 4), shared_dim=5, attention=(8,)
)  # resolution, channels, classes, z
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(params=golden_files("biggan_*.npz", "biggan_64.npz"), scope="module")
def case(request):
    arrays = golden(request.param)
    meta = json.loads(str(arrays["meta"]))
    config = guess_config(under(arrays, "G/"), under(arrays, "D/"))
    assert dataclasses.replace(config, d_attention=None) == BigGANConfig(
        resolution=meta["resolution"],
        num_classes=meta["n_classes"],
        z_dim=meta["dim_z"],
        width=meta["ch"],
        shared_dim=meta["shared_dim"],
        hierarchical=meta["hier"],
        attention=tuple(int(size) for size in meta["attention"].split("_") if size != "0"),
    )
    return arrays, config, build(config)


def test_outputs(case):
    arrays, config, pair = case
    labels = jnp.asarray(arrays["in/y"], jnp.int32)
    g = imported(under(arrays, "G/"), generator_links(config), IGNORED, pair.g.specs())
    made = jax.jit(pair.g.apply, compiler_options=QUICK)(g, jnp.asarray(arrays["in/z"]), labels)[0]
    close(made, nhwc(arrays["out/img"]), 1e-4)
    d = imported(under(arrays, "D/"), discriminator_links(config), IGNORED, pair.d.specs())
    judged = jax.jit(pair.d.apply, compiler_options=QUICK)(d, nhwc(arrays["in/x"]), labels)[0]
    close(judged, arrays["out/logits"][:, 0], 1e-4)


def test_golden_names_there_and_back(case):
    arrays, config, pair = case
    for prefix, links, net in (("G/", generator_links, pair.g), ("D/", discriminator_links, pair.d)):
        state = {name: array for name, array in under(arrays, prefix).items() if not name.endswith(".sv0")}
        there_and_back(state, links(config), IGNORED, net.specs())
    kept = {name.replace("/", ".") for name in arrays if name.endswith(".sv0")}
    assert {name.replace("G_ema", "G") for name in constants(config)} == kept


def drawn(config):
    """A pair, tensors under their names, and the links."""
    rng, pair = np.random.default_rng(0), build(config)
    links = {"g": generator_links(config), "d": discriminator_links(config)}
    leaves = lambda net: {
        p: np.asarray(np.abs(rng.standard_normal(s.shape)), "f4") for p, s in flatten(net.specs()).items()
    }
    tensors = {name: export_tensors(leaves(getattr(pair, name)), links[name]) for name in ("g", "d")}
    return pair, tensors, links


OPTIONS = {
    "as it is": {},
    "published": {"resolution": 64, "z_dim": 10, "width": 2, "g_multipliers": None, "d_multipliers": None},
    "of 32 px": {"resolution": 32, "z_dim": 8, "width": 3, "g_multipliers": None, "d_multipliers": None},
    "plain latents": {"hierarchical": False, "z_dim": 7},
    "tables": {"hierarchical": False, "shared_dim": 0, "z_dim": 7},
    "tables as large as layers": {"hierarchical": False, "shared_dim": 0, "z_dim": 3, "num_classes": 10},
    "without classes": {"num_classes": 0, "shared_dim": 128},
    "no attention, grey, narrow inside": {"attention": (), "channels": 1, "d_wide": False},
    "attention wherever it can be": {"attention": (8, 16)},
    "attention after one block of D": {"attention": (), "d_attention": ("b8",)},
    "G without spectral norm": {"g_spectral": False},
    "G's tables without spectral norm": {"g_spectral": False, "hierarchical": False, "shared_dim": 0},
    "a last block of the same width": {"d_multipliers": (2, 3, 3)},
    "more blocks at the end": {"d_multipliers": (2, 3, 3, 3)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_there_and_back(name):
    config = dataclasses.replace(SMALL, **OPTIONS[name])
    pair, tensors, links = drawn(config)
    assert guess_config(tensors["g"], tensors["d"]) == config
    for root in ("g", "d"):
        there_and_back(tensors[root], links[root], IGNORED, getattr(pair, root).specs())


def test_networks_are_found_alone_and_under_prefixes():
    pair, tensors, _ = drawn(SMALL)
    alone = find(tensors["g"])
    assert alone.parts.keys() == {"g_ema"} and alone.parts["g_ema"].prefix == ""
    assert isinstance(alone.config, BigGANConfig)
    widths = {"width": alone.config.width, "g_multipliers": alone.config.g_multipliers, "d_multipliers": None}
    assert alone.config == dataclasses.replace(SMALL, **widths)
    judge = find({f"module.{name}": array for name, array in tensors["d"].items()})
    assert judge.parts.keys() == {"d"} and judge.parts["d"].prefix == "module."
    assert isinstance(judge.config, BigGANConfig) and judge.config.num_classes == 3
    imported(dict(judge.parts["d"].tensors), judge.parts["d"].links, IGNORED, build(judge.config).d.specs())
    named = lambda prefix, net: {f"{prefix}{name}": array for name, array in tensors[net].items()}
    both = find({**named("G.", "g"), **named("G_ema.", "g"), **named("D.", "d")})
    assert {root: part.prefix for root, part in both.parts.items()} == {"g_ema": "G_ema.", "d": "D."}
    assert both.config == SMALL and set(both.left_out) == set(named("G.", "g"))
    for root, net in (("g_ema", pair.g), ("d", pair.d)):
        part = both.parts[root]
        imported(dict(part.tensors), part.links, IGNORED, net.specs())


def test_statistics_of_every_batch_norm_and_sums_of_them():
    _, tensors, _ = drawn(SMALL)
    for spelled in STATISTICS:
        renamed = {name.replace(".stored_", spelled): array for name, array in tensors["g"].items()}
        assert any(name.endswith(f"output_layer.0{spelled}mean") for name in renamed)
        part = find(renamed).parts["g_ema"]
        assert set(part.links) == set(renamed)
    summed = {name.replace(".stored_", ".bn.stored_"): array for name, array in tensors["g"].items()}
    norms = [name.removesuffix("stored_mean") for name in summed if name.endswith("stored_mean")]
    count = {f"{norm}accumulation_counter": np.array([16.0 if "blocks" in norm else 0.0], "f4") for norm in norms}
    part = find({**summed, **count}).parts["g_ema"]
    name = "blocks.0.0.bn1.bn.stored_var"
    np.testing.assert_array_equal(part.tensors[name], summed[name] / 16)
    name = "output_layer.0.bn.stored_mean"
    np.testing.assert_array_equal(part.tensors[name], summed[name])  # a running average
    found = find({**summed, **count})
    imported(dict(part.tensors), part.links, dict(found.ignored), build(found.config).g.specs())


def test_what_does_not_fit_is_named():
    _, tensors, _ = drawn(SMALL)
    g, d = tensors["g"], tensors["d"]
    with pytest.raises(
        ForeignLayoutError, match="these are no tensors of a BigGAN .no output_layer.2.weight, no linear"
    ):
        find({"main.0.weight": np.zeros(3)})
    with pytest.raises(ForeignLayoutError, match="no tensors of a BigGAN discriminator .no blocks.0.0.conv1.weight"):
        find({"linear.weight": np.zeros((3, 2))})
    with pytest.raises(ForeignLayoutError, match="no tensors of a BigGAN generator .no linear.weight, blocks.0"):
        find({"output_layer.2.weight": np.zeros(3)})
    with pytest.raises(ForeignLayoutError, match="G has num_classes 3, but D 4; they are no pair"):
        guess_config(g, {**d, "embed.weight": np.zeros((4, 8))})
    with pytest.raises(ForeignLayoutError, match="G's norms read 9 values, 5 more than .* reads 3 latents"):
        guess_config({**g, "linear.weight": np.zeros((160, 3)), "shared.weight": np.zeros((3, 4))})
    with pytest.raises(ForeignLayoutError, match="D halves images 2 times, too often for G's 8 px"):
        guess_config({name: array for name, array in g.items() if not name.startswith("blocks.1.")}, d)
    for changes, links, message in (
        ({"num_classes": 0, "hierarchical": False}, generator_links, "norms read neither classes nor latents"),
        ({"d_gain": True}, discriminator_links, "no factor of D's class term"),
    ):
        with pytest.raises(ForeignLayoutError, match=message):
            links(dataclasses.replace(SMALL, **changes))


def test_the_first_layer_makes_maps_channels_first_there():
    """Weights, biases and vectors of `C` maps of 2x2: their value c * 4 + p is ours p * C + c."""
    theirs = np.arange(12)
    assert MapsLink("stem/bias", side=2).read(theirs).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    weight = theirs[:, None] + 100 * np.arange(2)
    assert MapsLink("stem/kernel", "dense", side=2).read(weight)[1].tolist()[:3] == [100, 104, 108]
    for link, array in (
        (MapsLink("x", "dense", side=2), weight),
        (MapsLink("x", side=2, before=1), theirs[None]),
        (Link("x", before=1), theirs[None]),
    ):
        np.testing.assert_array_equal(link.write(link.read(array)), array)


def test_two_files_make_one_pair(tmp_path):
    """As that program leaves them: a file for each network, with what it watches."""
    _, tensors, _ = drawn(SMALL)
    watched = constants(SMALL)
    for root, prefix in (("g", "G_ema."), ("d", "D.")):
        save_file({**tensors[root], **under(watched, prefix)}, tmp_path / f"{root}.safetensors")
    found = import_file(tmp_path / "g.safetensors", d=tmp_path / "d.safetensors")
    assert (found.layout, found.config) == ("biggan", SMALL) and set(found.variables) == {"g_ema", "d"}
    assert len(found.account.ignored) == len(watched) and "computed again" in str(found.account)
    alone = import_file(tmp_path / "g.safetensors").variables["g_ema"]
    for path, leaf in flatten(found.variables["g_ema"]).items():
        np.testing.assert_array_equal(flatten(alone)[path], leaf)
