from __future__ import annotations

import json

import pytest

from gan_jax.config import Config, DataConfig, EvalConfig, LogConfig, OptimConfig, ResNetConfig, TrainConfig
from gan_jax.transfer.run import run


@pytest.mark.slow
def test_a_short_run_on_real_images_comes_nearer_to_them(tmp_path):
    """16 px clothes, 4,000 images: the distance at the end is far below the one after 2,000."""
    config = Config(
        data=DataConfig(source="embedded:fashion-mnist"),
        net=ResNetConfig(resolution=16, channel_base=128, channel_max=8),
        optim=OptimConfig(lr=1e-3),
        train=TrainConfig(kimg=4.096, batch=32, steps_per_dispatch=8),
        evaluate=EvalConfig(every_kimg=2.048, n_fake=512, stats_batches=4),
        log=LogConfig(tensorboard=False, every_dispatches=8),
    )
    run(config, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert rows[-1]["images"] == 4096
    assert rows[-1]["fd"] < 0.8 * rows[0]["fd"] and rows[-1]["kid"] < 0.6 * rows[0]["kid"], rows
