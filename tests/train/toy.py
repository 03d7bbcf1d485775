"""A pair of few matrix products that compiles in a second, with all that matters to a step: synchronised batch norm,
spectral norm, class-conditional layers. Installed in place of the ResNet, it makes whole runs cheap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from gan_jax import nets
from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvalConfig,
    LogConfig,
    ResNetConfig,
    StyleGAN2Config,
    TrainConfig,
)
from gan_jax.nets import resnet
from gan_jax.nets.build import Pair, make_net
from gan_jax.nets.layers import Dense, Embed, Norm
from gan_jax.tasks.model import save

STYLED = StyleGAN2Config(resolution=16, channels=1, z_dim=4)
NET = ResNetConfig(resolution=16, channels=1, z_dim=4, channel_base=64, channel_max=4)


class ToyG(nn.Module):
    config: ResNetConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: Any, labels: Any = None, train: bool = False) -> Any:
        c = self.config
        h = Dense(features=4 * 4 * 4, name="stem")(z).reshape(-1, 4, 4, 4)
        h = jax.nn.tanh(Norm(c.num_classes, self.axis_name, name="norm0")(h, labels, train))
        h = Dense(features=c.channels, name="to_rgb")(h)
        return jax.nn.tanh(jax.numpy.repeat(jax.numpy.repeat(h, 4, 1), 4, 2))


class ToyStyled(nn.Module):
    """What a regulariser of StyleGAN2 looks at: styles, and images that are no linear function of them."""

    config: StyleGAN2Config

    def setup(self) -> None:
        self.mapping, self.first, self.second = nn.Dense(6), nn.Dense(16), nn.Dense(16)

    def __call__(self, z: Any, labels: Any = None, train: bool = False, keys: Any = None) -> Any:
        return self.synthesise(self.styles(z, labels, keys))

    def styles(self, z: Any, labels: Any = None, keys: Any = None) -> Any:
        return jax.numpy.stack([jax.nn.tanh(self.mapping(z))] * 2, 1)

    def synthesise(self, ws: Any, keys: Any = None, fixed: bool = True) -> Any:
        h = jax.nn.tanh(self.first(ws[:, 0])) * self.second(ws[:, 1])
        h = h.reshape(-1, 4, 4, 1)
        return jax.nn.tanh(jax.numpy.repeat(jax.numpy.repeat(h, 4, 1), 4, 2))


class ToyD(nn.Module):
    config: ResNetConfig | StyleGAN2Config

    @nn.compact
    def __call__(self, images: Any, labels: Any = None, train: bool = False) -> Any:
        n, r = images.shape[:2]
        h = images.reshape(n, r // 4, 4, r // 4, 4, -1).mean((2, 4)).reshape(n, -1)
        h = jax.nn.softplus(Dense(features=8, spectral=True, name="from_rgb")(h, train))
        h = jax.nn.softplus(Dense(features=8, spectral=True, name="b4")(h, train))
        logits = Dense(features=1, spectral=True, name="head")(h, train)[:, 0]
        if self.config.num_classes:
            table = Embed(num_classes=self.config.num_classes, features=8, spectral=True, name="embed")
            logits += (table(labels, train) * h).sum(-1)
        return logits


def build_toy(config: ResNetConfig, axis_name: str | None = None) -> Pair:
    jnp = jax.numpy
    labels = jnp.zeros((2,), jnp.int32) if config.num_classes else None
    g = make_net(ToyG(config, axis_name), (jnp.zeros((2, config.z_dim)), labels))
    d = make_net(ToyD(config), (jnp.zeros((2, config.resolution, config.resolution, config.channels)), labels))
    return Pair(g, d, config, ("from_rgb", "b4", "head"), ("stem", "to_rgb"), ("head",))


def build_styled(config: StyleGAN2Config, axis_name: str | None = None) -> Pair:
    jnp = jax.numpy
    parts = {"styles": "styles", "synthesise": "synthesise"}
    g = make_net(ToyStyled(config), (jnp.zeros((2, config.z_dim)), None), draws=True, **parts)
    d = make_net(ToyD(config), (jnp.zeros((2, config.resolution, config.resolution, config.channels)), None))
    return Pair(g, d, config, ("from_rgb", "b4", "head"), ("mapping", "first", "second"), ("head",))


def install() -> None:
    """For child processes; tests use `monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)`."""
    resnet.make = build_toy


assert nets.build  # the table that `build` reads is the one above


def images(n: int = 24, classes: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (n, 16, 16, 1), np.uint8), draw.integers(0, max(classes, 1), n).astype(np.int32)


def save_pairs(folder: Path, net: Any, names: Sequence[str] = ("first", "second")) -> None:
    """Fresh weights of a pair under each name, of seeds of their own, and the images as `data.npz`."""
    np.savez(folder / "data.npz", images=images()[0])
    pair = nets.build(net)
    for i, name in enumerate(names):
        save(folder / name, net, {"g_ema": pair.g.init(jax.random.key(i)), "d": pair.d.init(jax.random.key(5 + i))}, {})


def run_config(source: str, **train: Any) -> Config:
    """12 dispatches of 2 steps of 8 images; saves after 4, 8 and 12; no evaluation."""
    defaults: dict[str, Any] = {"kimg": 0.192, "batch": 8, "steps_per_dispatch": 2, "devices": 2}
    return Config(
        data=DataConfig(source=source),
        net=NET,
        train=TrainConfig(**{**defaults, **train}),
        checkpoint=CheckpointConfig(every_kimg=0.064),
        evaluate=EvalConfig(features=None),
        log=LogConfig(tensorboard=False),
    )
