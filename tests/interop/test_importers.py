"""Foreign files, whole: from the file to a pair that makes the same images, with every tensor accounted for."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import gan_jax
from gan_jax.cli.main import main
from gan_jax.config import DCGANConfig
from gan_jax.interop.importers import ForeignError, ForeignLayoutError, import_file
from gan_jax.interop.layouts import dcgan
from gan_jax.interop.layouts.stylegan2 import IGNORED, discriminator_links, generator_links
from gan_jax.interop.links import export_tensors
from gan_jax.interop.weights import load_manifest
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.conftest import extra_data
from tests.golden import golden, imported, under


def test_official_pickle():
    """The weights of the pickle are those of the npz, whose parity test_stylegan2 checks."""
    found = import_file(extra_data("..", "golden", "stylegan2_ada_32_uncond.pkl"))
    arrays = golden("stylegan2_ada_32_uncond.npz")
    assert (found.layout, found.files[""].format) == ("stylegan2-ada", "stylegan torch pickle")
    assert set(found.variables) == {"g_ema", "d"}
    make = build(found.config).g.parts["synthesise"]
    for root, prefix, links in (("g_ema", "G/", generator_links), ("d", "D/", discriminator_links)):
        pair = build(found.config)
        net = pair.d if root == "d" else pair.g
        of_npz = flatten(imported(under(arrays, prefix), links(found.config), IGNORED, net.specs()))
        assert of_npz.keys() == flatten(found.variables[root]).keys()
        for path, leaf in flatten(found.variables[root]).items():
            np.testing.assert_array_equal(leaf, of_npz[path])
    image = jax.jit(make)(found.variables["g_ema"], jnp.asarray(arrays["out/ws"]))
    np.testing.assert_allclose(image, arrays["out/img"].transpose(0, 2, 3, 1), atol=1e-4)
    reasons = set(found.account.ignored.values())
    assert any("FIR filter" in why for why in reasons) and any("another copy" in why for why in reasons)


def test_a_real_generator_from_the_command_line(tmp_path, capsys):
    file = extra_data("dcgan-digiface64", "weights.tar")
    assert main(["import", str(file), "--out", str(tmp_path / "faces"), "--licence", "MIT"]) == 0
    said = capsys.readouterr().out
    assert "layout dcgan" in said and "21 tensors used, 4 ignored" in said
    arrays, model = golden("dcgan_digiface_64.npz"), gan_jax.load(tmp_path / "faces")
    images, _ = jax.jit(model.pair.g.apply)(model.variables["g_ema"], jnp.asarray(arrays["in/z"]))
    np.testing.assert_allclose(images, arrays["out/img"].transpose(0, 2, 3, 1), atol=1e-4)
    assert main(["inspect", str(tmp_path / "faces"), "--provenance", "--match", "**/to_rgb/kernel"]) == 0
    said = capsys.readouterr().out
    assert "imported from weights.tar (sha256 " in said
    assert "transposed <- netG_state_dict.main.12.weight of weights.tar" in said


CONFIG = DCGANConfig(resolution=32, channels=1, z_dim=7, channel_base=64, channel_max=16)


def state(network: str, config: DCGANConfig = CONFIG):
    rng, pair = np.random.default_rng(0), build(config)
    specs = flatten(getattr(pair, network).specs())
    links = {"g": dcgan.generator_links, "d": dcgan.discriminator_links}[network](config)
    return export_tensors(
        {p: np.abs(rng.standard_normal(s.shape)).astype("f4") for p, s in specs.items()}, links
    ), links


def test_names_of_others_by_order(tmp_path):
    tensors, links = state("g")
    places = {"0": "convTr1", "1": "batchNorm1", "3": "convTr2", "4": "batchNorm2", "6": "convTr3", "7": "batchNorm3"}
    places["9"] = "convTr4"
    renamed = {f"{places[n.split('.')[1]]}.{n.split('.')[2]}": array for n, array in tensors.items()}
    save_file(tensors, tmp_path / "a.safetensors")
    save_file(renamed, tmp_path / "b.safetensors")
    a, b = import_file(tmp_path / "a.safetensors"), import_file(tmp_path / "b.safetensors")
    assert a.config == b.config == CONFIG
    for path, leaf in flatten(a.variables).items():
        np.testing.assert_array_equal(flatten(b.variables)[path], leaf)
    back = export_tensors(flatten(a.variables["g_ema"]), links)
    assert back.keys() == tensors.keys() and all((back[name] == tensors[name]).all() for name in tensors)


@pytest.mark.parametrize("resolution", [64, 128])
@pytest.mark.parametrize("name", ["main.{}", "conv{}"])
def test_layers_of_two_digits_in_files_that_sort_names(tmp_path, resolution, name):
    """safetensors files have `main.12` before `main.3`."""
    config = DCGANConfig(resolution=resolution, z_dim=7, channel_base=4 * resolution, channel_max=resolution // 2)
    for net in ("g", "d"):
        tensors, _ = state(net, config)
        places = lambda key: name.format(key.split(".")[1]) + "." + key.split(".")[2]
        save_file({places(key): array for key, array in tensors.items()}, tmp_path / f"{net}.safetensors")
    found = import_file(tmp_path / "g.safetensors", "dcgan", tmp_path / "d.safetensors")
    assert found.config == config
    for root, net in (("g_ema", "g"), ("d", "d")):
        tensors, links = state(net, config)
        back = export_tensors(flatten(found.variables[root]), links)
        assert back.keys() == tensors.keys() and all((back[key] == tensors[key]).all() for key in tensors)


def test_a_discriminator_alone_is_told_what_to_do(tmp_path):
    save_file(state("d")[0], tmp_path / "d.safetensors")
    with pytest.raises(ForeignLayoutError, match="discriminator without its generator.*name this one in --d"):
        import_file(tmp_path / "d.safetensors")


def test_other_names_of_both(tmp_path):
    """Of D the layers are known by their order too: its first kernel has no norm, nor has its last one."""
    (g, _), (d, links) = state("g"), state("d")
    pair: Any = {f"{net}.layer{n.split('.')[1]}.{n.split('.')[2]}": a
            for net, of in (("netG", g), ("netD", d)) for n, a in of.items()}  # fmt: skip
    np.savez(tmp_path / "pair.npz", **pair)
    found = import_file(tmp_path / "pair.npz")
    assert found.layout == "dcgan" and found.config == CONFIG
    back = export_tensors(flatten(found.variables["d"]), links)
    assert back.keys() == d.keys() and all((back[name] == d[name]).all() for name in d)


def test_both_networks_in_one_file(tmp_path):
    (g, _), (d, links) = state("g"), state("d")
    pair = {**{f"netG.{k}": v for k, v in g.items()}, **{f"netD.{k}": v for k, v in d.items()}}
    save_file(pair, tmp_path / "pair.safetensors")
    found = import_file(tmp_path / "pair.safetensors", "dcgan")
    assert set(found.variables) == {"g_ema", "d"} and len(found.account.used) == len(g) + len(d)
    back = export_tensors(flatten(found.variables["d"]), links)
    assert all((back[name] == d[name]).all() for name in d)


def test_a_file_for_each_network(tmp_path, capsys):
    (g, _), (d, links) = state("g"), state("d")
    save_file(g, tmp_path / "a.safetensors")
    save_file(d, tmp_path / "b.safetensors")
    found = import_file(tmp_path / "a.safetensors", d=tmp_path / "b.safetensors")
    assert found.layout == "dcgan" and found.config == CONFIG and set(found.variables) == {"g_ema", "d"}
    assert set(found.account.used) == {*(f"g.{name}" for name in g), *(f"d.{name}" for name in d)}
    back = export_tensors(flatten(found.variables["d"]), links)
    assert all((back[name] == d[name]).all() for name in d)
    digests = {k: hashlib.sha256((tmp_path / f).read_bytes()).hexdigest() for k, f in NAMES.items()}
    assert {start: (file.name, file.sha256) for start, file in found.files.items()} == {
        start: (NAMES[start], digests[start]) for start in NAMES
    }
    words = ["import", tmp_path / "a.safetensors", "--d", tmp_path / "b.safetensors", "--out", tmp_path / "o"]
    assert main([str(word) for word in words]) == 0
    [step] = load_manifest(tmp_path / "o")["history"]
    assert {start: file["digest"] for start, file in step["source"]["files"].items()} == digests
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "o"), "--provenance", "--match", "d/**/head/kernel"]) == 0
    said = capsys.readouterr().out
    assert f"imported from a.safetensors (sha256 {digests['g.'][:12]}) and b.safetensors (sha256 " in said
    assert "covering <- main.8.weight of b.safetensors" in said
    save_file({**d, "main.99.weight": d["main.0.weight"]}, tmp_path / "b.safetensors")
    with pytest.raises(ForeignLayoutError, match="b.safetensors has a tensor 'main.99.weight'"):
        import_file(tmp_path / "a.safetensors", "dcgan", tmp_path / "b.safetensors")


NAMES = {"g.": "a.safetensors", "d.": "b.safetensors"}


def test_the_head_is_the_convolution_over_what_is_left():
    """Their last layer is a 4x4 convolution over 4x4 maps."""
    tensors, links = state("d")
    name = next(name for name, link in links.items() if link.path == "params/head/kernel")
    assert tensors[name].shape == (1, 16, 4, 4), "as nn.Conv2d keeps it"
    maps = np.random.default_rng(1).standard_normal((2, 4, 4, 16)).astype("f4")
    theirs = np.einsum("nhwc,chw->n", maps, tensors[name].reshape(16, 4, 4))
    np.testing.assert_allclose(maps.reshape(2, -1) @ links[name].read(tensors[name])[:, 0], theirs, rtol=1e-4)


def test_what_cannot_be_imported(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(ForeignLayoutError, match="no known layout:\n  - stylegan2-ada: these are no tensors"):
        import_file(tmp_path / "x.npz")
    with pytest.raises(ForeignLayoutError, match="no layout 'dcgna' .did you mean 'dcgan'"):
        import_file(tmp_path / "x.npz", "dcgna")
    tensors, _ = state("g")
    save_file({**tensors, "main.99.weight": np.zeros(3)}, tmp_path / "y.safetensors")
    with pytest.raises(ForeignLayoutError, match="tensor 'main.99.weight'"):
        import_file(tmp_path / "y.safetensors")
    (tmp_path / "z.pkl").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ForeignError):
        import_file(tmp_path / "z.pkl")
    assert main(["import", str(tmp_path / "x.npz"), "--out", str(tmp_path / "o")]) == 2
    assert "no known layout" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
