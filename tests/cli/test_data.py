from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from gan_jax.cli.data import splits
from gan_jax.config import ConfigError


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "set.npz"
    np.savez(path, images=rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), labels=np.array([0, 1, 1, 0, 1, 1]))
    return path


def test_info(cli, npz, tmp_path):
    assert cli("data", "info", f"npz:{npz}", "--grid", tmp_path / "new" / "grid.png") == 0
    assert "\nimages: 6\n" in cli.out and "\nclasses: 2\n  0  2\n  1  4\n" in cli.out
    with Image.open(tmp_path / "new" / "grid.png") as image:
        assert image.size == (3 * 66 + 2, 2 * 66 + 2), "images of 8 px are enlarged to 64"


def test_info_json(cli, npz):
    assert cli("data", "info", f"npz:{npz}", "--json") == 0
    facts = json.loads(cli.out)
    assert (facts["images"], facts["channels"], facts["classes"]) == (6, 3, {"0": 2, "1": 4})


def test_info_of_pairs(cli, tmp_path):
    rng = np.random.default_rng(0)
    for side in ("maps", "photos"):
        (tmp_path / side).mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8), i % 2, np.uint8)).save(tmp_path / "maps" / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.jpg")
    (tmp_path / "maps" / "classes.txt").write_text("sky\nsea")
    (tmp_path / "photos" / "2.jpg").write_bytes(b"")
    spec, grid = f"{tmp_path}/maps,{tmp_path}/photos", tmp_path / "grid.png"
    assert cli("data", "info", f"layouts:{spec}", "--grid", grid) == 0
    assert "\nkind: layout\ninputs: 2, 8 x 8 px, PNG 2\nimages: 2, 8 x 8 px, 3 channel(s), JPEG 2\n" in cli.out
    assert "\n  0  sky  50.00 %  1\n  1  sea  50.00 %  1\ndon't care: 0.0 % of the pixels\n" in cli.out
    assert f"their pairs: 1\n  {tmp_path}/photos/2.jpg is not a readable image: it is empty\n" in cli.out
    with Image.open(grid) as image:
        assert image.size == (4 * 66 + 2, 66 + 2)
    assert cli("data", "info", f"pairs:{spec}", "--json") == 0
    assert json.loads(cli.out)["images"]["count"] == 2
    assert cli("data", "info", f"pairs:{spec}", "--classes", "1") == 2
    assert "leave it out" in cli.err
    (tmp_path / "photos" / "1.jpg").unlink()
    assert cli("data", "info", f"layouts:{spec}") == 2
    assert "1 of inputs without a partner in images: 1" in cli.err


def test_info_of_nothing(cli, tmp_path):
    assert cli("data", "info", "embedded:fashion-mist") == 2
    assert "did you mean 'fashion-mnist'" in cli.err
    assert cli("data", "info", f"npz:{tmp_path / 'no.npz'}") == 2
    assert "no.npz" in cli.err and "Traceback" not in cli.err


def test_prepare_calls_the_library(cli, monkeypatch, tmp_path):
    import gan_jax.data

    calls = []
    monkeypatch.setattr(gan_jax.data, "prepare", lambda *a, **k: calls.append((a, k)) or tmp_path / "x" / "1.0.0")
    argv = ["data", "prepare", "train=folder:a", "test=zip:b", "--name", "x", "--out", tmp_path, "--resolution", 32]
    assert cli(*argv) == 0
    ((args, kwargs),) = calls
    assert args == ({"train": "folder:a", "test": "zip:b"}, tmp_path, "x")
    assert kwargs["resolution"] == 32 and kwargs["version"] == "1.0.0" and kwargs["overwrite"] is False
    assert f"gan-jax data info tfds:{tmp_path / 'x' / '1.0.0'}" in cli.out


@pytest.mark.slow
def test_prepare_then_info(cli, npz, tmp_path):
    assert cli("data", "prepare", f"npz:{npz}", "--name", "six", "--out", tmp_path / "sets") == 0
    assert cli("data", "info", f"tfds:{tmp_path / 'sets' / 'six' / '1.0.0'}", "--json") == 0
    assert json.loads(cli.out)["images"] == 6


def test_splits():
    assert splits(["folder:/a=b"]) == {"train": "folder:/a=b"}
    assert splits(["test=folder:a"]) == {"test": "folder:a"}
    assert splits(["train=folder:a", "test=zip:x=y"]) == {"train": "folder:a", "test": "zip:x=y"}


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "name every split"),
        (["folder:a", "folder:b"], "name every split: train=folder:a"),
        (["a=x", "a=y"], "twice"),
    ],
)
def test_splits_refuse(specs, message):
    with pytest.raises(ConfigError, match=message):
        splits(specs)


def test_data_needs_a_command(cli):
    assert cli("data") == 2
    assert cli("data", "prepair") == 2


@pytest.fixture
def photos(tmp_path):
    """Three sizes, grey and colour, one broken, in two classes."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for i, (size, kind) in enumerate([((40, 30), "1"), ((64, 64), "1"), ((40, 30), "10"), ((90, 60), "2")]):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if i == 1 else "RGB").save(folder / kind / f"{i}.jpg")
    (folder / "1" / "broken.jpg").write_bytes((folder / "1" / "0.jpg").read_bytes()[:-100])
    (folder / "readme.txt").write_text("photographs")
    return folder


def test_info_of_photographs_says_all_that_matters(cli, photos):
    assert cli("data", "info", f"folder:{photos}") == 0
    for line in (
        "images: 4",
        "sizes: 40 x 30 to 90 x 60 px; most common 40 x 30 (2), 64 x 64 (1), 90 x 60 (1)",
        "modes: RGB 3, L 1",
        "  0  1   2",
        "  1  2   1",
        "  2  10  1",
        "files left out: 1",
        "  1/broken.jpg is not a readable image: image file is truncated",
        "files that are no images: .txt 1",
        "note: the class folders are whole numbers, but not 0 .. 2: their labels are 1 -> 0, 2 -> 1, 10 -> 2",
        "  channels  3 (colour)",
        "  size      the network's, in transfer the source's (--net.resolution); at 32 px",
        "  fit       crop; 3 of 4 images are not square: cut to the centre (--data.fit pad or stretch for another way)",
        "  classes   3 classes, used by a network of --net.num-classes 3",
        "fingerprint: of images of one shape; --resolution and --channels bring them to one",
    ):
        assert line in cli.out


def test_info_takes_the_options_of_training(cli, photos):
    argv = ["--resolution", 16, "--data.fit", "pad", "--data.channels", 1, "--data.classes", 10, "--json"]
    assert cli("data", "info", f"folder:{photos}", *argv) == 0
    facts = json.loads(cli.out)
    assert (facts["images"], facts["height"], facts["channels"]) == (1, 16, 1)
    assert facts["labels"] == [{"label": 2, "name": "10", "images": 1}] and len(facts["fingerprint"]) == 64
    assert facts["use"]["fit"].startswith("pad; the image is not square: padded with black")
    assert cli("data", "info", f"folder:{photos}", "--data.bad", "fail") == 2
    assert "1/broken.jpg is not a readable image" in cli.err and "Traceback" not in cli.err


def test_prepare_says_what_it_loses_and_prints_a_spec_that_works(cli, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["--name", "some", "--out", "my sets", "--resolution", 8, "--channels", 3, "--fit", "stretch"]
    assert cli("data", "prepare", f"test=folder:{photos}", *argv) == 0
    assert "1 of 5 files left out: 1/broken.jpg" in cli.out and "3 of 4 images are not square: stretched" in cli.out
    *_, command = shlex.split(cli.out.splitlines()[-1])
    assert command == "tfds:my sets/some/1.0.0:test"
    for spec in (command, "tfds:my sets/some:test", "tfds:./my sets/some/1.0.0:test"):
        assert cli("data", "info", spec, "--json") == 0
        assert json.loads(cli.out)["images"] == 4
