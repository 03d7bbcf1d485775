"""Exported samplers: the same images from a process that has only JAX, or only an ONNX runtime."""

import hashlib
import importlib.util
import json
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax.config import DCGANConfig, MLPConfig, SNGANConfig, StyleGAN2Config, kind_of
from gan_jax.data.convert import to_uint8
from gan_jax.interop import programs
from gan_jax.interop.onnx.graph import Graph, GraphError
from gan_jax.interop.onnx.ops import write
from gan_jax.interop.onnx.trace import trace
from gan_jax.interop.programs import ProgramError, export_onnx, export_stablehlo, load_stablehlo, sampler_of, widened
from gan_jax.nets import build

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
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"StableHLO files need flatbuffers: pip install 'gan_jax\[stablehlo\]'"):
        export_stablehlo(tmp_path / "x.hlo", STYLED, styled[0])
    with pytest.raises(ImportError, match=r"ONNX files need onnx: pip install 'gan_jax\[onnx\]'"):
        export_onnx(tmp_path / "x.onnx", STYLED, styled[0])


# -- ONNX; every family and dtype is in tests/peers ---------------------------------------------------

MLP = MLPConfig(resolution=4, z_dim=6, g_widths=(8,), d_widths=(8,))
SMALL_SNGAN = SNGANConfig(z_dim=5, g_widths=(4, 4, 4, 4), d_widths=(4, 4), d_rest=(4, 4), dtype="bfloat16")


def weights_of(config, scale=0.5):
    rng = np.random.default_rng(0)
    drawn = lambda s: (scale * np.abs(rng.standard_normal(s.shape))).astype(s.dtype)
    return jax.tree.map(drawn, build(config).g.specs())


@pytest.mark.parametrize("config", [MLP, SMALL_SNGAN], ids=["mlp", "sngan in bfloat16"])
def test_onnx_in_its_runtime(config, tmp_path):
    """SNGAN enlarges with repeated edges; what computes in bfloat16 is written in float32."""
    runtime = pytest.importorskip("onnxruntime", reason="needs a runtime: pip install 'gan_jax[onnx]'")
    variables = weights_of(config)
    export_onnx(tmp_path / "x.onnx", config, variables, images="float32", about={"licence": "MIT", "history": [{}]})
    session = runtime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert said["licence"] == "MIT" and json.loads(said["net"])["kind"] == kind_of(config)
    assert [one.shape for one in session.get_inputs()] == [["b", config.z_dim]]
    function = jax.jit(sampler_of(widened(config), variables, "float32").function)
    for n in (1, 5):
        z = np.random.default_rng(n).standard_normal((n, config.z_dim)).astype("f4")
        [found] = session.run(None, {"z": z})
        np.testing.assert_allclose(found, function(z), rtol=1e-4, atol=1e-5, strict=True)
    facts = json.loads((tmp_path / "x.onnx.json").read_text())
    assert facts["opset"] == {"ai.onnx": 17} and facts["computes"] == "float32"
    assert facts["checked"] == f"onnxruntime {runtime.__version__}"
    assert facts["versions"]["gan_jax"] == gan_jax.__version__


def test_onnx_by_the_reference_where_there_is_no_runtime(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="needs the exporter: pip install 'gan_jax[onnx]'")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    export_onnx(tmp_path / "x.onnx", MLP, weights_of(MLP), batch=3)
    facts = json.loads((tmp_path / "x.onnx.json").read_text())
    assert facts["checked"] == "onnx.reference" and facts["inputs"][0]["shape"] == [3, 6]


@pytest.mark.parametrize("export", [export_onnx, export_stablehlo])
def test_what_makes_other_images_is_not_written(export, tmp_path, monkeypatch):
    """A mistake of the writer, or of the runtime, is found before a file has its name; one that was there stays."""
    pytest.importorskip("onnx", reason="needs the exporter: pip install 'gan_jax[onnx]'")
    real = programs.compare
    wrong = lambda sampler, batch, run: real(sampler, batch, lambda given: run({k: v + 1 for k, v in given.items()}))
    monkeypatch.setattr(programs, "compare", wrong)
    (tmp_path / "x").write_text("before")
    with pytest.raises(ProgramError, match="the program makes other images on .*: they differ by up to"):
        export(tmp_path / "x", MLP, weights_of(MLP), images="float32")
    assert (tmp_path / "x").read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("export", [export_onnx, export_stablehlo])
def test_weights_that_make_no_images(export, tmp_path):
    pytest.importorskip("onnx", reason="needs the exporter: pip install 'gan_jax[onnx]'")
    variables = jax.tree.map(lambda x: np.full_like(x, np.nan), weights_of(MLP))
    with pytest.raises(ProgramError, match="leaf .g_ema/params/.* of these weights holds .* not finite"):
        export(tmp_path / "x", MLP, variables, images="float32")
    assert not list(tmp_path.iterdir())


@serialised
def test_images_that_are_not_finite_are_said(tmp_path):
    variables = jax.tree.map(lambda x: -np.ones_like(x), weights_of(PLAIN))  # variances below 0
    export_stablehlo(tmp_path / "x", PLAIN, variables, images="float32")
    assert "not finite" in json.loads((tmp_path / "x.json").read_text())["checked"]


def run_graph(function, *inputs):
    """`function(*inputs)` written as ONNX and run by the reference, and by JAX; the first axis of any size."""
    onnx = pytest.importorskip("onnx", reason="needs the exporter: pip install 'gan_jax[onnx]'")
    from onnx.reference import ReferenceEvaluator

    batch = jax.export.symbolic_shape("b")[0]
    program = trace(function, [jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in inputs])
    graph, names = Graph(batch), [f"x{i}" for i in range(len(inputs))]
    values = {r.number: graph.input(r, name) for r, name in zip(program.inputs, names)}
    for operation in program.operations:
        write(graph, operation, values)
    result = values[program.output.number]
    shape = ["b" if not isinstance(size, int) else size for size in result.shape]
    described = [(name, x.dtype, ["b", *x.shape[1:]]) for name, x in zip(names, inputs)]
    model = onnx.load_from_string(graph.model(described, ("y", result.dtype, shape), result, {}))
    onnx.checker.check_model(model, full_check=True)
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs)))[0], np.asarray(function(*inputs))


X = np.random.default_rng(2).standard_normal((3, 4, 5, 2)).astype("f4")
KERNEL = np.random.default_rng(3).standard_normal((3, 3, 2, 4)).astype("f4")
NHWC = ("NHWC", "HWIO", "NHWC")
FUNCTIONS = {
    "transposed convolution": lambda x: jax.lax.conv_transpose(x, KERNEL, (2, 2), "SAME"),
    "uneven padding, strided": lambda x: jax.lax.conv_general_dilated(
        x, KERNEL, (2, 1), ((2, 0), (0, 1)), dimension_numbers=NHWC
    ),
    "negative padding": lambda x: jax.lax.conv_general_dilated(
        x, KERNEL, (1, 1), ((-1, 1), (1, -1)), dimension_numbers=NHWC
    ),
    "dilated, in groups": lambda x: jax.lax.conv_general_dilated(
        x, KERNEL[:, :, :1], (1, 1), "SAME", rhs_dilation=(2, 1), feature_group_count=2, dimension_numbers=NHWC
    ),
    "kernels of the input": lambda x: jax.lax.conv_general_dilated(
        x, x.sum(0)[:3, :3, :, None] * KERNEL[..., :1], (1, 1), "VALID", dimension_numbers=NHWC
    ),
    "pad, between and negative": lambda x: jax.lax.pad(
        x, jnp.float32(2), ((0, 0, 0), (1, -1, 2), (-2, 0, 0), (0, 1, 0))
    ),
    "edges": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="edge"),
    "mirrored": lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 0), (0, 0)), mode="reflect"),
    "attention": lambda x: jax.nn.softmax(jnp.einsum("bhwc,bhvc->bhwv", x, x)) @ x,
    "free axes on both sides": lambda x: jnp.einsum("bhwc,kdco->bhwkdo", x, KERNEL),
    "broadcast, then used whole": lambda x: jnp.concatenate([x, jnp.broadcast_to(KERNEL[:1, :1, :1, :2], x.shape)], 1),
    "sum of a broadcast": lambda x: (
        jnp.broadcast_to(x.mean(1, keepdims=True), x.shape).sum((1, 2)) + jnp.arange(2.0)[None]
    ),
    "numbers that depend on the batch": lambda x: x.reshape(-1, 2) @ KERNEL[0, 0] + jnp.zeros((x.shape[0] * 20, 4)),
    "stack, split, turn": lambda x: jnp.stack(jnp.split(x[:, ::-1].transpose(0, 3, 1, 2), 2, 1), 2)[..., 1:4:2],
    "choice": lambda x: jnp.where(x > 0.5, x**3, jnp.clip(x, -0.2, 0.2)) + jnp.where(x != 0, jax.nn.sigmoid(x), x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_as_onnx(name):
    """Forms that the families do not use today, each written and run."""
    found, expected = run_graph(FUNCTIONS[name], X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, strict=True)


def test_rows_of_a_table_and_what_has_no_form():
    labels = np.asarray([2, 0, 1], "i4")
    for mode in ("clip", "fill"):
        found, expected = run_graph(lambda y, mode=mode: jnp.take(KERNEL[0, :, 0], y, 0, mode=mode), labels)
        np.testing.assert_array_equal(found, expected, strict=True)
    for function, says in (
        (jnp.sort, "the operation 'sort'"),
        (lambda x: jax.lax.dynamic_slice(x, (0, x[0, 0].astype("i4")), (1, 2)), "the operation 'dynamic_slice'"),
    ):
        with pytest.raises(GraphError, match=says):
            run_graph(function, X[:, :, 0, 0])
