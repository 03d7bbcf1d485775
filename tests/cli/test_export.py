"""`gan-jax export`: what it writes is read back, and what it cannot write it says."""

import dataclasses
import json
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open

from gan_jax.config import DCGANConfig
from gan_jax.interop.exporters import ExportError, export_file
from gan_jax.interop.foreign import read_foreign
from gan_jax.interop.weights import load_manifest, load_weights, save_weights
from gan_jax.nets import build
from gan_jax.surgery.provenance import train_step
from gan_jax.tasks.model import save
from gan_jax.trees import flatten

CONFIG = DCGANConfig(resolution=16, channels=1, z_dim=5, channel_base=32, channel_max=8)
HISTORY = [train_step(10, {})]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng, pair = np.random.default_rng(0), build(CONFIG)
    draw = lambda net: jax.tree.map(lambda s: np.asarray(np.abs(rng.standard_normal(s.shape)), "f4"), net.specs())
    variables = {"g_ema": draw(pair.g), "g": draw(pair.g), "d": draw(pair.d)}
    return save(tmp_path_factory.mktemp("w"), CONFIG, variables, {"history": HISTORY, "licence": "CC0"})


def same(folder, model, roots):
    found, want = (flatten(load_weights(f)[0]) for f in (folder, model))
    want = {path: leaf for path, leaf in want.items() if path.split("/")[0] in roots}
    assert found.keys() == want.keys()
    for path, leaf in want.items():
        np.testing.assert_array_equal(found[path], leaf, strict=True)


def test_there_and_back(cli, model, tmp_path):
    """Into the PyTorch layout in files of their own, and imported again from them."""
    files = tmp_path / "o" / "G.pt", tmp_path / "o" / "D.pt"
    assert cli("export", model, "--to", "dcgan", "--out", files[0], "--d", files[1]) == 0
    assert cli.out == f"wrote {files[0]} and {files[1]}\n"
    assert set(read_foreign(files[0]).tensors) >= {"main.0.weight", "main.1.num_batches_tracked"}
    assert cli("import", files[0], "--d", files[1], "--out", tmp_path / "back") == 0
    same(tmp_path / "back", model, ("g_ema", "d"))


def test_our_own_names_keep_all(cli, model, tmp_path):
    file = tmp_path / "x.safetensors"
    assert cli("export", model, "--to", "safetensors", "--out", file) == 0
    with safe_open(file, "np") as opened:
        assert set(opened.keys()) == set(flatten(load_weights(model)[0]))
        said = opened.metadata()
    assert json.loads(said["history"]) == HISTORY and said["licence"] == "CC0"
    assert cli("import", file, "--out", tmp_path / "back") == 0 and "layout gan_jax" in cli.out
    same(tmp_path / "back", model, ("g_ema", "d"))
    manifest = load_manifest(tmp_path / "back")
    assert manifest["history"][:-1] == HISTORY and manifest["licence"] == "CC0"
    assert cli("inspect", tmp_path / "back", "--provenance", "--match", "d/params/head/kernel") == 0
    said = cli.out.split("d/params/head/kernel")[-1]
    assert "same <- d/params/head/kernel of x.safetensors" in cli.out and "trained" in said
    np.savez(tmp_path / "bare.npz", **flatten(load_weights(model)[0]))
    assert cli("import", tmp_path / "bare.npz", "--out", tmp_path / "b") == 2 and "--net" in cli.err
    assert cli("import", tmp_path / "bare.npz", "--net", model, "--out", tmp_path / "b") == 0
    same(tmp_path / "b", model, ("g_ema", "d"))


def test_a_program(cli, model, tmp_path):
    pytest.importorskip("flatbuffers", reason="needs flatbuffers: pip install 'gan_jax[stablehlo]'")
    file = tmp_path / "x.hlo"
    words = ("--platforms", "cpu", "--images", "float32")
    assert cli("export", model, "--to", "stablehlo", "--out", file, *words) == 0
    assert cli.out == f"wrote {file} and {file}.json\n"
    facts = json.loads((tmp_path / "x.hlo.json").read_text())
    assert facts["history"] == HISTORY and facts["outputs"][0]["dtype"] == "float32"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--to", "dcgn", "--out", "x.pt"), "--to 'dcgn' is unknown (did you mean 'dcgan'"),
        (
            ("--to", "r3gan", "--out", "x.pt"),
            "layout 'r3gan' is of other networks; DCGANConfig can be written as dcgan",
        ),
        (("--to", "dcgan", "--out", "x.pkl"), "holds the source code of its networks, and none is written"),
        (("--to", "safetensors", "--out", "x.npz"), "writes a file that ends with .safetensors"),
        (("--to", "stablehlo", "--out", "x.hlo", "--d", "y"), "writes the generator alone; leave --d out"),
        (("--to", "stablehlo", "--out", "x.hlo", "--batch", "0"), "--batch is 0; use at least 1"),
        (("--to", "onnx", "--out", "x.pt"), "--out x.pt: --to onnx writes a file that ends with .onnx"),
        (("--to", "onnx", "--out", "x"), "--out x: --to onnx writes a file that ends with .onnx"),
        (("--to", "stablehlo", "--out", "x.npz"), "--out x.npz: that is the ending of another format; use .hlo"),
        (("--to", "dcgan", "--out", "x.pt", "--d", "./x.pt"), "--d x.pt is the file of --out"),
    ],
)
def test_what_cannot_be_written(cli, model, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert cli("export", model, *words) == 2
    assert says in cli.err and not list(tmp_path.iterdir())


def test_a_discriminator_alone_makes_no_images(cli, model, tmp_path):
    variables, _ = load_weights(model, "d/**")
    assert cli("export", save(tmp_path / "d", CONFIG, variables, {}), "--to", "stablehlo", "--out", tmp_path / "x") == 2
    assert "holds no generator (g_ema) but d" in cli.err
    assert cli("export", tmp_path / "d", "--to", "dcgan", "--out", tmp_path / "x.npz") == 0
    assert all(name.startswith("netD_state_dict.") for name in read_foreign(tmp_path / "x.npz").tensors)


@pytest.mark.parametrize("to", ["dcgan", "safetensors", "onnx", "stablehlo"])
def test_nothing_is_replaced_unless_told(cli, model, tmp_path, to):
    pytest.importorskip(
        {"onnx": "onnx", "stablehlo": "flatbuffers"}.get(to, "numpy"), reason="needs gan_jax[onnx,stablehlo]"
    )
    file = tmp_path / f"x.{ {'dcgan': 'npz', 'stablehlo': 'hlo'}.get(to, to) }"
    file.write_text("mine")
    assert cli("export", model, "--to", to, "--out", file) == 2
    assert f"--out {file}: is there already" in cli.err and "--overwrite" in cli.err and file.read_text() == "mine"
    assert cli("export", model, "--to", to, "--out", file / "under" / file.name) == 2
    assert "is a file, and nothing can be written under it" in cli.err
    if to in ("dcgan", "onnx"):
        assert cli("export", model, "--to", to, "--out", file, "--overwrite") == 0 and file.stat().st_size > 1000


def test_weights_that_are_not_finite(cli, model, tmp_path):
    variables, _ = load_weights(model)
    name = next(path for path in flatten(variables) if path.startswith("g_ema/params/") and path.endswith("kernel"))
    flatten(variables)[name][...] = np.nan
    folder = save(tmp_path / "w", CONFIG, variables, {})
    for to in ("dcgan", "onnx"):
        assert cli("export", folder, "--to", to, "--out", tmp_path / ("x.npz" if to == "dcgan" else "x.onnx")) == 2
        assert name in cli.err and "not finite" in cli.err
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_onnx_of_a_network_in_bfloat16_says_what_computes(cli, model, tmp_path):
    pytest.importorskip("onnx", reason="needs the exporter: pip install 'gan_jax[onnx]'")
    variables, _ = load_weights(model)
    low = jax.tree.map(lambda x: x.astype("bfloat16"), {"g_ema": variables["g_ema"]})
    folder = save(tmp_path / "w", dataclasses.replace(CONFIG, dtype="bfloat16"), low, {})
    assert cli("export", folder, "--to", "onnx", "--out", tmp_path / "x.onnx") == 0
    assert "computes in float32, where these networks compute in bfloat16" in cli.out
    assert json.loads((tmp_path / "x.onnx.json").read_text())["computes"] == "float32"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "complex64", "int8"])
def test_types_that_could_not_be_read_back(tmp_path, dtype):
    """What is written is read; else it is refused, and the leaf named."""
    leaf = np.ones((2, 2), np.dtype(getattr(ml_dtypes, dtype, dtype)))
    for end in (".safetensors", ".npz", ".pt"):
        with pytest.raises(
            ExportError, match=rf"leaf 'g_ema/a' is {dtype}\[2,2\]; files hold weights in float64, float32"
        ):
            export_file(tmp_path / f"x{end}", CONFIG, {"g_ema": {"a": leaf}})
    assert not list(tmp_path.iterdir())


def test_the_other_order_of_bytes_is_written_as_ours(tmp_path):
    """As it stands it would be read as other numbers, or as damage."""
    leaf = np.arange(6.0).reshape(2, 3).astype(">f4")
    save_weights(tmp_path / "a", {"g": {"x": leaf}}, {})
    [file] = export_file(tmp_path / "c.safetensors", CONFIG, {"g_ema": {"x": leaf}})
    for array in (load_weights(tmp_path / "a")[0]["g"]["x"], read_foreign(file).tensors["g_ema/x"]):
        np.testing.assert_array_equal(array, leaf.astype("f4"), strict=True)


def test_onnx_without_its_exporter(cli, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert cli("export", model, "--to", "onnx", "--out", tmp_path / "x.onnx") == 2
    assert "pip install 'gan_jax[onnx]'" in cli.err
