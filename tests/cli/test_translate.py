"""`gan-jax translate`: files of any size under their names, what is refused before the work, and the page of pairs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

import gan_jax
from gan_jax.config import TranslatorConfig
from gan_jax.metrics import pair_metrics
from gan_jax.nets import build
from gan_jax.tasks.model import save
from tests.nets.families import drawn

CONFIG = TranslatorConfig(blocks=1, resolution=16, width=2, d_width=2, d_layers=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "w", CONFIG, {"g_ema": drawn(build(CONFIG).g)}, {})


def picture(seed: int, h: int = 16, w: int = 16, c: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, c), dtype=np.uint8)


def put(path, pixels: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return pixels


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_folders_and_files_keep_their_names(cli, model, tmp_path):
    images = {name: put(tmp_path / "in" / f"{name}.png", picture(i)) for i, name in enumerate(("a", "sub/b", "sub/c"))}
    images["wide"] = put(tmp_path / "wide.bmp", picture(7, 13, 18))
    put(tmp_path / "in" / ".hidden.png", picture(9))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    out = tmp_path / "out"
    assert cli("translate", model, tmp_path / "in", tmp_path / "wide.bmp", "--out", out, "--batch", 2) == 0, cli.err
    assert cli.out == f"wrote 4 images to {out}\n"
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "a.png", "sub/b.png", "sub/c.png", "wide.png",
    ]  # fmt: skip
    net = gan_jax.load(model)
    for name, pixels in images.items():
        assert_array_equal(read(out / f"{name}.png"), net.translate(pixels[None])[0])


def test_grey_and_transparent_images_become_what_the_network_reads(cli, model, tmp_path):
    grey, clear = (
        put(tmp_path / "in" / "grey.png", picture(0, c=1)),
        put(tmp_path / "in" / "clear.png", picture(1, c=4)),
    )
    assert cli("translate", model, tmp_path / "in", "--out", tmp_path / "out") == 0, cli.err
    alpha = clear[..., 3:] / 255
    white = np.floor(clear[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    expected = gan_jax.load(model).translate(np.stack([np.repeat(grey, 3, -1), white]))
    assert_array_equal(read(tmp_path / "out" / "grey.png"), expected[0])
    assert np.abs(read(tmp_path / "out" / "clear.png").astype(int) - expected[1]).mean() < 1


def test_unreadable_files_are_named_and_the_others_go_on(cli, model, tmp_path):
    put(tmp_path / "in" / "a.png", picture(0))
    (tmp_path / "in" / "b.png").write_bytes(b"")
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "c.png").write_bytes(whole[: len(whole) // 2])
    assert cli("translate", model, tmp_path / "in", "--out", tmp_path / "out") == 3
    assert "wrote 1 image to" in cli.out
    assert "2 of 3 files could not be read" in cli.err and "b.png is not a readable image: it is empty" in cli.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_nothing_is_replaced_unless_allowed(cli, model, tmp_path):
    put(tmp_path / "in" / "a.png", picture(0))
    before = put(tmp_path / "out" / "a.png", picture(5))
    put(tmp_path / "out" / "other.png", picture(6))
    words = ("translate", model, tmp_path / "in", "--out", tmp_path / "out")
    assert cli(*words) == 2
    assert "a.png is there already" in cli.err and "--overwrite" in cli.err
    assert_array_equal(read(tmp_path / "out" / "a.png"), before)
    assert cli(*words, "--overwrite") == 0
    assert (read(tmp_path / "out" / "a.png") != before).any() and (tmp_path / "out" / "other.png").exists()
    assert cli("translate", model, tmp_path / "in", "--out", tmp_path / "in", "--overwrite") == 2
    assert "is an input itself" in cli.err


def test_what_cannot_be_translated_is_said_before_the_work(cli, model, tmp_path):
    a = tmp_path / "a.png"
    put(a, picture(0))
    put(tmp_path / "b" / "a.jpg", picture(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.csv").write_text("1")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 600)
    pair = "embedded:fashion16"
    out = ("--out", tmp_path / "out")
    for words, text in (
        ((model, tmp_path / "none.png", *out), "there is no file or folder"),
        ((model, *out), "name what to translate"),
        ((model, tmp_path / "empty", *out), "holds no pictures, but 1 .csv"),
        ((model, a, tmp_path / "b", *out), "would both become"),
        ((model, tmp_path / "film.mp4", *out), "is a film; write its frames into a folder first"),
        ((model, a, *out, "--batch", 0), "--batch is 0"),
        ((model, a, *out, "--tile", 8), "tile is too small for this network"),
        ((model, a, *out, "--seed", 1), "does not have; leave it out"),
        ((model, a, *out, "--direction", "ba"), "one generator, and no direction 'ba'"),
        ((model, a, *out, "--lpips", "vgg16"), "--lpips compares results with targets"),
        ((model, a, *out, "--targets", tmp_path / "b2"), "--targets .* is no folder"),
        ((model, a, *out, "--targets", tmp_path / "empty"), "has no file for 1 of 1 inputs: a"),
        ((model, a, *out, "--instances", tmp_path), "reads no edges of instances"),
        ((pair, a, *out), "makes images from latents and translates none"),
        ((model, a, "--out", a), "is a file"),
    ):
        assert cli("translate", *words) == 2, words
        assert re.search(text, cli.err), (text, cli.err)
    assert not (tmp_path / "out").exists()


def test_a_sample_of_a_translator_is_refused(cli, model, tmp_path):
    assert cli("sample", model, "--out", tmp_path / "x.png") == 2
    assert "gan-jax translate" in cli.err


def test_large_images_in_tiles(cli, model, tmp_path):
    x = np.linspace(0, 255, 120)[None, :, None] * np.ones((100, 1, 3))
    put(tmp_path / "a.png", x.astype(np.uint8))
    assert cli("translate", model, tmp_path / "a.png", "--out", tmp_path / "whole") == 0
    assert cli("translate", model, tmp_path / "a.png", "--out", tmp_path / "tiled", "--tile", 72) == 0, cli.err
    whole, tiled = (read(tmp_path / name / "a.png").astype(int) for name in ("whole", "tiled"))
    assert np.abs(whole - tiled).max() <= 1 and cli.err == ""


def test_the_page_has_each_pair_and_its_metrics(cli, model, tmp_path):
    for i, name in enumerate(("a", "b", "c<i>")):
        put(tmp_path / "in" / f"{name}.png", picture(i))
    targets = {name: put(tmp_path / "to" / f"{name}.bmp", picture(10 + i)) for i, name in enumerate(("a", "c<i>"))}
    page = tmp_path / "page.html"
    words = (
        "translate",
        model,
        tmp_path / "in",
        "--targets",
        tmp_path / "to",
        "--page",
        page,
        "--out",
        tmp_path / "out",
    )
    assert cli(*words) == 0, cli.err
    text = page.read_text()
    outputs = np.stack([read(tmp_path / "out" / f"{name}.png") for name in targets])
    expected = pair_metrics(outputs, np.stack(list(targets.values())))
    assert f"protocol {expected.protocols['ssim'].id}\n" in cli.out
    for name, value in expected.means.items():
        assert f"{expected.protocols[name].title(name)} " in cli.out and f"{value:.4f}" in cli.out
    for name in ("l1", "psnr", "ssim"):
        values = [float(v) for v in re.findall(f' data-{name}="([^"]+)"', text)]
        assert_allclose(values, expected.values[name])
    assert text.count("<figure") == 3 and text.count('type="range"') == 3
    assert "c&lt;i&gt;.png" in text and "<i>" not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text), "no outside resources"
    assert "script-src &#x27;sha256-" in text and text.count("<script>") == 1
    assert cli(*words, "--overwrite") == 0
    assert page.read_text() == text


def test_a_page_without_targets(cli, model, tmp_path):
    put(tmp_path / "a.png", picture(0, 20, 30))
    page = tmp_path / "page.html"
    assert cli("translate", model, tmp_path / "a.png", "--page", page, "--out", tmp_path / "out") == 0
    text = page.read_text()
    assert 'aria-label="input or output of a.png"' in text and "SSIM" not in text
