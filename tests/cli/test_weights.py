"""The verbs about finished weights: transplant, sample, evaluate."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax import config as c
from gan_jax.config import Config, to_dict
from tests.cli.conftest import FakePlan

# -- transplant ----------------------------------------------------------------------------------------------


@pytest.fixture
def transplants(monkeypatch):
    """Calls of what the verb runs, whose real work tests/transfer checks."""
    from gan_jax.surgery import Difference
    from gan_jax.transfer import weights

    calls = []
    measured = {"g": Difference(1e-7, 1.0, 8), "d": Difference(0.5, 1.0, 16)}
    done = types.SimpleNamespace(plan=FakePlan(), measured=measured)
    monkeypatch.setattr(weights, "transplant_weights", lambda *args, **kwargs: calls.append((args, kwargs)) or done)
    return calls


def test_transplant(cli, transplants, tmp_path):
    argv = ["transplant", "embedded:x", "--out", tmp_path, "--net.resolution", 64, "--missing", "error", "--seed", 7]
    argv += ["--width", "net2wider", "--d-width", "silent", "--narrow", "strongest", "--classes", 2, -1]
    assert cli(*argv, "--checkpoint", 48) == 0
    args, kwargs = transplants[-1]
    policies = c.TransplantConfig(
        missing="error", width="net2wider", d_width="silent", narrow="strongest", classes=(2, -1)
    )
    assert args == ("embedded:x", c.ResNetConfig(resolution=64), tmp_path, policies)
    assert kwargs == {"checkpoint": 48, "seed": 7, "probes": 8}
    assert cli.out.splitlines()[:4] == [
        "plan: THE PLAN in short",
        "(the whole table: --plan full)",
        "G: function preserved: largest difference 1.0e-07 of 1.0e+00 on 8 probes",
        "D: function not preserved: largest difference 5.0e-01 of 1.0e+00 on 16 probes",
    ]


def test_transplant_into_another_kind(cli, transplants, tmp_path):
    assert cli("transplant", "x", "--out", tmp_path, "--net", "dcgan", "--net.z-dim", 3) == 0
    assert transplants[-1][0][1] == c.DCGANConfig(z_dim=3)


def test_transplant_starts_from_the_networks_of_the_source(cli, transplants, tmp_path):
    source = c.ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24)
    assert cli("transplant", "embedded:fashion16", "--out", tmp_path, "--net.depth", 2) == 0
    assert transplants[-1][0][1] == c.dataclasses.replace(source, depth=2)
    assert cli("transplant", "embedded:fashion16", "--out", tmp_path, "--net", "dcgan") == 0
    shared = {
        name: getattr(source, name) for name in ("resolution", "channels", "z_dim", "channel_base", "channel_max")
    }
    assert transplants[-1][0][1] == c.DCGANConfig(**shared)
    assert cli("transplant", "--out", tmp_path, "embedded:fashion16") == 2
    assert "name the source first" in cli.err


def test_transplant_allows_only_the_operations_that_are_named(cli, tmp_path):
    wider = ["transplant", "embedded:fashion16", "--net.channel-max", 26, "--out", tmp_path / "new", "--shape"]
    assert cli(*wider, "slice,widen") == 2
    assert "this needs widen_spectral, and shape allows slice, widen only" in cli.err
    assert cli(*wider, "wden") == 2
    assert "'wden' is no operation that adapts a leaf (did you mean 'widen'" in cli.err
    assert not (tmp_path / "new").exists()


def test_transplant_replaces_nothing_unasked(cli, transplants, tmp_path):
    (tmp_path / "weights.safetensors").touch()
    assert cli("transplant", "x", "--out", tmp_path) == 2
    assert "holds weights.safetensors" in cli.err and "--overwrite" in cli.err and not transplants
    assert cli("transplant", "x", "--out", tmp_path, "--overwrite") == 0 and transplants


def test_hints_of_a_plan_are_options_of_the_verb(cli, tmp_path):
    assert (
        cli("transplant", "embedded:fashion16", "--net.channel-max", 26, "--shape", "error", "--out", tmp_path / "x")
        == 2
    )
    assert "with --shape adapt" in cli.err and "shape='" not in cli.err


def test_transplant_checks_the_target(cli, transplants, tmp_path):
    assert cli("transplant", "x", "--out", tmp_path, "--net.resolution", 20) == 2
    assert "net.resolution is 20" in cli.err
    assert cli("transplant", "x") == 2
    assert "--out PATH" in cli.out + cli.err


# -- sample --------------------------------------------------------------------------------------------------


class FakeModel:
    """Images whose first pixel is the label (or the number of the image)."""

    def __init__(self, num_classes=0, class_names=None):
        self.config = c.ResNetConfig(num_classes=num_classes)
        self.manifest = {} if class_names is None else {"class_names": class_names}

    def sample(self, key, n, labels=None, truncation=None):
        images = np.random.default_rng(key).integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
        if labels is not None:
            images[:, 0, 0, 0] = labels
        return images if truncation is None else np.full_like(images, 100 * truncation)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def model(monkeypatch):
    """What was asked for; `model.made` is what is given."""
    from gan_jax.transfer import models

    asked = types.SimpleNamespace(paths=[], made=FakeModel())
    monkeypatch.setattr(models, "load", lambda *path: asked.paths.append(path) or asked.made)
    return asked


def test_sample_grid(cli, model, tmp_path):
    assert cli("sample", "runs/x", "--n", 9, "--checkpoint", 48, "--out", tmp_path / "new" / "grid.png") == 0
    assert model.paths == [("runs/x", 48)]
    with Image.open(tmp_path / "new" / "grid.png") as image:
        assert image.size == (3 * 66 + 2, 3 * 66 + 2), "images of 8 px are enlarged to 64"


@pytest.mark.parametrize(
    ("name", "kind"), [("g.PNG", "PNG"), ("g.jpg", "JPEG"), ("g.JPEG", "JPEG"), ("g.webp", "WEBP")]
)
def test_sample_grid_of_any_picture_format_with_its_layout(cli, model, tmp_path, name, kind):
    assert cli("sample", "x", "--n", 6, "--cols", 3, "--scale", 2, "--out", tmp_path / name) == 0
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.size) == (kind, (3 * 18 + 2, 2 * 18 + 2))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_sample_arrays_are_set_by_the_seed(cli, model, tmp_path):
    a, b, other = (tmp_path / f"{name}.npz" for name in "abc")
    for path, seed in ((a, 3), (b, 3), (other, 4)):
        assert cli("sample", "x", "--n", 5, "--seed", seed, "--out", path) == 0
    images = np.load(a)["images"]
    assert images.shape == (5, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.load(b)["images"])
    assert (images != np.load(other)["images"]).any()
    assert a.read_bytes() == b.read_bytes()
    assert np.load(a).files == ["images"]


def test_sample_of_classes_by_name_and_number(cli, model, tmp_path):
    model.made = FakeModel(4, ["coat", "2", "ankle boot/x", "bag"])
    assert cli("sample", "x", "--n", 5, "--labels", "bag", 0, "--out", tmp_path / "many") == 0
    files = sorted((tmp_path / "many").iterdir())
    names = ["bag", "coat"] * 3
    assert [f.name for f in files] == [f"{i:05d}_{names[i]}.png" for i in range(5)]
    assert [pixels(f)[0, 0, 0] for f in files] == [3, 0, 3, 0, 3]
    assert cli("sample", "x", "--n", 5, "--out", tmp_path / "all.npz") == 0
    found = np.load(tmp_path / "all.npz")
    assert found["labels"].tolist() == [0, 1, 2, 3, 0]
    assert found["class_names"].tolist() == ["coat", "2", "ankle boot/x", "bag"]
    assert cli("sample", "x", "--n", 1, "--labels", "2", "--out", tmp_path / "named.npz") == 0
    assert np.load(tmp_path / "named.npz")["labels"].tolist() == [1]  # a name goes before a number
    assert cli("sample", "x", "--n", 1, "--labels", "ankle boot/x", "--out", tmp_path / "one") == 0
    assert [f.name for f in (tmp_path / "one").iterdir()] == ["00000_ankle-boot-x.png"]


def test_sample_of_classes_without_names(cli, model, tmp_path):
    model.made = FakeModel(3)
    assert cli("sample", "x", "--n", 2, "--out", tmp_path / "many") == 0
    assert sorted(f.name for f in (tmp_path / "many").iterdir()) == ["00000_0.png", "00001_1.png"]
    assert cli("sample", "x", "--labels", 3, "--out", tmp_path / "no") == 2
    assert "--labels '3' is no class of this generator; use 0 to 2" in cli.err and not (tmp_path / "no").exists()


def test_sample_never_replaces_or_mixes_unasked(cli, model, tmp_path):
    grid, many = tmp_path / "grid.png", tmp_path / "many"
    for n in (3, 2):
        for out in (grid, many):
            assert cli("sample", "x", "--n", n, "--out", out) == (0 if n == 3 else 2)
    assert "allow it" in cli.err and "--overwrite" in cli.err
    assert len(list(many.iterdir())) == 3
    (many / "mine.txt").write_text("mine")
    for out in (grid, many):
        assert cli("sample", "x", "--n", 2, "--out", out, "--overwrite") == 0
    assert sorted(f.name for f in many.iterdir()) == ["00000.png", "00001.png", "mine.txt"]


def test_sample_truncation(cli, model, tmp_path):
    assert cli("sample", "x", "--n", 2, "--truncation", 0.5, "--out", tmp_path / "near.npz") == 0
    assert np.unique(np.load(tmp_path / "near.npz")["images"]).tolist() == [50]


@pytest.mark.parametrize(("argv", "message"), [
    (("--n", 0), "--n is 0"), (("--out", "x.gif"), "unknown ending; use .png, .jpg"),
    (("--truncation", 0), "--truncation is 0; use a number"), (("--truncation", "nan"), "--truncation is nan"),
    (("--seed", -1), "--seed is -1; use a whole number from 0"), (("--seed", 10**20), "--seed is 1000"),
    (("--cols", 0), "--cols is 0"), (("--out", "x.npz", "--scale", 2), "--scale enlarges pictures"),
    (("--out", "folder", "--cols", 2), "--cols lays a grid out"), (("--labels", 1), "has no classes"),
    (("--out", "FILE/x.png"), "is a file, and nothing can be written under it"),
])  # fmt: skip
def test_sample_refuses_before_any_work(cli, model, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()
    assert cli("sample", "x", *argv) == 2
    assert message in cli.err and len(cli.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


# -- evaluate --------------------------------------------------------------------------------------------------


def test_evaluate_takes_a_runs_own_data(cli, fake_run, tmp_path):
    config = Config(data=c.DataConfig(classes=(9,), shots=100), evaluate=c.EvalConfig(n_fake=77))
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(config)}))
    fake_run.result = {"protocol": "p-1", "KID": 0.031251}
    out = tmp_path / "new" / "numbers.json"
    assert cli("evaluate", tmp_path, "--evaluate.seed", 5, "--json", out) == 0
    assert fake_run.calls == [("evaluate_model", (str(tmp_path), config.data, c.EvalConfig(n_fake=77, seed=5)), {})]
    assert cli.out.startswith("protocol  p-1\nKID       0.0313\n")
    assert json.loads(out.read_text()) == fake_run.result


def test_evaluate_never_replaces_a_file_unasked(cli, fake_run, tmp_path):
    fake_run.result = {"KID": 1.0}
    out = tmp_path / "n.json"
    out.write_text("mine")
    assert cli("evaluate", "x", "--json", out) == 2
    assert "--overwrite" in cli.err and not fake_run.calls and out.read_text() == "mine"
    assert cli("evaluate", "x", "--json", out, "--overwrite") == 0
    assert json.loads(out.read_text()) == fake_run.result


def test_evaluate_a_weights_folder(cli, fake_run):
    fake_run.result = {}
    assert cli("evaluate", "embedded:fashion16", "--data.source", "folder:x") == 0
    assert fake_run.calls[-1][1][1] == c.DataConfig(source="folder:x")


def test_evaluate_wants_the_run_first(cli, fake_run, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(Config())}))
    assert cli("evaluate", "--evaluate.seed", "5", tmp_path) == 2
    assert f"name the run first, before the options: gan-jax evaluate {tmp_path}" in cli.err


def test_numpy_numbers_become_json(cli, fake_run, tmp_path):
    fake_run.result = {"FD": np.float32(1.5), "n": np.int64(3)}
    assert cli("evaluate", "x", "--json", tmp_path / "n.json") == 0
    assert json.loads(Path(tmp_path / "n.json").read_text()) == {"FD": 1.5, "n": 3}
