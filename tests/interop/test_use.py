"""Weights before they are used: finite, of the networks that they name, in a manifest that is whole; and kept as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest

import gan_jax
from gan_jax.cli.main import main
from gan_jax.config import DCGANConfig, net_to_dict
from gan_jax.files import OutputError, claim_output, remove_parts
from gan_jax.interop import WeightsError, load_weights, save_weights
from gan_jax.interop import weights as module
from gan_jax.interop.containers import ExportError
from gan_jax.interop.exporters import export_file
from gan_jax.interop.importers import import_file
from gan_jax.interop.weights import MANIFEST, WEIGHTS
from gan_jax.nets import build
from gan_jax.tasks.model import save
from gan_jax.trees import flatten, unflatten

CONFIG = DCGANConfig(16, 1, 4, 64, 8)
LEAF = "g_ema/params/b4/kernel"


@pytest.fixture(scope="module")
def variables():
    rng, pair = np.random.default_rng(0), build(CONFIG)
    values = lambda net: {p: np.abs(rng.normal(size=s.shape)).astype(s.dtype) for p, s in flatten(net.specs()).items()}
    return {"g_ema": unflatten(values(pair.g)), "d": unflatten(values(pair.d))}


@pytest.fixture
def folder(variables, tmp_path):
    return save(tmp_path / "w", CONFIG, variables, {})


def with_leaf(tree, value):
    flat = flatten(tree)
    return unflatten({**flat, LEAF: np.where(flat[LEAF] == flat[LEAF].max(), value, flat[LEAF]).astype("f4")})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(variables, folder, tmp_path, value, capsys):
    """All that computes with weights names the leaf and whose it is; what only looks at them opens them."""
    bad = str(save(tmp_path / "bad", CONFIG, with_leaf(variables, value), {}))
    good, out = str(folder), str(tmp_path / "out")
    for words in (
        ["sample", bad, "--out", f"{out}.png"],
        ["evaluate", bad],
        ["align", good, bad, "--out", out],
        ["merge", good, bad, "--out", out],
        ["merge", good, good, "--kind", "task_arithmetic", "--base", bad, "--out", out],
        ["export", bad, "--to", "dcgan", "--out", f"{out}.npz"],
        ["transplant", bad, "--out", out],
    ):
        assert main(words) == 2, words
        assert f"leaf '{LEAF}' of {bad} holds 1 of" in capsys.readouterr().err
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob("out.*"))
    assert main(["inspect", bad]) == 0 and main(["diff", good, bad]) == 1
    assert load_weights(bad)[1]["net"] == net_to_dict(CONFIG)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "average", "--weights", "nan", "1"], "merge 'average': weights is .nan, 1.0.; give finite"),
        (["--kind", "slerp", "--t", "inf"], "merge 'slerp': t is inf"),
        (
            ["--kind", "average", "--weights", "1", "-1"],
            "sum to 0, and mixing weights sum to 1; give some whose sum is not 0",
        ),
    ],
)
def test_shares_that_are_none(folder, tmp_path, words, message, capsys):
    import re

    assert main(["merge", str(folder), str(folder), *words, "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_merge_that_overflows(variables, tmp_path, capsys):
    big = jax.tree.map(lambda x: np.full_like(x, 3e38), variables)
    one = str(save(tmp_path / "big", CONFIG, big, {}))
    words = ["merge", one, one, "--kind", "average", "--weights", "3", "-2", "--out", str(tmp_path / "out")]
    assert main(words) == 2 and "merge of" in (message := capsys.readouterr().err)
    assert "not finite" in message and "finite, and too large" in message and "training" not in message


def test_bfloat16_is_a_source(variables, tmp_path, capsys):
    half = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), variables)
    source = str(save(tmp_path / "half", CONFIG, half, {}))
    words = ["transplant", source, "--probes", "0", "--net.channel-max", "12"]
    assert main([*words, "--out", str(tmp_path / "wide")]) == 0
    assert "leaves of the source are bfloat16, and are cast to float32" in capsys.readouterr().out
    made = flatten(gan_jax.load(tmp_path / "wide").variables)[LEAF]
    assert made.dtype == np.float32
    assert main([*words, "--dtype", "error", "--out", str(tmp_path / "no")]) == 2
    assert main([*words, "--dtype", "cast", "--out", str(tmp_path / "yes")]) == 0


def changed(folder, change):
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(change(manifest) or manifest))


DAMAGE = {
    "no net": (lambda m: m.pop("net") and None, "does not say of which networks"),
    "net is text": (lambda m: m.update(net="x"), "its 'net' is 'x'"),
    "net of other fields": (lambda m: m["net"].update(rubbish=1), "net has no field 'rubbish'"),
    "net of another type": (lambda m: m["net"].update(z_dim="8"), "net.z_dim must be int"),
    "a huge resolution": (lambda m: m["net"].update(resolution=2**30), "resolution"),
    "a huge width": (lambda m: m["net"].update(channel_max=2**40), "channel_max"),
    "another width": (lambda m: m["net"].update(channel_max=4), r"leaf .* is \[.*\], but the networks in its manifest have"),
    "another size": (lambda m: m["net"].update(resolution=32), "lacks leaf .* of the networks in its manifest"),
    "leaves is a list": (lambda m: m.update(leaves=[]), "is no manifest"),
    "a leaf is a number": (lambda m: m["leaves"].update({LEAF: 3}), f"leaf '{LEAF}' is described by 3"),
    "no dtype": (lambda m: m["leaves"][LEAF].pop("dtype") and None, "has the dtype None"),
    "a dtype of objects": (lambda m: m["leaves"][LEAF].update(dtype="O"), "has the dtype 'O'"),
    "no shape": (lambda m: m["leaves"][LEAF].pop("shape") and None, "has the shape None"),
    "a shape of text": (lambda m: m["leaves"][LEAF].update(shape=["3"]), "has the shape"),
    "a negative shape": (lambda m: m["leaves"][LEAF].update(shape=[-1, 2]), "has the shape"),
    "a digest of numbers": (lambda m: m["leaves"][LEAF].update(digest=3), "has the digest 3"),
    "control characters": (lambda m: m["leaves"].update({"g_ema/\x1b[2J": m["leaves"][LEAF]}), r"leaf 'g_ema/\\x1b\[2J'"),
    "a leaf and a folder": (lambda m: m["leaves"].update({f"{LEAF}/x": m["leaves"][LEAF]}), "already a leaf|both a leaf"),
    "a version of text": (lambda m: m.update(version="\x1b[31m2"), r"has version '\\x1b\[31m2'"),
    "a history of text": (lambda m: m.update(history="x"), "its 'history' is 'x'"),
    "a front of text": (lambda m: m.update(front="x"), "its 'front' is 'x'"),
    "a front of other options": (lambda m: m.update(front={"kind": "miner", "x": 1}), "no networks can be built"),
    "a long number": (lambda m: m["net"].update(resolution=10**400), "resolution"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_manifest_is_one_sentence(folder, tmp_path, case, capsys):
    change, message = DAMAGE[case]
    changed(folder, change)
    with pytest.raises(WeightsError, match=message):
        gan_jax.load(folder)
    assert main(["sample", str(folder), "--out", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and "\x1b" not in said and len(said.splitlines()) == 1 and len(said) < 1000
    main(["inspect", str(folder)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err and "\x1b" not in shown.out + shown.err


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "\xff", ""])
def test_a_manifest_that_is_no_document(folder, text):
    (folder / MANIFEST).write_bytes(text.encode("latin1"))
    with pytest.raises(WeightsError, match="damaged"):
        gan_jax.load(folder)


def test_text_of_a_manifest_is_not_obeyed_by_a_terminal(folder, capsys):
    changed(folder, lambda m: m.update(licence="MIT\x1b[2J\x07"))
    assert main(["inspect", str(folder)]) == 0
    assert "\x1b" not in (said := capsys.readouterr().out) and "\x07" not in said and "MIT[2J" in said


def test_too_little_memory_is_no_damage(folder, monkeypatch):
    class Opened:
        def get_tensor(self, path):
            raise MemoryError

    with pytest.raises(WeightsError, match="too little memory to read it, which may be whole"):
        module._read(Opened(), LEAF, {}, folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int8", "bool", "float8_e4m3fn", "complex64"])
def test_what_is_written_is_read(variables, tmp_path, dtype):
    """By `save_weights` and by `export`, in every container; what cannot be read back is refused before it is written."""
    held = dtype not in ("float8_e4m3fn", "complex64")
    cast = jax.tree.map(lambda x: x.astype(dtype), variables)
    if held:
        save_weights(tmp_path / "w", cast, {"net": net_to_dict(CONFIG)})
        back = load_weights(tmp_path / "w")[0]
        for path, leaf in flatten(back).items():
            assert leaf.dtype == dtype
            np.testing.assert_array_equal(leaf, flatten(cast)[path])
    else:
        with pytest.raises(WeightsError, match=f"is {dtype}.*cast it to one of these"):
            save_weights(tmp_path / "w", cast, {})
        assert not (tmp_path / "w").exists()
    if dtype in ("int8", "bool"):
        return
    for end in (".safetensors", ".npz", ".pt"):
        path = tmp_path / f"x{end}"
        if not held or (dtype, end) == ("bfloat16", ".npz"):
            with pytest.raises(ExportError, match=dtype):
                export_file(path, CONFIG, cast, "dcgan")
            assert not path.exists()
            continue
        export_file(path, CONFIG, cast, "dcgan")
        for name, leaf in flatten(import_file(path).variables).items():
            np.testing.assert_array_equal(leaf, flatten(cast)[name].astype("f4"))


# -- places ------------------------------------------------------------------------------------


def test_where_results_may_be_written(tmp_path):
    folder, file = tmp_path / "out", tmp_path / "x.png"
    assert claim_output(folder, ours=["*.png"]) == () and claim_output(file) == ()
    folder.mkdir()
    (folder / ".hidden").touch()
    assert claim_output(folder, ours=["*.png"]) == ()
    (folder / "1.png").touch()
    with pytest.raises(OutputError, match=r"--out .*out: holds 1.png; .* with --overwrite"):
        claim_output(folder, ours=["*.png"])
    (folder / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"--out .*out: holds 1.png, notes.txt; .* with --overwrite"):
        claim_output(folder, ours=["*.png"])
    assert claim_output(folder, ours=["*.png"], overwrite=True) == (folder / "1.png",)
    file.touch()
    with pytest.raises(OutputError, match="is there already"):
        claim_output(file)
    assert claim_output(file, overwrite=True) == (file,)
    for path, ours in ((file / "under", None), (file / "under" / "x", ["*"]), (file, ["*"]), (folder, None)):
        with pytest.raises(OutputError, match="is a file|is a folder"):
            claim_output(path, ours=ours, overwrite=True)


def test_verbs_do_not_replace_weights(folder, tmp_path, capsys):
    before = (folder / WEIGHTS).read_bytes()
    for words in (
        ["merge", "embedded:fashion16", "embedded:fashion16"],
        ["align", "embedded:fashion16", "embedded:fashion16"],
    ):
        assert main([*words, "--out", str(folder)]) == 2
        assert "holds manifest.json, weights.safetensors" in capsys.readouterr().err
    assert (folder / WEIGHTS).read_bytes() == before


def test_what_a_killed_save_left_is_removed(variables, folder):
    """Not what another living process is writing."""
    code = "import os; print(os.getpid())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    left = [folder / f".{WEIGHTS}.{pid}-0123abcd.part" for pid in (gone, os.getpid())]
    kept = folder / f".{WEIGHTS}.{os.getppid()}-0123abcd.part"
    older = folder / ".tmpA1b2C3"
    shutil.copy(folder / WEIGHTS, older)
    (mine := folder / ".tmpZZZZZZ").write_text("another program's")
    for path in (*left, kept):
        path.write_bytes(b"half")
    save(folder, CONFIG, variables, {})
    assert {p.name for p in folder.iterdir()} == {WEIGHTS, MANIFEST, kept.name, mine.name}
    os.utime(kept, (0, 0))
    assert remove_parts(folder) == [kept]


def test_a_full_disk_names_the_file(folder, variables, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        save(folder, CONFIG, variables, {})
    assert error.value.filename == str(folder / WEIGHTS)
