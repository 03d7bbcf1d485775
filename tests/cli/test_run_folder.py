"""A run folder is all that its run needs: real processes, started with nothing but its name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gan_jax import config as c
from gan_jax.config import Config, to_dict
from gan_jax.train.checkpoint.storage import complete
from tests.conftest import REPO

CONFIG = Config(
    data=c.DataConfig(source="embedded:fashion-mnist", classes=(1,), shots=64),
    net=c.DCGANConfig(resolution=16, channels=1, z_dim=4, channel_base=64, channel_max=4),
    optim=c.OptimConfig(lr=3e-4),  # no default, so that a file that is not read shows
    train=c.TrainConfig(kimg=2.0, batch=8, steps_per_dispatch=5),
    checkpoint=c.CheckpointConfig(every_kimg=0.4),
    evaluate=c.EvalConfig(features=None),
    log=c.LogConfig(tensorboard=False),
)


def train(folder):
    """`gan-jax train FOLDER` in a process of its own, started elsewhere than in the repository."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_NUM_CPU_DEVICES": "1",
        "PYTHONPATH": str(REPO),
    }  # fmt: skip
    command = [sys.executable, "-m", "gan_jax", "train", folder.name]
    return subprocess.Popen(
        command, cwd=folder.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait(process):
    try:
        return process.communicate(timeout=120)[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_run_is_started_and_started_again_from_its_folder_alone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    given = json.dumps({"config": to_dict(CONFIG)})
    (folder / "config.json").write_text(given)
    process = train(folder)
    end = time.monotonic() + 120
    while not ((folder / "checkpoints").is_dir() and complete(folder / "checkpoints")) and time.monotonic() < end:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    said = wait(process)
    assert process.returncode == 75, said
    assert "gan-jax train run" in said
    (at,) = {max(complete(folder / "checkpoints"))}
    assert 400 <= at < 2000

    process = train(folder)
    said = wait(process)
    assert process.returncode == 0 and f"resumed at {at} images" in said, said
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == list(range(40, 2001, 40))
    assert (folder / "config.json").read_text() == given
    about = json.loads((folder / "weights" / "manifest.json").read_text())
    assert about["history"][-1]["config"] == to_dict(CONFIG) and about["images"] == 2000
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing is written beside it"
