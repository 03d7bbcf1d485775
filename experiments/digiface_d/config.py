"""The training run of a discriminator for the DigiFace generator.

The published generator stays as it is and supplies the real images. A second generator is trained from fresh weights: on
its way to faces it shows the discriminator images that are no faces yet.
"""

from pathlib import Path

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    DCGANConfig,
    EMAConfig,
    EvalConfig,
    LogConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
)


def config(images: Path = Path("runs/digiface/images.npz")) -> Config:
    """DCGAN's own recipe (Radford et al.: Adam 2e-4, beta 0.5, batch 32 for the published 128) with R1 every 16 steps."""
    return Config(
        data=DataConfig(source=f"npz:{images}", mirror=True),
        net=DCGANConfig(channel_base=2048),  # the generator's widths: 512, 256, 128, 64
        loss=LossConfig(name="non_saturating", r1_gamma=1.0, penalty_interval=16),
        optim=OptimConfig(lr=2e-4, b1=0.5, b2=0.999),
        ema=EMAConfig(half_life_kimg=5.0),
        train=TrainConfig(kimg=48.0, batch=32, steps_per_dispatch=16),
        checkpoint=CheckpointConfig(every_kimg=4.0),
        evaluate=EvalConfig(features=None),
        log=LogConfig(every_dispatches=1, grid_every_kimg=10.0),
    )
