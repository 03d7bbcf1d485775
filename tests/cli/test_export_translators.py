"""`gan-jax export` of networks that translate: programs of images and of label maps."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import SPADEConfig, TranslatorConfig, UNetConfig
from gan_jax.data.convert import to_float, to_uint8
from gan_jax.interop.programs import load_stablehlo
from gan_jax.nets import build, spade
from gan_jax.tasks.model import load, save
from tests.nets.families import drawn

NETS = {
    "unet": UNetConfig(resolution=16, in_channels=1, width=4, depth=2, d_width=4, d_layers=2),
    "cut": TranslatorConfig(resolution=16, width=4, blocks=1, d_width=4, d_layers=2, antialias=True),
    "cyclegan": TranslatorConfig(resolution=16, in_channels=1, width=4, blocks=1, d_width=4, d_layers=2),
    "spade": SPADEConfig(resolution=32, num_labels=3, width=2, d_width=4, d_layers=2),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of weights, with two generators of `cyclegan`."""
    folder = tmp_path_factory.mktemp("models")
    for name, net in NETS.items():
        ways = {"g_ab_ema": net, "g_ba_ema": net.reversed} if name == "cyclegan" else {"g_ema": net}
        variables = {key: drawn(build(of_way).g) for key, of_way in ways.items()}
        save(folder / name, net, variables, {"licence": "CC0"})
    return folder


def run_onnx(file, **inputs):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("name, direction", [("unet", None), ("cut", None), ("cyclegan", "ab"), ("cyclegan", "ba")])
def test_an_onnx_graph_translates_images_as_the_model_does(cli, models, tmp_path, name, direction):
    pytest.importorskip("onnx")
    file = tmp_path / "g.onnx"
    words = () if direction is None else ("--direction", direction)
    assert cli("export", models / name, "--to", "onnx", "--out", file, "--size", 20, *words) == 0
    assert "images are 20 x 20 px, the one size that this program takes; --size chooses another" in cli.out
    model = load(models / name)
    config, g_vars = model.translator(direction)
    x = np.random.default_rng(3).integers(0, 256, (3, 20, 20, config.in_channels), dtype=np.uint8)
    got = run_onnx(file, input=x)
    assert got.shape == (3, 20, 20, config.channels) and got.dtype == np.uint8
    assert np.abs(got.astype(int) - model.translate(x, direction=direction)).max() <= 1
    # each image by itself, whatever the batch
    assert np.abs(run_onnx(file, input=x[1:2]).astype(int) - got[1:2]).max() <= 1
    if name == "cut":  # in floats, with a fixed batch; instance norm is the network's own
        assert cli("export", models / name, "--to", "onnx", "--out", tmp_path / "f.onnx", "--batch", 2,
                   "--images", "float32") == 0  # fmt: skip
        floats = np.asarray(to_float(x[:2, :16, :16]))
        want = build(config).g.apply(g_vars, jnp.asarray(floats))[0]
        assert_allclose(run_onnx(tmp_path / "f.onnx", input=floats), want, atol=1e-4)
        facts = json.loads((tmp_path / "f.onnx.json").read_text())
        assert facts["inputs"] == [{"name": "input", "shape": [2, 16, 16, 3], "dtype": "float32"}]
        assert facts["licence"] == "CC0"


@pytest.mark.parametrize("to", ["onnx", "stablehlo"])
def test_a_program_of_a_layout_network_takes_labels(cli, models, tmp_path, to):
    pytest.importorskip({"onnx": "onnx", "stablehlo": "flatbuffers"}[to])
    file = tmp_path / {"onnx": "g.onnx", "stablehlo": "g.hlo"}[to]
    words = ("--platforms", "cpu") if to == "stablehlo" else ()
    assert cli("export", models / "spade", "--to", to, "--out", file, "--images", "float32", *words) == 0
    rng = np.random.default_rng(0)
    labels, instances = (rng.integers(0, n, (3, 32, 32)).astype(np.int32) for n in (4, 5))
    if to == "onnx":
        got = run_onnx(file, labels=labels, instances=instances)
    else:
        got = load_stablehlo(file)(labels, instances)
    model = load(models / "spade")
    want = jax.jit(lambda v, x: build(model.config).g.apply(v, x)[0])(
        model.generator, spade.semantics(model.config, labels, instances)
    )
    assert_allclose(got, want, atol=1e-4)
    assert_array_equal(to_uint8(want), model.translate(labels, instances=instances))


def test_what_cannot_be_exported(cli, models, tmp_path):
    for words, says in [
        (
            ("unet", "--to", "onnx", "--out", "x.onnx", "--size", "18"),
            "--size is 18; use a multiple of 4 px, at least 4",
        ),
        (("unet", "--to", "onnx", "--out", "x.onnx", "--direction", "ba"), "has one generator, and no direction 'ba'"),
        (
            ("cut", "--to", "translation", "--out", "x.pt", "--size", "16"),
            "--size is of the programs stablehlo and onnx",
        ),
    ]:
        assert cli("export", models / words[0], *words[1:5][:3], tmp_path / words[4], *words[5:]) == 2
        assert says in cli.err
    assert cli("export", "embedded:fashion16", "--to", "onnx", "--out", tmp_path / "x.onnx", "--size", 16) == 2
    assert "--size: of translators; embedded:fashion16 makes images from latents" in cli.err
