"""The nets that are aligned: small pairs at 16 px, from fresh weights or from the embedded pair. See the README."""

from typing import Literal

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    FinetuneConfig,
    LogConfig,
    LossConfig,
    OptimConfig,
    ResNetConfig,
    ScratchConfig,
    TrainConfig,
)

Origin = Literal["independent", "shared"]

UNSEEN = (4, 9)  # coats and ankle boots, which the embedded pair never saw
CLASSES: dict[Origin, tuple[int, ...] | None] = {"independent": None, "shared": UNSEEN}
KIMG: dict[Origin, float] = {"independent": 64.0, "shared": 16.0}


def config(origin: Origin = "independent", seed: int = 0, source: str = "tfds:fashion_mnist:train") -> Config:
    """One net.

    Args:
      origin: `independent`: fresh weights of this seed, all ten classes; `shared`: the embedded pair, fine-tuned on
        the two classes that it never saw.
      seed: of weights, latents and order of the data.
      source: of the training images.
    """
    shared = origin == "shared"
    return Config(
        data=DataConfig(source=source, classes=CLASSES[origin]),
        net=ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24),
        loss=LossConfig(name="hinge"),
        optim=OptimConfig(lr=2e-4 if shared else 5e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=2.0),
        train=TrainConfig(kimg=KIMG[origin], batch=32, steps_per_dispatch=16, seed=seed),
        transfer=FinetuneConfig() if shared else ScratchConfig(),
        checkpoint=CheckpointConfig(every_kimg=None),
        evaluate=EvalConfig(features=None),
        log=LogConfig(every_dispatches=20, tensorboard=False),
    )
