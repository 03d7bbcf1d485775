"""Training makes images better: their distance to real ones falls."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    DiagnoseConfig,
    EvalConfig,
    LogConfig,
    LossConfig,
    MLPConfig,
    OptimConfig,
    ResNetConfig,
    TrainConfig,
)
from gan_jax.transfer.run import run

CLOTHES = Config(
    data=DataConfig(source="embedded:fashion-mnist"),
    net=ResNetConfig(resolution=16, channel_base=128, channel_max=8),
    optim=OptimConfig(lr=1e-3),
    train=TrainConfig(kimg=4.096, batch=32, steps_per_dispatch=8),
    evaluate=EvalConfig(every_kimg=2.048, n_fake=512, stats_batches=4),
    log=LogConfig(tensorboard=False, every_dispatches=8),
)


def test_a_short_run_of_a_small_pair_comes_nearer_to_images_of_shoes(tmp_path):
    """16 px, 8,000 images, an MLP: the distance at the end is far below the one half way; 0.5 to 0.6 of it for any seed."""
    config = dataclasses.replace(
        CLOTHES,
        data=dataclasses.replace(CLOTHES.data, classes=(9,), shots=256),
        net=MLPConfig(resolution=16, channels=1, z_dim=8, g_widths=(64,), d_widths=(64,)),
        loss=LossConfig(name="non_saturating"),
        optim=OptimConfig(lr=2e-3),
        train=TrainConfig(kimg=8.192, batch=32, steps_per_dispatch=32, devices=1),
        evaluate=EvalConfig(every_kimg=4.096, n_fake=256, stats_batches=0),
        checkpoint=CheckpointConfig(every_kimg=None),
        diagnose=DiagnoseConfig(images=0),
    )
    assert_nearer(config, tmp_path, fd=0.75, kid=0.8)


@pytest.mark.slow
def test_a_short_run_on_real_images_comes_nearer_to_them(tmp_path):
    """16 px clothes, 4,000 images: the distance at the end is far below the one after 2,000."""
    assert_nearer(CLOTHES, tmp_path, fd=0.8, kid=0.6)


def assert_nearer(config, folder, fd, kid):
    run(config, folder)
    rows = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert rows[-1]["images"] == int(1000 * config.train.kimg)
    assert rows[-1]["fd"] < fd * rows[0]["fd"] and rows[-1]["kid"] < kid * rows[0]["kid"], rows
