"""Images from images: pix2pix, CycleGAN, CUT, FastCUT and SPADE, by their published code.

(Isola et al., 2017; Zhu et al., 2017; Park et al., 2020; Park et al., 2019.) All but SPADE have a batch of 1 and Adam with
2e-4 and betas 0.5 and 0.999, whose step size falls to 0 in the last epochs, in a stair for each epoch: the last 100 of 200
(pix2pix, CycleGAN), 200 of 400 (CUT), 50 of 200 (FastCUT). SPADE has a batch of 32, step sizes of 1e-4 for G and 4e-4 for
D, betas 0 and 0.9, and 50 epochs. None has a moving average. Lengths are those of the papers' data: facades, horses and
zebras, COCO-Stuff; networks for 128 px are the published smaller ones.

Stairs begin at the end of each epoch: of 200 epochs, the 100th has the whole step size, the 101st 100/101 of it and the last
1/101. (Later versions of CycleGAN's code step at the start, one epoch ahead, and learn nothing in the last epoch.) They are
shares of `train.kimg`: a run of another length has as many stairs, and is constant for the same share of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gan_jax.config import (
    Config,
    DataConfig,
    EMAConfig,
    LayoutTask,
    LossConfig,
    OneSidedTask,
    OptimConfig,
    PairedTask,
    SPADEConfig,
    TrainConfig,
    TranslatorConfig,
    UNetConfig,
    UnpairedTask,
)

FACADES, ZEBRAS, COCO = 0.4, 1.334, 118.287  # thousand images in an epoch; of two domains, the larger one's
NO_AVERAGE = EMAConfig(half_life_kimg=0.0, rampup=None)


def _config(
    task: Any, net: Any, source: str, loss: str, *, epoch: float, constant: int, decay: int
) -> Config:  # fmt: skip
    epochs = constant + decay
    return Config(
        data=DataConfig(source=source, mirror=True),
        net=net,
        loss=LossConfig(loss),  # type: ignore[arg-type]
        optim=OptimConfig(
            lr=2e-4, b1=0.5, b2=0.999, schedule="late_linear", decay_from=constant / epochs, decay_steps=decay
        ),
        ema=NO_AVERAGE,
        train=TrainConfig(kimg=epoch * epochs, batch=1),
        task=task,
    )


def pix2pix(**net: Any) -> Config:
    """Makes pix2pix: vanilla loss, 100 times the mean absolute difference, dropout in G."""
    source = "joined:data/facades/train"
    return _config(PairedTask(), UNetConfig(**net), source, "non_saturating", epoch=FACADES, constant=100, decay=100)


def cyclegan(**net: Any) -> Config:
    """Makes CycleGAN: least squares, cycle loss of weight 10, identity loss of half of that, pools of 50 images."""
    source = "unpaired:data/horse2zebra/trainA,data/horse2zebra/trainB"
    return _config(
        UnpairedTask(), TranslatorConfig(**net), source, "least_squares", epoch=ZEBRAS, constant=100, decay=100
    )


def cut(task: OneSidedTask | None = None, constant: int = 200, decay: int = 200) -> Config:
    """Makes CUT: least squares, and contrasts of weight 1 of translations and of images of the target domain."""
    source = "unpaired:data/horse2zebra/trainA,data/horse2zebra/trainB"
    net = TranslatorConfig(antialias=True, init="xavier")
    return _config(task or OneSidedTask(), net, source, "least_squares", epoch=ZEBRAS, constant=constant, decay=decay)


def fastcut() -> Config:
    """Makes FastCUT: a contrast of weight 10 of translations alone, half of which are made from mirrored images."""
    return cut(OneSidedTask(nce=10.0, nce_identity=False, flip=True), constant=150, decay=50)


def spade() -> Config:
    """Makes SPADE for COCO-Stuff: hinge loss, feature matching and perceptual loss of weight 10 each."""
    return Config(
        data=DataConfig(source="layouts:data/coco/labels,data/coco/images,data/coco/instances", mirror=True),
        net=SPADEConfig(),
        loss=LossConfig("hinge"),
        optim=OptimConfig(lr=1e-4, d_lr=4e-4, b1=0.0, b2=0.9),
        ema=NO_AVERAGE,
        train=TrainConfig(kimg=50 * COCO, batch=32),
        task=LayoutTask(),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    "pix2pix": pix2pix,
    "pix2pix-128": partial(pix2pix, resolution=128, depth=7),
    "cyclegan": cyclegan,
    "cyclegan-128": partial(cyclegan, resolution=128, blocks=6),
    "cut": cut,
    "fastcut": fastcut,
    "spade": spade,
}
