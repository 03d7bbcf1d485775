"""Shared weights: what is written comes back to the bit; damage and foreign files are one line that names them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax.interop.weights as module
from gan_jax.interop import WeightsError, embedded_names, load_weights, save_weights
from gan_jax.interop.weights import MANIFEST, WEIGHTS, load_manifest, manifest_specs
from gan_jax.trees import digest, flatten, specs

RNG = np.random.default_rng(0)
TREES = {
    "g_ema": {
        "params": {"b8": {"kernel": RNG.standard_normal((3, 3, 4, 5)).astype(np.float32), "scale": np.float32(2.0)}},
        "batch_stats": {"b8": {"mean": jnp.asarray(RNG.standard_normal(5), jnp.bfloat16)}},
    },
    "d": {"params": {"transposed": RNG.standard_normal((4, 6)).astype(np.float32).T, "steps": jnp.arange(3)}},
}


@pytest.fixture
def folder(tmp_path):
    return save_weights(tmp_path / "a" / "weights", TREES, {"net": {"resolution": 16}, "licence": "MIT"})


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [x.dtype for x in jax.tree.leaves(a)] == [x.dtype for x in jax.tree.leaves(b)]


def test_everything_comes_back(folder):
    trees, manifest = load_weights(folder)
    equal(trees, TREES)
    assert manifest["net"] == {"resolution": 16} and manifest["licence"] == "MIT"
    assert manifest["versions"].keys() == {"gan_jax", "jax", "flax", "numpy", "safetensors"}
    assert manifest["created"].endswith("+00:00")
    assert manifest["leaves"]["d/params/steps"] == {
        "dtype": "int32",
        "shape": [3],
        "digest": digest(np.arange(3, dtype=np.int32)),
    }
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, WEIGHTS], "no part files stay behind"
    equal(load_weights(str(folder / WEIGHTS))[0], TREES)


def test_a_transposed_view_is_written_by_its_values(folder):
    """safetensors alone writes the memory of the view: this fails without a contiguous copy."""
    import safetensors.numpy

    view = TREES["d"]["params"]["transposed"]
    assert not view.flags.c_contiguous
    loaded, _ = load_weights(folder, "d/params/transposed")
    np.testing.assert_array_equal(loaded["d"]["params"]["transposed"], view)
    safetensors.numpy.save_file({"view": view}, folder / "raw.safetensors")
    raw = safetensors.numpy.load_file(folder / "raw.safetensors")["view"]
    if np.array_equal(raw, view):
        pytest.skip("this version of safetensors writes views by their values")


def test_only_what_is_wanted_is_read(folder, monkeypatch):
    read = []
    whole = module._read
    monkeypatch.setattr(module, "_read", lambda file, path, *rest: read.append(path) or whole(file, path, *rest))
    trees, manifest = load_weights(folder, "g_ema/batch_stats/**")
    assert read == list(flatten(trees)) == ["g_ema/batch_stats/b8/mean"]
    assert len(manifest["leaves"]) == 5, "the manifest is whole"
    read.clear()
    trees, _ = load_weights(folder, ("d/params/steps", "g_ema/**/scale"))
    assert sorted(read) == ["d/params/steps", "g_ema/params/b8/scale"]
    with pytest.raises(WeightsError, match=r"no leaf 'd/params/step' in these weights \(did you mean 'd/params/steps'"):
        load_weights(folder, ["d/params/step"])


def test_damage_elsewhere_does_not_stop_a_partial_read(folder):
    flip(folder / WEIGHTS, find(folder, "g_ema/params/b8/kernel"))
    load_weights(folder, "d/**")


def find(folder, path):
    """The offset of a leaf's first byte."""
    data = (folder / WEIGHTS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    return 8 + size + json.loads(data[8 : 8 + size])[path]["data_offsets"][0]


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_names_the_leaf(folder):
    for path in TREES["g_ema"]["params"]["b8"]:
        flip(folder / WEIGHTS, find(folder, f"g_ema/params/b8/{path}"))
        with pytest.raises(WeightsError, match=rf"leaf 'g_ema/params/b8/{path}' in .*{WEIGHTS} is damaged"):
            load_weights(folder, f"g_ema/params/b8/{path}")
    with pytest.raises(WeightsError, match="is damaged"):
        load_weights(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file(folder, keep):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:keep])
    with pytest.raises(WeightsError, match=rf"{WEIGHTS} is truncated or damaged .*: copy it again"):
        load_weights(folder)


def test_files_that_do_not_belong_together(folder, tmp_path):
    other = save_weights(tmp_path / "other", {"g": {"w": np.ones(3, np.float32)}}, {})
    (folder / MANIFEST).write_text((other / MANIFEST).read_text())
    with pytest.raises(WeightsError, match="lacks leaf 'g/w', which its manifest names"):
        load_weights(folder)
    save_weights(other, {"g": {"w": np.ones(3, np.float32), "x": np.ones(1, np.float32)}}, {})
    manifest = json.loads((other / MANIFEST).read_text())
    del manifest["leaves"]["g/x"]
    (other / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="does not name leaf 'g/x'"):
        load_weights(other)
    manifest["leaves"]["g/x"] = {**manifest["leaves"]["g/w"], "shape": [1, 1]}
    (other / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="leaf 'g/x' in .* is damaged"):
        load_weights(other)


def test_missing_and_foreign_files(folder, tmp_path):
    with pytest.raises(WeightsError, match=r"no weights at .*nowhere; name a folder"):
        load_weights(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=rf"empty holds no {WEIGHTS}"):
        load_weights(tmp_path / "empty")
    foreign = tmp_path / "model.ckpt"
    foreign.write_bytes(b"\x80\x02")
    with pytest.raises(WeightsError, match="model.ckpt is not a folder that gan_jax wrote"):
        load_weights(foreign)
    manifest = folder / MANIFEST
    for text, message in [
        ("{", rf"{MANIFEST} is damaged"),
        ("[]", "is damaged: it must be a mapping"),
        ('{"format": "pt"}', "is no manifest of gan_jax weights"),
        ('{"format": "gan_jax weights", "version": 2, "leaves": {}}', "has version 2; this gan_jax reads 1"),
    ]:
        manifest.write_text(text)
        with pytest.raises(WeightsError, match=message):
            load_weights(folder)
    manifest.unlink()
    with pytest.raises(WeightsError, match=f"has no {MANIFEST} beside"):
        load_weights(folder)


def test_embedded_weights_by_name(folder, tmp_path, monkeypatch):
    assert "fashion-mnist" not in embedded_names(), "images are no weights"
    root = tmp_path / "package"
    save_weights(root / "fashion16", TREES, {})
    (root / "fashion-mnist").mkdir()
    monkeypatch.setattr(module, "_embedded", lambda: root)
    assert embedded_names() == ["fashion16"]
    equal(load_weights("embedded:fashion16")[0], TREES)
    with pytest.raises(
        WeightsError, match=r"no embedded weights 'fashon16' \(did you mean 'fashion16'\?\); there are: fashion16"
    ):
        load_weights("embedded:fashon16")


def test_what_is_not_saved(tmp_path):
    key = jax.random.key(0)
    for trees, message in [
        ({}, "no arrays to save"),
        ({"g": {"list": [np.ones(1)]}}, "nested dicts of arrays"),
        ({"g": {"empty": {}, "w": np.ones(1)}}, "nested dicts of arrays"),
        ({"g": {"a/b": np.ones(1)}}, "nested dicts of arrays"),
        ({"g": {"key": key}}, "leaf 'g/key' is no array of numbers"),
        ({"g": {"number": 3}}, "leaf 'g/number' is no array of numbers"),
    ]:
        with pytest.raises(WeightsError, match=message):
            save_weights(tmp_path / "w", trees, {})
    with pytest.raises(WeightsError, match="manifest key 'leaves' is written by save_weights itself"):
        save_weights(tmp_path / "w", TREES, {"leaves": {}})
    for value in (float("nan"), object()):
        with pytest.raises(WeightsError, match="cannot be written as JSON"):
            save_weights(tmp_path / "w", TREES, {"kid": value})
    assert not (tmp_path / "w").exists(), "nothing was written"


def test_a_failed_write_leaves_the_old_pair(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_weights(folder, {"g": {"w": np.ones(3, np.float32)}}, {})
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, WEIGHTS]
    equal(load_weights(folder)[0], TREES)
    save_weights(folder, {"g": {"w": np.ones(3, np.float32)}}, {})
    assert list(flatten(load_weights(folder)[0])) == ["g/w"]


def test_a_manifest_is_enough_to_plan(folder):
    assert manifest_specs(load_manifest(folder)) == specs(jax.tree.map(np.asarray, TREES))


def test_no_pickle_and_no_heavy_import():
    code = "import sys, gan_jax.interop; print([m for m in ('safetensors', 'torch', 'orbax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
