"""`gan-jax weights`: the list, and what `get` says."""

from __future__ import annotations

import json

import pytest

from gan_jax.cli.main import main
from gan_jax.interop.feature_weights import CATALOGUE, PAIR_CATALOGUE


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path))
    return tmp_path


def test_the_list_says_all_that_there_is_to_know(capsys, cache):
    assert main(["weights", "list"]) == 0
    text = capsys.readouterr().out
    for name, row in CATALOGUE.items():
        assert f"{name}: {row.what}" in text
        assert row.sha256 in text and row.url in text and row.licence in text and row.file in text
    assert text.count("not here") == len(CATALOGUE | PAIR_CATALOGUE)
    there = cache / "features" / "vgg16"
    there.mkdir(parents=True)
    for part in ("weights.safetensors", "manifest.json"):
        (there / part).touch()
    assert main(["weights", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["vgg16"]["here"] and not rows["alexnet"]["here"]
    assert rows["vgg16"]["folder"] == str(there) and rows["vgg16"]["size"] == CATALOGUE["vgg16"].size


def test_get_refuses_a_wrong_file_in_one_block(capsys, tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"not weights")
    assert main(["weights", "get", "inception-v3-fid", "--from", str(file)]) == 2
    error = capsys.readouterr().err
    assert "has sha256" in error and "6726825d0af5f729" in error and "Traceback" not in error
    assert main(["weights", "get", "inception", "--from", str(file)]) == 2
    assert "no weights 'inception'" in capsys.readouterr().err
