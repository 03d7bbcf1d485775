"""Every family and dtype as ONNX: valid, loaded by onnxruntime in a process of its own, the same images as JAX."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from gan_jax.config import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
)
from gan_jax.interop.programs import export_onnx, export_stablehlo, load_stablehlo, sampler_of, widened
from gan_jax.nets import build
from tests.conftest import REPO

STYLED = StyleGAN2Config(resolution=16, z_dim=5, w_dim=4, mapping_layers=2, channel_base=64, channel_max=6)
R3 = R3GANConfig(resolution=8, z_dim=5, widths=(8, 6), cardinality=(4, 2), blocks=(2, 1))
BIG = BigGANConfig(resolution=16, width=4, z_dim=9, num_classes=3, shared_dim=4, attention=(8,))
SN = SNGANConfig(z_dim=5, g_widths=(4, 4, 4, 4), d_widths=(4, 4), d_rest=(4, 4))
RES = ResNetConfig(resolution=16, channel_base=64, channel_max=4, z_dim=3)
CONFIGS = {
    "stylegan2": STYLED,
    "stylegan2 with classes": dataclasses.replace(STYLED, num_classes=3, resolution=8),
    "r3gan": R3,
    "r3gan with classes": dataclasses.replace(R3, num_classes=3),
    "dcgan": DCGANConfig(resolution=16, channels=1, z_dim=7, channel_base=64, channel_max=16),
    "resnet": RES,
    "resnet with classes": dataclasses.replace(RES, num_classes=3),
    "biggan with classes": BIG,
    "biggan, latents at the entry": dataclasses.replace(BIG, hierarchical=False, z_dim=8),
    "sngan": SN,
    "sngan with classes": dataclasses.replace(SN, num_classes=3),
    "sngan, nearest": dataclasses.replace(SN, upsample="nearest"),
    "mlp": MLPConfig(resolution=4, z_dim=6, g_widths=(8, 8), d_widths=(8,)),
}
LOWER = {
    f"{name} in bfloat16": dataclasses.replace(
        config, dtype="bfloat16", **({"low_precision": 1} if hasattr(config, "low_precision") else {})
    )
    for name, config in CONFIGS.items()
    if hasattr(config, "dtype") and "with classes" not in name
}
ALONE = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession("x.onnx", providers=["CPUExecutionProvider"])
given = np.load("in.npz")
for n in (1, 5):
    cut = {name: given[name][:n] if given[name].ndim else given[name] for name in given.files}
    np.save(f"{n}.npy", session.run(None, cut)[0])
assert not any(name.startswith(("gan_jax", "jax", "flax")) for name in sys.modules)
"""


def drawn(config):
    rng = np.random.default_rng(0)
    draw = lambda s: np.abs(0.4 * rng.standard_normal(s.shape)).astype(s.dtype)
    return jax.tree.map(draw, build(config).g.specs())


def inputs_of(config, n):
    given = {"z": np.random.default_rng(1).standard_normal((n, config.z_dim)).astype("f4")}
    if config.num_classes:
        given["label"] = np.arange(n, dtype="i4") % config.num_classes
    if isinstance(config, StyleGAN2Config):
        given["truncation"] = np.asarray(0.6, "f4")
    return given


@pytest.mark.parametrize("name", [*CONFIGS, *LOWER])
def test_onnx_of_every_family_and_dtype(name, tmp_path):
    """Images in uint8 as a rule; floats to 1e-4 of the largest value."""
    pytest.importorskip("onnxruntime", reason="make test-peers")
    config = (CONFIGS | LOWER)[name]
    variables, given = drawn(config), inputs_of(config, 5)
    np.savez(tmp_path / "in.npz", **given)
    for images in ("float32", "uint8"):
        export_onnx(tmp_path / "x.onnx", config, variables, images=images)
        facts = json.loads((tmp_path / "x.onnx.json").read_text())
        assert [one["name"] for one in facts["inputs"]] == list(given) and facts["checked"].startswith("onnxruntime")
        done = subprocess.run(
            [sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, timeout=120, env={"PATH": ""}
        )
        assert done.returncode == 0, done.stderr
        function = jax.jit(sampler_of(widened(config), variables, images).function)
        for n in (1, 5):
            expected = np.asarray(function(*(x[:n] if x.ndim else x for x in given.values())))
            found = np.load(tmp_path / f"{n}.npy")
            assert found.dtype == expected.dtype and found.shape == expected.shape
            if images == "float32":
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
            else:
                np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize("name", ["sngan in bfloat16", "stylegan2 in bfloat16"])
def test_float32_is_near_what_bfloat16_computes(name):
    """What the widened network makes is what its own dtype makes, to that dtype's rounding."""
    config = LOWER[name]
    variables, given = drawn(config), inputs_of(config, 4)
    low, high = (
        np.asarray(sampler_of(c, variables, "float32").function(*given.values())) for c in (config, widened(config))
    )
    np.testing.assert_allclose(low, high, atol=0.05 * np.abs(high).max())


@pytest.mark.parametrize("name", ["resnet with classes", "sngan in bfloat16", "stylegan2 in bfloat16"])
def test_stablehlo_computes_in_its_own_dtype(name, tmp_path):
    pytest.importorskip("flatbuffers", reason="make test-peers")
    config = (CONFIGS | LOWER)[name]
    variables, given = drawn(config), inputs_of(config, 5)
    program = load_stablehlo(export_stablehlo(tmp_path / "x.hlo", config, variables, images="float32"))
    expected = jax.jit(sampler_of(config, variables, "float32").function)(*given.values())
    np.testing.assert_allclose(program(*given.values()), expected, rtol=2e-2, atol=2e-2)
    assert json.loads((tmp_path / "x.hlo.json").read_text())["checked"] == "cpu"


@pytest.mark.parametrize("extra", ["onnx", "stablehlo", "onnx,stablehlo,h5,report,data"])
def test_an_extra_is_installed_by_one_command(extra, tmp_path):
    """The packages of this version and of the extra can be had together: nothing is installed, only resolved."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", f"{REPO}[{extra}]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
