from __future__ import annotations

import json

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
        assert image.size[0] > 8


def test_info_json(cli, npz):
    assert cli("data", "info", f"npz:{npz}", "--json") == 0
    facts = json.loads(cli.out)
    assert (facts["images"], facts["channels"], facts["classes"]) == (6, 3, {"0": 2, "1": 4})


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
