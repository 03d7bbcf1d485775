"""Pickles in the structure of NVIDIA's repositories and of R3GAN's: networks whole, and what shapes do not tell."""

import dataclasses

import numpy as np
import pytest

from gan_jax.config import R3GANConfig, StyleGAN2Config
from gan_jax.interop.exporters import tensors_of
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts import r3gan, stylegan2
from gan_jax.trees import flatten
from tests.interop.foreign.make import Call, Global, dumps, module, persistent_network, plain_tensor
from tests.interop.test_exporters import drawn, same

STYLED = StyleGAN2Config(
    resolution=16, num_classes=2, z_dim=5, w_dim=4, mapping_layers=1, d_mapping_layers=1, channel_base=64, channel_max=6
)
R3 = R3GANConfig(resolution=8, z_dim=5, widths=(8, 6), cardinality=(4, 2), blocks=(2, 1), num_classes=3)


def nested(tensors, make, path=""):
    """Modules in modules, as dotted names say; `make(path, state)` gives a module its class."""
    here = {name: plain_tensor(array) for name, array in tensors.items() if "." not in name}
    below = dict.fromkeys(name.split(".")[0] for name in tensors if "." in name)
    inside = lambda key: {n.removeprefix(f"{key}."): a for n, a in tensors.items() if n.startswith(f"{key}.")}
    place = lambda key: f"{path}.{key}" if path else key
    return make(path, module("", here, {key: nested(inside(key), make, place(key)) for key in below}))


def styled_layer(attributes):
    """The classes of `training.networks` and `training.networks_stylegan2`, whose pickles name the class alone."""

    def make(path, state):
        return persistent_network("Layer", {**state, **attributes.get(path, {})}, "import os\n")

    return make


def plain_layer(path, state):
    """R3GAN's networks are pickled as torch modules are."""
    where = "training.networks" if not path else "R3GAN.Networks"
    return Call(Global(where, "Generator"), state=state)


def written(tmp_path, config, layout, make, roots=("G", "D", "G_ema"), **more):
    """A snapshot; returns (file, variables)."""
    variables = drawn(config)
    parts = {"D" if root == "d" else "G_ema": part for root, part in tensors_of(config, variables, layout)[0].items()}
    bare = {key: {name.split(".", 1)[1]: a for name, a in part.items()} for key, part in parts.items()}
    bare["G"] = {name: array + 1 for name, array in bare["G_ema"].items() if not name.endswith(("_filter", "Kernel"))}
    networks = {key: nested(bare[key], make) if key in roots else None for key in ("G", "D", "G_ema")}
    data = {**networks, "training_set_kwargs": {"path": "x.zip"}, **more}
    (tmp_path / "network-snapshot-001.pkl").write_bytes(dumps(data, 4))
    return tmp_path / "network-snapshot-001.pkl", variables


def test_stylegan2_networks_say_what_shapes_do_not(tmp_path):
    """Group sizes and clamps are attributes of layers; the augmentation's buffers are no part of the networks."""
    attributes = {"b4.mbstd": {"group_size": 8, "num_channels": 1}, "synthesis.b8.conv0": {"conv_clamp": 256}}
    layer = styled_layer(attributes)
    pipe = persistent_network("AugmentPipe", module("", {}, buffers={"p": plain_tensor(np.ones(1, "f4"))}), "")
    file, variables = written(tmp_path, STYLED, "stylegan2-ada", with_mbstd(layer), augment_pipe=pipe)
    found = import_file(file)
    assert (found.layout, found.files[""].format) == ("stylegan2-ada", "stylegan torch pickle")
    assert found.config == dataclasses.replace(STYLED, mbstd_group=8, clamp=256.0)
    same(variables, found.variables)
    assert "augmentation" in found.account.ignored["augment_pipe.p"]
    assert sum("another copy" in why for why in found.account.ignored.values()) == len(flatten(variables["g_ema"]))


def with_mbstd(layer):
    """Adds the layer without tensors that compares images, where D's last block is."""

    def inner(path, state):
        if path == "b4":
            state["_modules"].pairs["mbstd"] = layer("b4.mbstd", module("", {}))
        return layer(path, state)

    return inner


@pytest.mark.parametrize(
    ("place", "attributes", "says"),
    [
        (
            "synthesis.b8.conv1",
            {"activation": "relu"},
            "G.synthesis.b8.conv1 was made with activation='relu'; .* 'lrelu'",
        ),
        ("mapping.fc0", {"bias_gain": 1.0}, "mapping.fc0 was made with bias_gain=1.0; our StyleGAN2 has 0.01 there"),
        ("synthesis.b8", {"architecture": "resnet"}, "G.synthesis.b8 was made with architecture='resnet'"),
        ("b4.mbstd", {"group_size": None}, "compares all images of a batch"),
        ("synthesis.b8.torgb", {"conv_clamp": 64}, r"cut at \+- \[64.0, 256.0\]"),
    ],
)
def test_another_function_is_refused(tmp_path, place, attributes, says):
    layer = styled_layer({"synthesis.b8.conv0": {"conv_clamp": 256}, place: attributes})
    file, _ = written(tmp_path, STYLED, "stylegan2-ada", with_mbstd(layer))
    with pytest.raises(ForeignLayoutError, match=says):
        import_file(file, "stylegan2-ada")


@pytest.mark.parametrize("roots", [("G", "D", "G_ema"), ("G_ema",), ("G",)], ids=str)
def test_r3gan(tmp_path, roots):
    """The moving average where there is one; a generator alone is a model too."""
    file, variables = written(tmp_path, R3, "r3gan", plain_layer, roots)
    found = import_file(file)
    assert found.layout == "r3gan" and found.config == R3
    assert set(found.variables) == ({"g_ema", "d"} if "D" in roots else {"g_ema"})
    assert found.sources["g_ema/params/to_rgb/kernel"][0].startswith(f"{roots[-1]}.Model.AggregationLayer")
    if "G_ema" in roots:
        same({key: variables[key] for key in found.variables}, found.variables)
    else:
        kernel = variables["g_ema"]["params"]["to_rgb"]["kernel"]
        np.testing.assert_array_equal(found.variables["g_ema"]["params"]["to_rgb"]["kernel"], kernel + 1)


def test_every_constant_is_checked(tmp_path):
    """A network that resamples with another filter is another network."""
    for layout, config, end in (("r3gan", R3, "Resampler.Kernel"), ("stylegan2-ada", STYLED, "conv0.resample_filter")):
        tensors = {k: v for part in tensors_of(config, drawn(config), layout)[0].values() for k, v in part.items()}
        name = next(name for name in tensors if name.endswith(end))
        for other in (np.ones((2, 2)) / 4, np.ones((4, 4)) / 16):
            np.savez(tmp_path / "x.npz", **{**tensors, name: other})
            with pytest.raises(ForeignLayoutError, match=f"'{name}' is not the filter"):
                import_file(tmp_path / "x.npz", layout)


def test_state_dicts_without_a_prefix(tmp_path):
    """What `network.state_dict()` gives, in a file of its own."""
    for config, layout in ((STYLED, stylegan2), (R3, r3gan)):
        variables = drawn(config)
        g = layout.LAYOUT.names(config)["g_ema"][1]
        tensors = {name: link.write(flatten(variables["g_ema"])[link.path]) for name, link in g.items()}
        np.savez(tmp_path / "x.npz", **tensors)
        same({"g_ema": variables["g_ema"]}, import_file(tmp_path / "x.npz").variables)
