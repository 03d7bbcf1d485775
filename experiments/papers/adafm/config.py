"""AdaFM (Zhao, Cong, Carin, ICML 2020): ImageNet to 1,000 faces of CelebA at 64 px, under R1."""

from __future__ import annotations

from gan_jax.config import (
    AdaFMConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    LossConfig,
    OptimConfig,
    ResNetConfig,
    TrainConfig,
)


def config() -> Config:
    """Adam 1e-4, batches of 16, R1 of 10, an average that keeps 0.999 of itself in an update; 60,000 updates."""
    return Config(
        data=DataConfig(source="folder:data/celeba-64", shots=1000, reference=10_000),
        net=ResNetConfig(resolution=64, channels=3, z_dim=128, channel_base=32768, channel_max=512),
        loss=LossConfig("non_saturating", r1_gamma=10.0),
        optim=OptimConfig(lr=1e-4, b1=0.0, b2=0.99),
        ema=EMAConfig(half_life_kimg=11.1, rampup=None),  # log 2 / 0.001 updates of 16 images
        train=TrainConfig(kimg=960.0, batch=16),
        transfer=AdaFMConfig(source="runs/imagenet64", fresh_blocks=2, d_blocks=2),
        evaluate=EvalConfig(every_kimg=96.0, n_fake=10_000, features="inception-v3-fid:legacy-tensorflow"),
    )
