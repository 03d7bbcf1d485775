"""The source pair: a small ResNet at 16 px on the eight classes of Fashion-MNIST that are no coat and no ankle boot.

Command and result are in the README beside this file.
"""

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    LogConfig,
    LossConfig,
    OptimConfig,
    ResNetConfig,
    TrainConfig,
)

COAT, ANKLE_BOOT = 4, 9


def config() -> Config:
    """48,000 training images, 1.2 million shown."""
    return Config(
        data=DataConfig(
            source="tfds:fashion_mnist:train",
            classes=tuple(label for label in range(10) if label not in (COAT, ANKLE_BOOT)),
        ),
        net=ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24),
        loss=LossConfig(name="hinge"),
        optim=OptimConfig(lr=4e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=20.0),
        train=TrainConfig(kimg=1200.0, batch=64, steps_per_dispatch=16),
        checkpoint=CheckpointConfig(every_kimg=50.0),
        evaluate=EvalConfig(every_kimg=200.0, n_fake=5000),
        log=LogConfig(every_dispatches=10, grid_every_kimg=200.0),
    )
