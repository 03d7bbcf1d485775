"""A generator with two convolutions on 4 x 4 maps beside a dense layer, in place of the toy: what adapters look for."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from gan_jax.config import ResNetConfig
from gan_jax.nets.build import Pair, make_net
from gan_jax.nets.layers import Conv, Dense
from tests.train.toy import build_toy


class ConvG(nn.Module):
    config: ResNetConfig

    @nn.compact
    def __call__(self, z: Any, labels: Any = None, train: bool = False) -> Any:
        h = jax.nn.tanh(Dense(features=4 * 4 * 4, name="stem")(z).reshape(-1, 4, 4, 4))
        h = jax.nn.tanh(Conv(features=3, name="b8")(h))
        h = jax.nn.tanh(Conv(features=self.config.channels, size=1, name="to_rgb")(h))
        return jax.numpy.repeat(jax.numpy.repeat(h, 4, 1), 4, 2)


def build_convolved(config: ResNetConfig, axis_name: str | None = None) -> Pair:
    toy = build_toy(config, axis_name)
    g = make_net(ConvG(config), (jax.numpy.zeros((2, config.z_dim)), None))
    return Pair(g, toy.d, config, toy.d_blocks, ("stem", "b8"), toy.d_head)
