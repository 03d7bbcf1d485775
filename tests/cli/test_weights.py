"""The verbs about finished weights: transplant, sample, evaluate."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_jax
from gan_jax import config as c
from gan_jax.config import Config, to_dict

# -- transplant ----------------------------------------------------------------------------------------------


@pytest.fixture
def transplants(monkeypatch):
    """Calls of what the verb runs, whose real work tests/transfer checks."""
    from gan_jax.surgery import Difference
    from gan_jax.transfer import weights

    calls = []
    measured = {"g": Difference(1e-7, 1.0, 8), "d": Difference(0.5, 1.0, 16)}
    done = types.SimpleNamespace(plan="THE PLAN", measured=measured)
    monkeypatch.setattr(weights, "transplant_weights", lambda *args, **kwargs: calls.append((args, kwargs)) or done)
    return calls


def test_transplant(cli, transplants, tmp_path):
    argv = ["transplant", "embedded:x", "--out", tmp_path, "--net.resolution", 64, "--missing", "error", "--seed", 7]
    argv += ["--width", "net2wider", "--d-width", "silent", "--narrow", "strongest", "--classes", 2, -1]
    assert cli(*argv, "--checkpoint", 48) == 0
    args, kwargs = transplants[-1]
    assert args == ("embedded:x", c.ResNetConfig(resolution=64), tmp_path)
    assert kwargs == {
        "checkpoint": 48, "missing": "error", "unused": "error", "shape": "adapt", "seed": 7, "probes": 8,
        "width": "net2wider", "d_width": "silent", "narrow": "strongest", "classes": (2, -1),
    }  # fmt: skip
    assert cli.out.splitlines()[:3] == [
        "THE PLAN",
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


def test_transplant_checks_the_target(cli, transplants, tmp_path):
    assert cli("transplant", "x", "--out", tmp_path, "--net.resolution", 20) == 2
    assert "net.resolution is 20" in cli.err
    assert cli("transplant", "x") == 2
    assert "--out PATH" in cli.out + cli.err


# -- sample --------------------------------------------------------------------------------------------------


class FakeModel:
    """Images whose first pixel is the label (or the number of the image)."""

    def sample(self, key, n, labels=None, truncation=None):
        import jax

        images = np.array(jax.random.randint(key, (n, 8, 8, 3), 0, 256)).astype(np.uint8)
        if labels is not None:
            images[:, 0, 0, 0] = labels
        return images if truncation is None else np.full_like(images, 100 * truncation)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def model(monkeypatch):
    paths = []
    monkeypatch.setattr(gan_jax, "load", lambda path: paths.append(path) or FakeModel(), raising=False)
    return paths


def test_sample_grid(cli, model, tmp_path):
    assert cli("sample", "runs/x", "--n", 9, "--out", tmp_path / "new" / "grid.png") == 0
    assert model == ["runs/x"]
    with Image.open(tmp_path / "new" / "grid.png") as image:
        assert min(image.size) >= 3 * 8


def test_sample_arrays_are_set_by_the_seed(cli, model, tmp_path):
    a, b, other = (tmp_path / f"{name}.npz" for name in "abc")
    for path, seed in ((a, 3), (b, 3), (other, 4)):
        assert cli("sample", "x", "--n", 5, "--seed", seed, "--out", path) == 0
    images = np.load(a)["images"]
    assert images.shape == (5, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.load(b)["images"])
    assert (images != np.load(other)["images"]).any()
    assert a.read_bytes() == b.read_bytes()


def test_sample_folder_and_labels(cli, model, tmp_path):
    assert cli("sample", "x", "--n", 5, "--labels", 3, 7, "--out", tmp_path / "many") == 0
    files = sorted((tmp_path / "many").iterdir())
    assert [f.name for f in files] == [f"{i:05d}.png" for i in range(5)]
    assert [pixels(f)[0, 0, 0] for f in files] == [3, 7, 3, 7, 3]


def test_sample_truncation(cli, model, tmp_path):
    assert cli("sample", "x", "--n", 2, "--truncation", 0.5, "--out", tmp_path / "near.npz") == 0
    assert np.unique(np.load(tmp_path / "near.npz")["images"]).tolist() == [50]


@pytest.mark.parametrize(("argv", "message"), [
    (("--n", 0), "--n is 0"), (("--out", "x.jpg"), "unknown ending"), (("--truncation", 0), "--truncation is 0; use a number"),
])  # fmt: skip
def test_sample_refuses(cli, model, argv, message):
    assert cli("sample", "x", *argv) == 2
    assert message in cli.err


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
