"""Run folders written by hand: what a run would leave, without training."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvalConfig,
    GradientFusionConfig,
    MLPConfig,
    ScratchConfig,
    TrainConfig,
    to_dict,
)
from gan_jax.nets import build
from gan_jax.report.grids import make_grid, write_png
from gan_jax.tasks.model import save

SIDE = 4  # px
NET = MLPConfig(resolution=SIDE, z_dim=2, g_widths=(3,), d_widths=(3,))
PROTOCOL = "fashion-v1-r900-f200-0123abcd"
SCRATCH = Config(
    net=NET,
    data=DataConfig(source="npz:/data/gone.npz", shots=20),
    train=TrainConfig(kimg=1.024, batch=16, steps_per_dispatch=4),
    checkpoint=CheckpointConfig(every_kimg=0.5),
    evaluate=EvalConfig(n_fake=200),
)
FUSED = GradientFusionConfig(source="runs/boots", donors=("runs/bags",))


def images(n=64, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 250, (n, SIDE, SIDE, channels), np.uint8)


def write_run(path: Path, config: Config = SCRATCH, **record) -> Path:
    """A folder with config.json only."""
    path.mkdir(parents=True, exist_ok=True)
    about = {"versions": {"jax": "1.2.3"}, "device": {"kind": "TPU v9", "platform": "tpu", "count": 4}}
    (path / "config.json").write_text(json.dumps({"config": to_dict(config), "method": "table", **about, **record}))
    return path


def write_rows(path: Path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def metric_row(at, **more):
    return {"images": at, "seconds": at / 8, "images_per_s": 517.0, "loss_d": 1.25, "loss_g": 0.5 + at / 1000, **more}


def evaluation(at, fd, **more):
    kid = None if fd is None else fd / 10
    numbers = {
        "fd": fd,
        "kid": kid,
        "precision": 0.625,
        "recall": 0.375,
        "density": 0.5,
        "coverage": 0.25,
        "spread": 0.9,
    }
    return {"images": at, "seconds": at / 8, "protocol": PROTOCOL, **numbers, **more}


def write_grid(path: Path, at: int, channels=1) -> np.ndarray:
    made = images(64, channels, at)
    write_png(path / "samples" / f"{at:09d}.png", make_grid(made))
    return made


def write_weights(path: Path, at: int, net=NET, seed=0):
    """Weights of a run; returns G's variables."""
    pair = build(net)
    g, d = pair.g.init(jax.random.key(seed)), pair.d.init(jax.random.key(seed + 1))
    history = [{"kind": "train", "date": "2026-01-02T03:04:05+00:00", "versions": {"jax": "1.2"}, "images": at,
                "config": {"data": {"source": "x"}, "transfer": to_dict(ScratchConfig()) | {"kind": "ScratchConfig"}},
                "averages": {"g_ema": "g"}}]  # fmt: skip
    save(path / "weights", net, {"g_ema": g, "d": d}, {"images": at, "history": history})
    return g
