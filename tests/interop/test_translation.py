"""Files of networks from images to images: there and back, every tensor accounted for; `tests/nets` has their parity."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gan_jax.cli.main import main
from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.interop.exporters import export_file
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts.translation import discriminator_links, find, generator_links
from gan_jax.nets import build
from gan_jax.nets.patch_features import make_patch_mlp
from gan_jax.tasks.model import load
from gan_jax.trees import flatten, map_with_path
from tests.nets.families import drawn

CONFIGS: list[Any] = [
    UNetConfig(8, 2, 1, width=2, depth=3, d_width=2, d_layers=1),
    UNetConfig(32, width=2, depth=5, norm="instance", d_kind="pixel", d_width=2, d_condition=False),
    UNetConfig(4, width=2, depth=2, norm="none", d_width=3, d_norm="batch"),
    TranslatorConfig(128, width=2, blocks=2, d_width=2, affine=True),
    TranslatorConfig(
        128, width=2, blocks=1, norm="batch", dropout=True, d_width=2, d_norm="instance", d_condition=True
    ),
    TranslatorConfig(128, 1, 3, width=2, blocks=2, antialias=True, d_width=2, d_layers=2, init="xavier"),
]


def variables_of(config):
    pair = build(config)
    return {"g_ema": drawn(pair.g), "d": drawn(pair.d)}


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{type(config).__name__}-{config.norm}-{config.d_kind}")
def test_there_and_back(config, tmp_path):
    variables = variables_of(config)
    export_file(tmp_path / "both.safetensors", config, variables, "translation")
    both = import_file(tmp_path / "both.safetensors")
    assert (both.layout, both.config) == ("translation", config)
    equal(both.variables, variables)
    export_file(tmp_path / "g.pth", config, variables, "translation", d=tmp_path / "d.pth")
    apart = import_file(tmp_path / "g.pth", d=tmp_path / "d.pth")
    assert apart.config == config
    equal(apart.variables, variables)
    for name, root in (("g", "g_ema"), ("d", "d")):
        alone = import_file(tmp_path / f"{name}.pth")
        assert [*alone.variables] == [root]
        if name == "g" or isinstance(config, TranslatorConfig) and config.in_channels == 3:
            equal(alone.variables[root], variables[root])


def test_a_kernel_that_reads_two_maps_is_one_tensor_there(tmp_path):
    """The encoder's channels, and the image that goes in, stand before the others."""
    config, variables = CONFIGS[0], variables_of(CONFIGS[0])
    export_file(tmp_path / "f.safetensors", config, variables, "translation")
    file, g, d = load_file(tmp_path / "f.safetensors"), variables["g_ema"]["params"], variables["d"]["params"]
    last = file["netG.model.model.3.weight"]  # [inputs, outputs, 4, 4]
    assert last.shape == (4, 1, 4, 4)
    np.testing.assert_array_equal(last[1, 0], g["to_rgb"]["skip"]["kernel"][:, :, 1, 0])
    np.testing.assert_array_equal(last[3, 0], g["to_rgb"]["conv"]["kernel"][:, :, 1, 0])
    first = file["netD.model.0.weight"]  # [outputs, inputs, 4, 4]
    np.testing.assert_array_equal(first[1, 0], d["from_rgb"]["input"]["kernel"][:, :, 0, 1])
    np.testing.assert_array_equal(first[1, 2], d["from_rgb"]["conv"]["kernel"][:, :, 0, 1])


def test_statistics_of_instance_norm_are_left_out(tmp_path):
    """Files of old PyTorch hold them; published networks never use them."""
    config = TranslatorConfig(128, width=2, blocks=1)
    export_file(tmp_path / "f.safetensors", config, {"g_ema": drawn(build(config).g)}, "translation")
    file = load_file(tmp_path / "f.safetensors")
    old = {f"{name}.{leaf}": np.ones(2, "f4") for name in ("netG.model.2",) for leaf in ("running_mean", "running_var")}
    save_file({**file, **old}, tmp_path / "old.safetensors")
    foreign = import_file(tmp_path / "old.safetensors")
    assert foreign.config == config and foreign.account.ignored.keys() == old.keys()
    assert "takes those of each image" in foreign.account.ignored["netG.model.2.running_mean"]


def test_one_direction_of_four_networks_is_read(tmp_path):
    config = TranslatorConfig(128, width=2, blocks=1, d_width=2, d_layers=1)
    pair, file = build(config), {}
    scaled = lambda tree, by: map_with_path(lambda path, leaf: by * leaf, tree)
    nets = {"D_B": (pair.d, 3.0), "G_A2B": (pair.g, 1.0), "D_A": (pair.d, 2.0), "G_B2A": (pair.g, 4.0)}
    for name, (net, by) in nets.items():
        root = "d" if name[0] == "D" else "g_ema"
        export_file(tmp_path / "one.safetensors", config, {root: scaled(drawn(net), by)}, "translation")
        one = load_file(tmp_path / "one.safetensors")
        file |= {f"{name}.module.{key.partition('.')[2]}": array for key, array in one.items()}
    save_file(file, tmp_path / "all.safetensors")
    first = import_file(tmp_path / "all.safetensors")
    equal(first.variables, {"g_ema": drawn(pair.g), "d": scaled(drawn(pair.d), 3.0)})
    assert len(first.account.used) + len(first.account.ignored) == len(file)
    other = import_file(tmp_path / "all.safetensors", ignore=["G_A2B.*"])
    equal(other.variables, {"g_ema": scaled(drawn(pair.g), 4.0), "d": scaled(drawn(pair.d), 2.0)})


def test_the_mlp_of_cut_is_a_network_of_its_own(tmp_path):
    config = TranslatorConfig(128, width=2, blocks=5, antialias=True, d_width=2, init="xavier")
    f = drawn(make_patch_mlp((3, 4, 8, 8, 8), 6))
    variables = variables_of(config) | {"f": f}
    export_file(tmp_path / "all.safetensors", config, variables, "translation")
    equal(import_file(tmp_path / "all.safetensors").variables, variables)
    export_file(tmp_path / "f.safetensors", config, {"f": f}, "translation")
    assert {name for name in load_file(tmp_path / "f.safetensors") if ".0." in name} >= {"netF.mlp_0.0.weight"}
    alone = import_file(tmp_path / "f.safetensors")
    equal(alone.variables, {"f": f})
    assert alone.config.antialias
    few = drawn(make_patch_mlp((3, 4), 6))  # of a task with other layers
    export_file(tmp_path / "few.safetensors", config, {"f": few}, "translation")
    equal(import_file(tmp_path / "few.safetensors").variables, {"f": few})


def test_a_file_with_another_name_for_blocks_by_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TranslatorConfig(128, width=2, blocks=1, affine=True)
    variables = {"g_ema": drawn(build(config).g)}
    export_file("g.safetensors", config, variables, "translation")
    renamed = {name[5:].replace("conv_block", "block"): array for name, array in load_file("g.safetensors").items()}
    save_file(renamed, "port.safetensors")
    assert main(["import", "port.safetensors", "--out", "weights"]) == 0
    said = capsys.readouterr().out
    assert f"{len(renamed)} tensors used, 0 ignored" in said and "gan-jax translate weights" in said
    model = load("weights")
    assert model.config == config
    equal(model.generator, variables["g_ema"])


def file_of(config):
    """Tensors of both networks by their names."""
    out = {}
    for prefix, root, links in (
        ("netG.", "g_ema", generator_links(config)),
        ("netD.", "d", discriminator_links(config)),
    ):
        leaves = flatten(variables_of(config)[root])
        out |= {prefix + name: link.tensor(leaves) for name, link in links.items()}
    return out


def test_what_cannot_be_imported_is_named():
    with pytest.raises(ForeignLayoutError, match="no network from images to images: no U-Net"):
        find({"main.0.weight": np.zeros((3, 3, 4, 4))})
    small = TranslatorConfig(128, width=2, blocks=2, affine=True, d_width=2)
    g = file_of(small)
    statistics = {"netG.model.2.running_mean": np.zeros(2, "f4")}
    with pytest.raises(ForeignLayoutError, match="batch norm and instance norm may both have.*--ignore '.*running_.*'"):
        find(g | statistics)
    with pytest.raises(ForeignLayoutError, match=r"G has blocks at \[11\]; theirs are counted from 10 on"):
        find({name: array for name, array in g.items() if "model.10." not in name})
    with pytest.raises(ForeignLayoutError, match="filters on the way down or on the way up only"):
        find(g | {"netG.model.7.filt": np.zeros((4, 1, 3, 3))})
    with pytest.raises(ForeignLayoutError, match="D reads 5 channels, but G makes 3 of 3; they are no pair"):
        find(g | {"netD.model.0.weight": np.zeros((2, 5, 4, 4), "f4")})
    smooth = TranslatorConfig(128, width=2, blocks=1, antialias=True, d_width=2)
    with pytest.raises(ForeignLayoutError, match="filters change the size in one of G and D only"):
        find(file_of(smooth) | {f"netG.model.{i}.filt": np.zeros((4, 1, 3, 3)) for i in (7, 11, 13, 17)})
    only_g = {name: array for name, array in file_of(smooth).items() if name.startswith("netG")}
    wrong = {f"netG.model.{i}.filt": np.ones((8, 1, 3, 3), "f4") for i in (7, 11, 13, 17)}
    with pytest.raises(ForeignLayoutError, match=r"filter 'netG.model.7.filt' \[8, 1, 3, 3\] has other values"):
        find(only_g | wrong)
