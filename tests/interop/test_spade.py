"""SPADE in its published layout: there and back, from files, and what is refused; values are compared in tests/nets."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from gan_jax.config import SPADEConfig
from gan_jax.interop.exporters import export_file
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts.spade import IGNORED, discriminator_links, find, generator_links, guess_config
from gan_jax.interop.links import export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import golden, there_and_back, under

SMALL = SPADEConfig(num_labels=35, dont_care=False, width=1, d_width=4, ups="more")
LINKS = {"g": generator_links, "d": discriminator_links}


def state(net: str, config: SPADEConfig) -> dict[str, np.ndarray]:
    rng, specs = np.random.default_rng(0), flatten(getattr(build(config), net).specs())
    leaves = {path: np.asarray(np.abs(rng.standard_normal(spec.shape)), "f4") for path, spec in specs.items()}
    return export_tensors(leaves, LINKS[net](config))


@pytest.mark.parametrize(
    "config",
    [SMALL, dataclasses.replace(SMALL, width=2, ups="most", norm="instance", d_layers=3, d_scales=3)],
    ids=["batch", "instance"],
)
def test_there_and_back(config, tmp_path):
    """36 channels are those of Cityscapes, and `most` is seen from one more block."""
    g, d = state("g", config), state("d", config)
    for net, tensors in (("g", g), ("d", d)):
        there_and_back(tensors, LINKS[net](config), IGNORED, getattr(build(config), net).specs())
    counters = {"head_0.norm_0.param_free_norm.num_batches_tracked": np.zeros((), np.int64)}
    save_file({**g, **counters}, tmp_path / "g.safetensors")
    save_file(d, tmp_path / "d.safetensors")
    found = import_file(tmp_path / "g.safetensors", d=tmp_path / "d.safetensors")
    assert (found.layout, found.config) == ("spade", config)
    assert list(found.account.ignored.values()) == ["a counter of training steps"]
    export_file(tmp_path / "h.safetensors", config, found.variables, "spade")
    again = import_file(tmp_path / "h.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again.variables, found.variables)


def test_vectors_are_those_of_their_kernels():
    """Both give the singular value that theirs give: u^T W v, W being `[O, I * h * w]` there."""
    for net, name, size in (("g", "up_0.conv_1", 3), ("g", "up_0.conv_s", 1), ("d", "discriminator_1.model2.0.0", 4)):
        tensors, links = state(net, SMALL), LINKS[net](SMALL)
        kernel, u, v = (tensors[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        ours, a, b = (links[f"{name}.weight_{x}"].read(y) for x, y in (("orig", kernel), ("u", u), ("v", v)))
        assert ours.shape[:2] == (size, size)
        np.testing.assert_allclose(b @ ours.reshape(len(b), -1) @ a, u @ kernel.reshape(len(u), -1) @ v, rtol=1e-5)


def test_golden_states_there_and_back():
    for name, root, net in (("spade_g.npz", "G/", "g"), ("spade_d.npz", "D/", "d")):
        tensors = under(golden(name), root)
        config = guess_config(*((tensors, None) if net == "g" else (None, tensors)))
        counters = {key for key in tensors if key.endswith("num_batches_tracked")}
        kept = {key: array for key, array in tensors.items() if key not in counters}
        assert len(counters) == (18 if net == "g" else 0)
        there_and_back(kept, LINKS[net](config), IGNORED, getattr(build(config), net).specs())


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(184, (182, True, True)), (151, (150, True, False)), (36, (35, False, True)), (7, (7, False, False))],
)
def test_which_channels_are_labels(channels, expected):
    tensors = state("d", SPADEConfig(num_labels=channels, dont_care=False, edges=False, d_width=4))
    config = guess_config(None, tensors)
    assert (config.num_labels, config.dont_care, config.edges) == expected


def test_what_shapes_do_not_tell_can_be_named(tmp_path):
    save_file(state("d", SMALL), tmp_path / "d.safetensors")
    named = dataclasses.replace(SMALL, resolution=128, num_labels=34, dont_care=True, ups="normal")
    found = import_file(tmp_path / "d.safetensors", net=named, layout="spade")
    assert found.config == dataclasses.replace(named, width=SPADEConfig.width)
    with pytest.raises(
        ForeignLayoutError, match="read 36 channels of labels, which the configuration does not describe"
    ):
        import_file(tmp_path / "d.safetensors", net=dataclasses.replace(named, num_labels=30), layout="spade")


def test_what_cannot_be_imported():
    g, d = (state(net, SMALL) for net in "gd")
    with pytest.raises(ForeignLayoutError, match="no single pair of SPADE"):
        find({"conv_img.weight": np.zeros((3, 8, 3, 3))})
    with pytest.raises(ForeignLayoutError, match="G starts from latents"):
        find({**g, "fc.weight": np.zeros((16, 256), "f4")})
    with pytest.raises(ForeignLayoutError, match="G has no spectral norm"):
        find({name.replace("weight_orig", "weight"): x for name, x in g.items() if not name.endswith(("_u", "_v"))})
    with pytest.raises(ForeignLayoutError, match="should have 'conv_img.weight'"):
        find({name: x for name, x in g.items() if name != "conv_img.weight"})
    with pytest.raises(
        ForeignLayoutError, match=r"G reads 36 channels of labels .* D reads 38 of both; they are no pair"
    ):
        wide = {**d, "discriminator_0.model0.0.weight": np.zeros((4, 38, 4, 4), "f4")}
        find({**{f"g.{name}": x for name, x in g.items()}, **{f"d.{name}": x for name, x in wide.items()}})
    with pytest.raises(ForeignLayoutError, match="D has scales .* and layers"):
        find({name: x for name, x in d.items() if "model2" not in name})
