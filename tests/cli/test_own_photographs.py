"""A newcomer's four commands, as typed in an empty folder, on sixty photographs as people have them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

SIZES = ((120, 90), (64, 100), (80, 80), (201, 77))
MODES = ("RGB", "L", "RGBA", "P", "CMYK")
FORMATS = {"png": "RGB L RGBA P", "jpg": "RGB L CMYK", "webp": "RGB RGBA", "bmp": "RGB L P"}
SHORT = (
    "--train.kimg 0.032 --train.batch 8 --train.steps-per-dispatch 4 --net.resolution 16 --evaluate.n-fake 100".split()
)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """59 pictures of mixed sizes, modes and formats, and one that is broken."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    (folder := tmp_path / "empty" / "photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty")
    draw = np.random.default_rng(0)
    kinds = [(ending, mode) for ending, modes in FORMATS.items() for mode in modes.split()]
    assert {mode for _, mode in kinds} == set(MODES)
    for i in range(59):
        ending, mode = kinds[i % len(kinds)]
        colours = [tuple(int(v) for v in draw.integers(0, 256, 3)) for _ in range(2)]
        picture = Image.new("RGB", SIZES[i % len(SIZES)], colours[0])
        x, y = (int(v) for v in draw.integers(0, 30, 2))
        ImageDraw.Draw(picture).ellipse([x, y, x + 40, y + 40], fill=colours[1])
        picture.convert(mode).save(folder / f"IMG {i:02d}.{ending}")
    whole = io.BytesIO()
    Image.new("RGB", (50, 50)).save(whole, "JPEG")
    (folder / "torn.jpg").write_bytes(whole.getvalue()[:200])
    return folder


def test_from_photographs_to_a_plan(cli, photos, fake_run):
    """All but the training, for which a stub stands."""
    assert cli("data", "info", "folder:photos") == 0, cli.err
    said = cli.out + cli.err
    assert "59" in said and "torn.jpg" in said

    assert cli("transfer", "folder:photos", "--out", "r", *SHORT) == 0, cli.err
    ((_, (config, _), options),) = fake_run.calls
    said = cli.out + cli.err + "\n".join(options["notes"])
    for what in ("source", "network", "channels", "size", "method", "shots", "features"):
        assert any(line.startswith(f"{what}: ") for line in said.splitlines()), what
    assert "embedded:fashion16" in said and "channels: 3 (colour), the source is grey and grows" in said
    assert "size: 16 px, as asked" in said and "shots: all 59 images" in said
    assert "(the whole table: --plan full)" in said and "g/params" not in said
    assert config.net.channels == 3 and config.train.kimg == 0.032


def test_from_photographs_to_a_page_and_a_grid(cli, photos):
    assert cli("data", "info", "folder:photos") == 0, cli.err
    said = cli.out + cli.err
    assert "59" in said and "torn.jpg" in said

    assert cli("transfer", "folder:photos", "--out", "r", *SHORT) == 0, cli.err
    said = cli.out + cli.err
    for what in ("source", "network", "channels", "size", "method", "shots", "features"):
        assert len([line for line in said.splitlines() if line.startswith(f"{what}: ")]) == 1, what
    assert "embedded:fashion16" in said and "channels: 3 (colour), the source is grey and grows" in said
    assert "size: 16 px, as asked" in said and "shots: all 59 images" in said and "torn.jpg" in said
    assert "no held-out reference" in said and "no Frechet distance" in said
    assert "(the whole table: --plan full)" in said and "g/params" not in said
    config = json.loads(Path("r/config.json").read_text(encoding="utf-8"))["config"]
    assert config["net"]["channels"] == 3 and config["train"]["kimg"] == 0.032
    rows = [json.loads(line) for line in Path("r/evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["images"] == 32 and {"kid", "precision", "recall"} <= rows[-1].keys() and "fd" not in rows[-1]

    assert cli("report", "r") == 0, cli.err
    page = Path("r/report.html").read_text(encoding="utf-8")
    assert "KID" in page and "torn.jpg" in page

    assert cli("sample", "r", "--n", 64, "--out", "grid.png") == 0, cli.err
    with Image.open("grid.png") as grid:
        assert grid.mode == "RGB" and grid.width >= 8 * 64
