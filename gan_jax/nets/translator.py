"""The ResNet from images to images of CycleGAN (Zhu et al., 2017; Johnson et al., 2016) and of CUT (Park et al., 2020).

`stem` reads 7x7 px, `down1` and `down2` halve the size, `block0`, `block1`, .. keep it, `up2` and `up1` double it, and
`to_rgb` makes the image from 7x7 px. With `antialias` filters change the size, as in CUT; else strides do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import TranslatorConfig
from gan_jax.nets import patchgan
from gan_jax.nets.build import Net, Pair, Variables, example_inputs, make_net
from gan_jax.nets.changes import Changes, changed
from gan_jax.nets.layers import (
    ConvNorm,
    PaddedConv,
    any_norm,
    at_least_float32,
    drop_half,
    gan_init,
    reflect_pad,
)
from gan_jax.trees import flatten

NCE_LAYERS = (0, 4, 8, 12, 16)  # the steps of the encoder that CUT contrasts


class Block(nn.Module):
    """conv-norm-relu-conv-norm plus its input: `[N, H, W, C]` -> the same."""

    config: TranslatorConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, keys: jax.Array | None = None, number: int = 0) -> jax.Array:
        c, h = self.config, x
        options = {"bias": c.norm == "instance", "init_kernel": gan_init(c.init), "dtype": c.dtype}
        for i in (0, 1):
            h = PaddedConv(x.shape[-1], 3, 1, 1, reflect=True, **options, name=f"conv{i}")(h)
            h = any_norm(h, c.norm, c.affine, self.axis_name, train, f"norm{i}")
            if i == 0:
                h = drop_half(nn.relu(h), keys if c.dropout and train else None, number)
        return x + h


class Generator(nn.Module):
    """Images `[N, H, W, in_channels]` in [-1, 1] -> images `[N, H, W, channels]` float32 in [-1, 1].

    With `train` and `keys [N]`, half of the values inside the blocks are dropped, if configured. `blocks` stops behind so
    many blocks, and returns the map there.
    """

    config: TranslatorConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        keys: jax.Array | None = None,
        blocks: int | None = None,
    ) -> jax.Array:
        c = self.config
        init = gan_init(c.init)

        def layer(name: str, features: int, **options: Any) -> ConvNorm:
            return ConvNorm(
                features, norm=c.norm, affine=c.affine, slope=0.0, init_kernel=init, dtype=c.dtype,
                axis_name=self.axis_name, name=name, **options,
            )  # fmt: skip

        h = layer("stem", c.width, size=7, pad=3, reflect=True)(x, train)
        for i in (1, 2):
            h = layer(f"down{i}", c.width * 2**i, stride=2, smooth=c.antialias)(h, train)
        for i in range(c.blocks if blocks is None else blocks):
            h = Block(c, self.axis_name, name=f"block{i}")(h, train, keys, i)
        if blocks is not None:
            return h
        for i in (2, 1):
            h = layer(f"up{i}", c.width * 2 ** (i - 1), up=True, smooth=c.antialias)(h, train)
        to_rgb = PaddedConv(c.channels, 7, 1, 3, reflect=True, init_kernel=init, dtype=c.dtype, name="to_rgb")
        return jnp.tanh(at_least_float32(to_rgb(h)))


# ----------------------------------------------------------------------------------------------------------------------
# The encoder's maps, by the numbers that the published code gives to its steps.
#
# 0 pads the image; a convolution, its norm and its ReLU are three steps, CUT's filter one more, a block is one.


def steps(config: TranslatorConfig) -> list[tuple[str, str]]:
    """Returns, for each step of the encoder, the module that computes it and how: "pad", "conv", "norm", "relu", "out"."""
    out: list[tuple[str, str]] = [("", "pad")]
    for name in ("stem", "down1", "down2"):
        filtered = config.antialias and name != "stem"
        out += [(name, "conv"), (name, "norm"), (name, "relu" if filtered else "out")]
        out += [(name, "out")] if filtered else []
    return [*out, *((f"block{i}", "out") for i in range(config.blocks))]


def make_features(module: Generator) -> Any:
    """Returns `features(variables, x, layers=NCE_LAYERS, train=False, keys=None) -> [maps]`, which runs the encoder only.

    A map at a norm is the rectified one, as in the published code, whose ReLU works in place; but for the last map.
    """
    table = steps(module.config)

    def features(
        variables: Variables,
        x: jax.Array,
        layers: Sequence[int] = NCE_LAYERS,
        train: bool = False,
        keys: jax.Array | None = None,
        changes: Changes | None = None,
    ) -> list[jax.Array]:
        if wrong := [layer for layer in layers if not 0 <= layer < len(table)]:
            raise ValueError(
                f"layer {wrong[0]} is no step of the encoder, whose {module.config.blocks} blocks end with step "
                f"{len(table) - 1}; use steps from 0 to {len(table) - 1}"
            )
        last = max(layers)
        blocks = max(0, last - (len(table) - module.config.blocks) + 1)
        mutable = ["intermediates", *(k for k in variables if k != "params" and train)]
        with changed(changes):
            _, updated = cast(
                Any,
                module.apply(variables, x, None, train, keys, blocks, mutable=mutable, capture_intermediates=True),
            )
        outputs = {path.rpartition("/__call__")[0]: y for path, y in flatten(dict(updated)["intermediates"]).items()}

        def at(layer: int) -> jax.Array:
            name, kind = table[layer]
            if kind == "pad":
                return reflect_pad(x, 3)
            if kind in ("conv", "out"):
                return outputs[f"{name}/conv"] if kind == "conv" else outputs[name]
            normed = outputs[f"{name}/norm" if f"{name}/norm" in outputs else f"{name}/conv"]
            return normed if kind == "norm" and layer == last else nn.relu(normed)

        return [at(layer) for layer in layers]

    return features


def feature_widths(g: Net, config: TranslatorConfig, layers: Sequence[int] = NCE_LAYERS) -> tuple[int, ...]:
    """Returns the channels of the encoder's maps at these steps, for `make_patch_mlp`."""
    (x, _), _ = example_inputs(config)
    maps = jax.eval_shape(lambda variables: g.parts["features"](variables, x, layers), g.specs())
    return tuple(values.shape[-1] for values in cast(Any, maps))


def make(config: TranslatorConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    x, images = example_inputs(config)
    module = Generator(config, axis_name)
    g = dataclasses.replace(make_net(module, x, draws=True), parts={"features": make_features(module)})
    d = make_net(patchgan.Discriminator(config, axis_name), images)
    inner = tuple(f"block{i}" for i in range(config.blocks))
    g_blocks = ("stem", "down1", "down2", *inner, "up2", "up1")
    return Pair(g, d, config, patchgan.blocks(config), g_blocks, ("head",), examples_mix=config.batch_norm_in_d)
