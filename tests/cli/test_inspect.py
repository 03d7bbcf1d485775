from __future__ import annotations

import json

import numpy as np
import pytest

from gan_jax.config import Config, TrainConfig, to_dict
from gan_jax.interop import save_weights
from gan_jax.trees import digest

KERNEL = np.arange(12, dtype=np.float32).reshape(3, 4)
TREES = {"g_ema": {"params": {"stem": {"kernel": KERNEL, "bias": np.zeros(4, np.float32)}}}}
HISTORY = [
    {"kind": "train", "date": "2026-01-02T03:04:05+00:00", "versions": {"jax": "1.2"}, "images": 1000,
     "config": {"data": {"source": "x"}, "transfer": {"kind": "ScratchConfig"}}, "averages": {"g_ema": "g"}},
    {"kind": "transplant", "date": "2026-01-03T03:04:05+00:00", "versions": {}, "source": {"name": "a", "digest": "ab" * 32},
     "measured": {"g": {"preserved": True, "largest": 1e-7, "scale": 1.0, "probes": 8}}, "seed": 5,
     "leaves": {
        "g_ema/params/stem/kernel": {"op": "widen", "args": {"shape": [3, 4]}, "digest": "ef" * 32,
                                     "sources": {"g_ema/params/old/kernel": "cd" * 32}},
        "g_ema/params/stem/bias": {"op": "init", "args": {"shape": [4]}},
     }},
]  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    about = {"licence": "MIT", "history": HISTORY, "made_by": {"command": "x", "kimg": 3}}
    return save_weights(tmp_path / "w", TREES, about)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    config = {"config": to_dict(Config(train=TrainConfig(seed=7))), "versions": {"jax": "1.2"}, "device": "2 x cpu"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text('{"images": 1}\n{"images": 2, "loss": 0.5}\n')
    return folder


def test_weights(cli, weights):
    assert cli("inspect", weights) == 0
    assert "  licence: MIT\n" in cli.out and "  made_by: command x, kimg 3\n" in cli.out
    lines = {line.split()[0]: line.split() for line in cli.out.splitlines() if line.startswith("g_ema")}
    assert lines["g_ema/params/stem/kernel"] == [
        "g_ema/params/stem/kernel", "float32[3,4]", "12", digest(KERNEL)[:12], "widen", "<-", "g_ema/params/old/kernel"
    ]  # fmt: skip
    assert lines["g_ema/params/stem/bias"][4:] == ["init:", "fresh", "values", "(seed", "5)"]
    assert "    2  2026-01-03  transplanted from a (manifest abababababab)\n" in cli.out
    assert cli.out.splitlines()[-1] == "2 leaves, 16 values"


def test_provenance(cli, weights):
    assert cli("inspect", weights, "--provenance") == 0
    assert (
        cli.out.splitlines()
        == f"""weights: {weights}
history, oldest first:
  1  2026-01-02  trained from fresh values: 1,000 images of x
       by jax 1.2
  2  2026-01-03  transplanted from a (manifest abababababab)
       G: function preserved: largest difference 1.0e-07 of 1.0e+00 on 8 probes

g_ema/params/stem/bias
  2  init: fresh values (seed 5)

g_ema/params/stem/kernel
  2  widen(shape=[3, 4]) <- g_ema/params/old/kernel @cdcdcdcdcdcd
  1  trained from fresh values as g/params/old/kernel, of which this is the moving average""".splitlines()
    )
    assert cli("inspect", weights, "--provenance", "--match", "**/bias") == 0
    assert "stem/kernel" not in cli.out
    assert cli("inspect", weights, "--provenance", "--match", "**/bios") == 2
    assert "no leaf is covered by '**/bios'" in cli.err


def test_provenance_of_what_is_in_the_package(cli):
    assert cli("inspect", "embedded:fashion16", "--provenance", "--match", "d/params/head/bias") == 0
    assert "trained from fresh values: " in cli.out and cli.out.endswith("  1  trained from fresh values\n")


def test_match_and_json(cli, weights):
    assert cli("inspect", weights, "--match", "**/bias") == 0
    assert "kernel  " not in cli.out and cli.out.splitlines()[-1] == "1 leaves, 4 values (of 2 leaves)"
    assert cli("inspect", weights, "--match", "**/bios") == 2
    assert "no leaf is covered by '**/bios'" in cli.err
    assert cli("inspect", weights, "--json") == 0
    assert json.loads(cli.out)["licence"] == "MIT"


def test_verify(cli, weights):
    assert cli("inspect", weights, "--verify") == 0
    assert "every value is what its digest says" in cli.out
    file = weights / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert cli("inspect", weights, "--verify") == 2
    assert "is damaged" in cli.err and "Traceback" not in cli.err


def test_a_run(cli, run):
    save_weights(run / "weights", TREES, {})
    assert cli("inspect", run) == 0
    for line in ("train.seed: 0 -> 7", "versions: jax 1.2", "device: 2 x cpu", "checkpoints: none (images)",
                 'last metrics: {"images": 2, "loss": 0.5}'):  # fmt: skip
        assert f"  {line}\n" in cli.out
    assert f"weights: {run / 'weights'}\n" in cli.out and "2 leaves, 16 values" in cli.out


def test_a_run_in_training_shows_its_newest_checkpoint(cli, run):
    from gan_jax.train.checkpoint.manager import Checkpointer

    with Checkpointer(run / "checkpoints") as checkpointer:
        for images in (64, 128):
            checkpointer.save(images, {"g": {"w": np.full(5, images, np.float32)}})
    assert cli("inspect", run) == 0
    assert "  checkpoints: 64, 128 (images)\n" in cli.out and f"checkpoint: {run / 'checkpoints' / '128'}\n" in cli.out
    assert f"g/w   float32[5]       5  {digest(np.full(5, 128, np.float32))[:12]}\n" in cli.out
    assert cli("inspect", run, "--checkpoint", 64) == 0
    assert digest(np.full(5, 64, np.float32))[:12] in cli.out
    assert cli("inspect", run, "--checkpoint", 65) == 2
    assert "no checkpoint of 65 images; there are 64, 128" in cli.err
    assert cli("inspect", run, "--verify") == 0
    assert cli("inspect", run / "checkpoints" / "64") == 0
    assert digest(np.full(5, 64, np.float32))[:12] in cli.out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nowhere",), "no weights at nowhere"),
        (("embedded:fashion61",), "no embedded weights 'fashion61'"),
        (("nowhere", "--checkpoint", "3"), "--checkpoint 3 needs a run folder"),
    ],
)
def test_nothing_to_inspect(cli, argv, message):
    assert cli("inspect", *argv) == 2
    assert message in cli.err


def test_a_run_without_anything(cli, run):
    assert cli("inspect", run) == 2
    assert "no weights and no complete checkpoint yet" in cli.err
