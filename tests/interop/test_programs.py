"""Exported samplers: the same images from a process that has only JAX, or only an ONNX runtime."""

import hashlib
import importlib.util
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax.config import DCGANConfig, StyleGAN2Config
from gan_jax.data.convert import to_uint8
from gan_jax.interop.programs import ProgramError, export_onnx, export_stablehlo, load_stablehlo
from gan_jax.interop.sampler import sampler_of
from gan_jax.nets import build
from tests.interop.test_exporters import SMALL

STYLED = StyleGAN2Config(
    resolution=8, num_classes=3, z_dim=5, w_dim=4, mapping_layers=1, channel_base=32, channel_max=6
)
PLAIN = DCGANConfig(resolution=16, channels=1, z_dim=7, channel_base=64, channel_max=16)
Z = np.random.default_rng(0).standard_normal((5, 5)).astype("f4")
LABELS = np.asarray([0, 2, 1, 1, 0], "i4")
PSI = np.asarray(0.7, "f4")


@pytest.fixture(scope="module")
def styled():
    """(variables, float images at truncation 0.7)."""
    pair = build(STYLED)
    variables = jax.jit(pair.g.init)(jax.random.key(0))
    average = np.random.default_rng(1).standard_normal(4).astype("f4")
    variables = {**variables, "moving": {"mapping": {"w_avg": average}}}

    def make(z, labels, psi):
        return pair.g.parts["synthesise"](variables, pair.g.parts["map"](variables, z, labels, psi))

    return variables, np.asarray(jax.jit(make, static_argnums=2)(Z, LABELS, 0.7))


ALONE = """
import sys, jax, jax.export, numpy as np
with open("x.hlo", "rb") as file:
    program = jax.export.deserialize(bytearray(file.read()))
given = np.load("in.npz")
images = program.call(*(given[name] for name in given.files))
assert not any(name.startswith(("gan_jax", "flax")) for name in sys.modules)
np.save("out.npy", images)
"""


serialised = pytest.mark.skipif(
    importlib.util.find_spec("flatbuffers") is None, reason="needs flatbuffers: pip install 'gan_jax[stablehlo]'"
)


@serialised
def test_stablehlo_in_a_fresh_process(styled, tmp_path):
    """Nothing of this library is there; the batch is another one than any that was exported."""
    variables, images = styled
    export_stablehlo(tmp_path / "x.hlo", STYLED, variables, about={"history": [{"kind": "train"}], "licence": None})
    np.savez(tmp_path / "in.npz", z=Z, label=LABELS, truncation=PSI)
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={"JAX_PLATFORMS": "cpu", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(found, to_uint8(images), strict=True)
    facts = json.loads((tmp_path / "x.hlo.json").read_text())
    assert facts["sha256"] == hashlib.sha256((tmp_path / "x.hlo").read_bytes()).hexdigest()
    assert facts["inputs"] == [
        {"name": "z", "shape": ["b", 5], "dtype": "float32"},
        {"name": "label", "shape": ["b"], "dtype": "int32"},
        {"name": "truncation", "shape": [], "dtype": "float32"},
    ]
    assert facts["outputs"] == [{"name": "images", "shape": ["b", 8, 8, 3], "dtype": "uint8"}]
    assert facts["platforms"] == ["cpu", "cuda", "tpu"] and facts["versions"]["jax"] == jax.__version__
    assert facts["history"] == [{"kind": "train"}] and "licence" not in facts


@serialised
def test_floats_a_fixed_batch_and_one_platform(styled, tmp_path):
    variables, images = styled
    path = export_stablehlo(tmp_path / "x.hlo", STYLED, variables, images="float32", batch=5, platforms=("cpu",))
    program = load_stablehlo(path)
    np.testing.assert_allclose(program(Z, LABELS, PSI), images, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="(?i)shape"):
        program(Z[:4], LABELS[:4], PSI)
    assert json.loads((tmp_path / "x.hlo.json").read_text())["inputs"][0]["shape"] == [5, 5]


@serialised
def test_networks_without_labels_and_mapping(tmp_path):
    pair = build(PLAIN)
    variables = jax.jit(pair.g.init)(jax.random.key(0))
    program = load_stablehlo(export_stablehlo(tmp_path / "x.hlo", PLAIN, variables, platforms=("cpu",)))
    z = np.random.default_rng(0).standard_normal((3, 7)).astype("f4")
    np.testing.assert_array_equal(program(z), to_uint8(jax.jit(pair.g.apply)(variables, z)[0]))


@serialised
def test_what_is_damaged_or_unknown_is_told(styled, tmp_path):
    variables, _ = styled
    with pytest.raises(ProgramError, match="platforms are cpu, gpu; use some of cpu, cuda, rocm, tpu"):
        export_stablehlo(tmp_path / "x.hlo", STYLED, variables, platforms=("cpu", "gpu"))
    path = tmp_path / "y.hlo"
    path.write_bytes(b"no program")
    with pytest.raises(ProgramError, match="y.hlo is no program that jax.export wrote"):
        load_stablehlo(path)
    (tmp_path / "y.hlo.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ProgramError, match="y.hlo is damaged: its sha256 is not the one in y.hlo.json"):
        load_stablehlo(path)


def test_without_what_writes_the_files(monkeypatch, styled, tmp_path):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"StableHLO files need flatbuffers: pip install 'gan_jax\[stablehlo\]'"):
        export_stablehlo(tmp_path / "x.hlo", STYLED, styled[0])
    with pytest.raises(ImportError, match=r"ONNX files are written with jax2onnx: pip install 'gan_jax\[onnx\]'"):
        export_onnx(tmp_path / "x.onnx", STYLED, styled[0])


@pytest.mark.filterwarnings("ignore")  # of the exporter's own packages
@pytest.mark.parametrize("images", ["float32", "uint8"])
@pytest.mark.parametrize("config", [STYLED, *SMALL.values()], ids=lambda config: type(config).__name__)
def test_onnx_in_its_runtime(tmp_path, config, images):
    """Images to 1e-4 of the largest value, in batches of any size."""
    pytest.importorskip("jax2onnx", reason="needs the exporter: pip install 'gan_jax[onnx]'")
    runtime = pytest.importorskip("onnxruntime", reason="needs a runtime: pip install onnxruntime")
    variables = jax.jit(build(config).g.init)(jax.random.key(1))
    export_onnx(tmp_path / "x.onnx", config, variables, images=images, about={"licence": "MIT"})
    session = runtime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["licence"] == "MIT"
    function = jax.jit(sampler_of(config, variables, images).function)
    z = np.random.default_rng(0).standard_normal((5, config.z_dim)).astype("f4")
    for n in (5, 2):
        given = {"z": z[:n], "label": np.arange(n, dtype="i4") % 2, "truncation": PSI}
        given = {one.name: given[one.name] for one in session.get_inputs()}
        [found] = session.run(None, given)
        expected = np.asarray(function(*given.values()))
        assert found.dtype == expected.dtype
        if images == "float32":
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        else:
            np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
    facts = json.loads((tmp_path / "x.onnx.json").read_text())
    assert facts["opset"]["ai.onnx"] >= 17 and facts["versions"]["gan_jax"] == gan_jax.__version__
