"""Tasks of images from images with networks of a number or two: what the tasks compute, and little to compile."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config, EMAConfig, FinetuneConfig, LossConfig, OptimConfig, TrainConfig, TranslatorConfig
from gan_jax.nets import NamedNets
from gan_jax.nets.build import make_net
from gan_jax.tasks import TASKS, TaskFamily
from gan_jax.train.feed import resident
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import Start
from gan_jax.transfer.start import make_prepared

SIZE, LR = 4, 0.01


class Line(nn.Module):
    """Images times `scale`, plus `shift`: as a generator, and as a discriminator with a logit for each pixel."""

    scale: float
    shift: float = 0.0

    @nn.compact
    def __call__(self, x: Any, labels: Any = None, train: bool = False) -> Any:
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        return x * scale + self.param("shift", nn.initializers.constant(self.shift), ())


class Last(Line):
    """The same of the last channel, in a discriminator of joined images, plus half of the first."""

    @nn.compact
    def __call__(self, x: Any, labels: Any = None, train: bool = False) -> Any:
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        return x[..., -1:] * scale + self.param("shift", nn.initializers.constant(self.shift), ()) + 0.5 * x[..., :1]


class Stack(Line):
    """Four lines, one after another, of which `scale` is the first and `shift` the last."""

    @nn.compact
    def __call__(self, x: Any, labels: Any = None, train: bool = False) -> Any:
        scales = {"from_rgb": self.scale, "layer1": 1.0, "layer2": 1.0, "head": 1.0}
        for name, scale in scales.items():
            x = Line(scale, self.shift if name == "head" else 0.0, name=name)(x)
        return x


def config_of(task: Any, loss: str, channels: int = 1, **net: Any) -> Config:
    return Config(
        task=task, loss=LossConfig(loss),  # type: ignore[arg-type]
        net=TranslatorConfig(resolution=SIZE, in_channels=channels, channels=channels, width=4, **net),
        optim=OptimConfig(lr=LR, b1=0.0, b2=0.0, eps=1.0), ema=EMAConfig(half_life_kimg=0.0, rampup=None),
        train=TrainConfig(batch=2, kimg=0.002, steps_per_dispatch=1, devices=1),
    )  # fmt: skip


def net(module: Any, channels: int = 1) -> Any:
    return make_net(module, (jnp.zeros((2, SIZE, SIZE, channels)), None))


def paired_nets(p: float, d: tuple[float, float]) -> NamedNets:
    """G times p, and the scale and shift of D."""
    return NamedNets({"g": net(Line(p)), "d": net(Last(*d), 2)}, ("g",), ("d",), judges={"g": "d"})


def unpaired_nets(
    p: float, q: float, a: tuple[float, float], b: tuple[float, float], kind: Any = Line, **options: Any
) -> NamedNets:
    """G to b times p, G to a times q, and the scales and shifts of the two D, which are of this kind."""
    lines = {"g_ab": Line(p), "g_ba": Line(q), "d_a": kind(*a), "d_b": kind(*b)}
    nets = {name: net(line) for name, line in lines.items()}
    return NamedNets(nets, ("g_ab", "g_ba"), ("d_a", "d_b"), judges={"g_ab": "d_b", "g_ba": "d_a"}, **options)


def one_sided_nets(p: float, d: float) -> NamedNets:
    """G times p, whose features are its input's, D times d, and vectors of two channels that only have a gain."""
    g = net(Line(p), 2)
    features = lambda variables, x, layers, train, keys: [x * variables["params"]["scale"]]
    g = dataclasses.replace(g, parts={"features": features})
    unit = lambda x: x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True))
    f = dataclasses.replace(
        g, init=lambda key: {"params": {"gain": jnp.ones(())}},
        apply=lambda variables, x: ([unit(part * variables["params"]["gain"]) for part in x], {}),
    )  # fmt: skip
    return NamedNets({"g": g, "d": net(Line(d), 2), "f": f}, ("g",), ("d",), judges={"g": "d"})


def begin(
    config: Config, networks: NamedNets, make_task: Any, data: Any, monkeypatch: Any, transfer: Any = None
) -> tuple[Any, Any]:
    """`(trainer, state)` at the start of a run of these networks, with a method of transfer or without."""
    monkeypatch.setitem(TASKS, type(config.task), TaskFamily(lambda config, axis_name: networks, make_task))
    method, key = make_method(transfer or FinetuneConfig(), networks), jax.random.key(1)
    trainer = make_trainer(config, method, resident(data))
    nets = {name: part.init(jax.random.key(0)) for name, part in networks.nets.items()}
    if transfer is None:
        return trainer, jax.jit(trainer.init)(nets, key)
    prepared = make_prepared(trainer, Start(nets), method, key)
    return trainer, jax.jit(trainer.init)(prepared.nets, key, prepared.constants)


def batch(channels: int = 1) -> dict[str, np.ndarray]:
    """Two equal examples, so that it does not matter which are drawn."""
    rng = np.random.default_rng(4)
    draw = lambda: np.repeat(rng.uniform(-1, 1, (1, SIZE, SIZE, channels)), 2, 0).astype(np.float32)
    return {"input": draw(), "image": draw()}
