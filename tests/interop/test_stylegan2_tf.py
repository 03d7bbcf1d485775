"""Pickles of the TensorFlow StyleGAN2 repositories: the weights of the golden vectors, as that program would hold them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.exporters import tensors_of
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.nets import build
from tests.golden import close, golden, nhwc, under
from tests.interop.foreign.make import Call, Global, dumps
from tests.interop.test_exporters import drawn, same

CONFIG = StyleGAN2Config(
    resolution=16, num_classes=2, z_dim=5, w_dim=4, mapping_layers=2, d_mapping_layers=1, channel_base=64, channel_max=6
)


def generator_of(state):
    """(own variables, those of the mapping, those of the synthesis), from names and axes of the PyTorch version."""
    own, mapping, synthesis = {"lod": np.float32(0), "dlatent_avg": state["mapping.w_avg"]}, {}, {}
    for name, array in state.items():
        part, *where, leaf = name.split(".")
        if part == "mapping" and where:
            layer = "LabelEmbed" if where[0] == "embed" else f"Dense{where[0].removeprefix('fc')}"
            mapping[f"{layer}/{leaf}"] = array.T
        if name == "synthesis.b4.const":
            synthesis["4x4/Const/const"] = array[None]
        elif part == "synthesis" and leaf != "resample_filter":
            r, layer = int(where[0][1:]), where[1]
            theirs = {"conv0": "Conv0_up", "conv1": "Conv" if r == 4 else "Conv1", "torgb": "ToRGB"}[layer]
            place = f"{r}x{r}/{theirs}"
            if "affine" in where:
                synthesis[f"{place}/mod_{leaf}"] = array.T if leaf == "weight" else array - np.float32(1)
            elif leaf == "weight":
                kernel = array.transpose(2, 3, 1, 0)
                synthesis[f"{place}/weight"] = kernel[::-1, ::-1] if layer == "conv0" else kernel
            elif leaf == "noise_const":
                k = 0 if r == 4 else 2 * int(np.log2(r)) - (5 if layer == "conv0" else 4)
                synthesis[f"noise{k}"] = array[None, None]
            else:
                synthesis[f"{place}/{leaf}"] = array
    return own, mapping, synthesis


def discriminator_of(state):
    names = {
        "fromrgb": "FromRGB",
        "conv0": "Conv0",
        "conv1": "Conv1_down",
        "skip": "Skip",
        "conv": "Conv",
        "fc": "Dense0",
    }
    found = {}
    for name, array in state.items():
        place, layer, leaf = name.split(".") if name.count(".") == 2 else (*name.split("."), "")
        if leaf in ("", "resample_filter"):
            continue
        dense = layer.startswith(("fc", "embed", "out"))
        theirs = f"{place[1:]}x{place[1:]}/{names.get(layer)}"
        if place == "mapping":
            theirs = "LabelEmbed" if layer == "embed" else f"Mapping{layer.removeprefix('fc')}"
        theirs = "Output" if layer == "out" else theirs
        found[f"{theirs}/{leaf}"] = array if leaf == "bias" else array.T if dense else array.transpose(2, 3, 1, 0)
    return found


def network(name, variables, components=None, **kwargs):
    state = {
        "version": 4, "name": name, "static_kwargs": kwargs, "components": components or {}, "build_module_src": "",
        "build_func_name": name, "variables": [(key, np.ascontiguousarray(array).reshape(np.shape(array)))
                                               for key, array in variables.items()],
    }  # fmt: skip
    return Call(Global("dnnlib.tflib.network", "Network"), state=state)


def pickle_of(g, d, g_kwargs=None, d_kwargs=None):
    """A snapshot (G, D, Gs)."""
    own, mapping, synthesis = generator_of(g)
    generator = lambda name: network(
        name, own, {"mapping": network("m", mapping), "synthesis": network("s", synthesis)}, **(g_kwargs or {})
    )
    return dumps((generator("G"), network("D", discriminator_of(d), **(d_kwargs or {})), generator("Gs")), 3)


@pytest.fixture
def read(tmp_path):
    def inner(data):
        (tmp_path / "network.pkl").write_bytes(data)
        return import_file(tmp_path / "network.pkl")

    return inner


def test_the_functions_are_theirs(read):
    arrays = golden("stylegan2_ada_32_uncond.npz")
    found = read(pickle_of(under(arrays, "G/"), under(arrays, "D/")))
    assert (found.layout, found.files[""].format) == ("stylegan2-ada", "stylegan tf pickle")
    pair = build(found.config)
    image = jax.jit(pair.g.apply)(found.variables["g_ema"], jnp.asarray(arrays["in/z"]))[0]
    close(image, nhwc(arrays["out/img"]), 1e-4)
    logits = jax.jit(pair.d.apply)(found.variables["d"], nhwc(arrays["in/x"]))[0]
    close(logits, arrays["out/logits"][:, 0], 1e-4)


def state_dicts(variables):
    parts = tensors_of(CONFIG, variables, "stylegan2-ada")[0]
    return under(parts["g_ema"], "G_ema."), under(parts["d"], "D.")


def test_every_tensor_of_a_conditional_pair(read):
    variables = drawn(CONFIG)
    found = read(pickle_of(*state_dicts(variables), d_kwargs={"mbstd_group_size": 8, "conv_clamp": 256}))
    assert found.config == dataclasses.replace(CONFIG, mbstd_group=8, clamp=256.0)
    for root, tree in found.variables.items():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tree, variables[root])
    same(variables["d"], found.variables["d"])
    assert found.sources["g_ema/params/synthesis/b8/conv0/kernel"][0] == "Gs.synthesis.8x8/Conv0_up/weight"
    reasons = found.account.ignored
    assert "progressive" in reasons["Gs.lod"] and "another copy" in reasons["G.synthesis.noise0"]


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"g_kwargs": {"architecture": "resnet"}}, "G has the architecture 'resnet'; our StyleGAN2 has 'skip'"),
        ({"g_kwargs": {"mapping_lrmul": 1.0}}, "G was made with mapping_lrmul=1.0; our StyleGAN2 has 0.01"),
        ({"d_kwargs": {"resample_kernel": [1, 2, 1]}}, r"D was made with resample_kernel=\[1, 2, 1\]"),
    ],
)
def test_another_function_is_refused(read, kwargs, says):
    with pytest.raises(ForeignLayoutError, match=says):
        read(pickle_of(*state_dicts(drawn(CONFIG)), **kwargs))


def test_a_layer_that_is_not_known_is_named(read):
    g, d = state_dicts(drawn(CONFIG))
    data = pickle_of(g, d).replace(b"16x16/Conv0_up/bias", b"16x16/Conv9_up/bias")
    with pytest.raises(
        ForeignLayoutError, match=r"G has a tensor 'synthesis.16x16/Conv9_up/bias' \[4\] that StyleGAN2"
    ):
        read(data)
