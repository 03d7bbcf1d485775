"""One tiny run of every task of images from images, for the tests of the tasks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from gan_jax.config import (
    Config,
    EMAConfig,
    FinetuneConfig,
    LayoutTask,
    LossConfig,
    OneSidedTask,
    OptimConfig,
    PairedTask,
    ScratchConfig,
    SPADEConfig,
    TrainConfig,
    TranslatorConfig,
    UNetConfig,
    UnpairedTask,
)
from gan_jax.tasks import networks_of
from gan_jax.train.feed import resident
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import Start
from gan_jax.transfer.start import make_prepared
from gan_jax.trees import flatten
from tests.nets.families import drawn

SIZE, BATCH = 16, 4
UNET = UNetConfig(resolution=SIZE, channels=1, in_channels=3, width=4, depth=2, d_width=4, d_layers=2)
TRANSLATOR = TranslatorConfig(resolution=SIZE, width=4, blocks=1, d_width=4, d_layers=2)
SPADE = SPADEConfig(resolution=32, num_labels=3, width=2, d_width=4, d_layers=2)
TASKS: dict[str, tuple[Any, Any, str]] = {  # name -> (task, networks, loss)
    "paired": (PairedTask(), UNET, "non_saturating"),
    "one_sided": (OneSidedTask(layers=(0, 4, 8), patches=9, mlp=8, flip=True, pool=3), TRANSLATOR, "least_squares"),
    "layout": (LayoutTask(), SPADE, "hinge"),
    "unpaired": (UnpairedTask(pool=6), TRANSLATOR, "least_squares"),
}


def config_of(name: str, **changes: Any) -> Config:
    """The configuration of a tiny run: 2 dispatches of 2 steps, 4 examples each."""
    task, net, loss = TASKS[name]
    base = Config(
        task=task, net=net, loss=LossConfig(loss),  # type: ignore[arg-type]
        # a bias before a norm has a gradient of rounding errors alone, which a smaller eps would let Adam amplify
        optim=OptimConfig(lr=1e-3, b1=0.5, b2=0.999, eps=1e-2),
        ema=EMAConfig(half_life_kimg=0.01, rampup=None),
        train=TrainConfig(batch=BATCH, steps_per_dispatch=2, kimg=4 * BATCH / 1000, devices=1),
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def feed_of(config: Config) -> Any:
    """24 smooth random examples of a task."""
    rng, net = np.random.default_rng(0), config.net
    scaled = lambda x: x.repeat(net.resolution // 4, 1).repeat(net.resolution // 4, 2)
    coarse = lambda channels: scaled(rng.uniform(-1, 1, (24, 4, 4, channels)))
    images = coarse(net.channels).astype(np.float32)
    if isinstance(net, SPADEConfig):
        labels = lambda n: scaled(rng.integers(0, n, (24, 4, 4))).astype(np.int32)
        return resident({"input": labels(net.num_labels + 1), "instance": labels(5), "image": images})
    return resident({"input": coarse(net.in_channels).astype(np.float32), "image": images})  # type: ignore[attr-defined]


def begin(config: Config, transfer: Any = None) -> tuple[Any, Any]:
    """`(trainer, state)` at the start of a run."""
    config = config if transfer is None else dataclasses.replace(config, transfer=transfer)
    networks, key = networks_of(config), jax.random.key(3)
    method = make_method(FinetuneConfig() if isinstance(config.transfer, ScratchConfig) else config.transfer, networks)
    trainer = make_trainer(config, method, feed_of(config))
    nets = {name: jax.tree.map(jax.numpy.asarray, drawn(net)) for name, net in networks.nets.items()}
    prepared = make_prepared(trainer, Start(nets), method, key)
    return trainer, jax.jit(trainer.init)(prepared.nets, key, prepared.constants)


def values(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by path; keys as their numbers."""
    plain = lambda leaf: jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return {path: np.asarray(plain(leaf)) for path, leaf in flatten(tree).items()}
